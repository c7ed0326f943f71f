"""A pretend Xero: the same URLs, answers, limits and faults as the real one, in a process and memory of its own."""
