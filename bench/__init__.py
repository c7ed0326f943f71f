"""Benchmarks. Each is measured beside a baseline in the same run, so that a slow machine slows both alike."""
