"""Apache ZooKeeper's programs against ours: the same requests to both servers, real clients, and swapped data folders."""
