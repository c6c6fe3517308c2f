"""The benchmark: Zabra and Apache ZooKeeper side by side on one machine. Start with `run.py`; `docs/benchmarks.md` explains the figures."""
