"""The benchmark: Zabra and Apache ZooKeeper side by side on one machine. `docs/benchmarks.md` explains it."""
