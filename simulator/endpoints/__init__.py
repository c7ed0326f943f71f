"""The endpoints of Xero's public APIs, and the router that dispatches requests to them."""
