"""The demo: runs every step of the product against the Xero simulator, as a client of the HTTP API."""
