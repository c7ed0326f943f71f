"""Xero's wire format: the JSON of rows, the parameters of list requests, the bodies of errors."""
