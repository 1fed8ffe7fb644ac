"""Benchmarks of sklearn_stackelberg against its peers: ``python -m benchmarks``."""
