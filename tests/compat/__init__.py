"""Apache ZooKeeper beside us: the same requests to both servers, real clients, and swapped data folders."""
