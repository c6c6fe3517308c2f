"""The benchmark: Zabra and Apache ZooKeeper side by side on one machine; `python -m bench.run --help` tells more."""
