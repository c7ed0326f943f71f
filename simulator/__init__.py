"""A simulator of Xero: the same URLs, responses, rate limits and errors, in a process of its own and in memory only."""
