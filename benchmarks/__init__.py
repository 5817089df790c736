"""Benchmarks: results as data, peers side by side."""
