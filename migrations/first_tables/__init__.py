"""What migration 0001 creates, one module per package of `app`; the documents of billing stand apart."""
