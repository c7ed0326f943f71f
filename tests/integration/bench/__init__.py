"""Tests of the benchmarks on a PostgreSQL, at the smallest size and without a bound on any time."""
