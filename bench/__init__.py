"""Benchmarks against peers: only ratios taken side by side in one run mean something. `python -m bench --help`."""
