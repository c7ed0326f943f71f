"""Tests of `app.xero` without network, database or clock."""
