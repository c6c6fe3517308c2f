"""Zabra: Apache ZooKeeper's server in Python."""

__version__ = "0.1.0"

#: The release of Apache ZooKeeper whose behaviour, files and protocols this server has.
ZOOKEEPER_VERSION = "3.9.5"
