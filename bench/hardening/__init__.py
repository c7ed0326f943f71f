"""Measures what hostile and heavy clients do to a served process, on real sockets; `make hardening` runs it."""
