"""Tests of what the benchmarks print; none measures a time."""
