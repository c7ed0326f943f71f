"""HTTP in: Xero's public surface and the control API beside it."""
