"""The control API under /_control, with which tests edit the books, inject faults, send webhooks and read the state."""
