"""Xero's formats: how rows are written, how queries are read, how errors are worded."""
