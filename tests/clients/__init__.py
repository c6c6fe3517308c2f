"""The clients that come with ZooKeeper, unmodified, against a server process."""
