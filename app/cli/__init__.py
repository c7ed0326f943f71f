"""The command line interface, `vectis-xero`."""
