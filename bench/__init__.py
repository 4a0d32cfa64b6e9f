"""Benchmarks: `bench_*.py` time single calls, `compare` runs engines side by side."""
