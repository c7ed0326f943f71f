"""Benchmarks: each beside its peer or its floor in the same run, so that a slow machine slows both."""
