"""Tests of `app.connections` without network, database or clock."""
