"""The control API under /_control: faults, edits, webhooks, clocks and limits to order; state and ledger to read."""
