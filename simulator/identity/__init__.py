"""Who signed in, what they allowed, and the tokens that say so."""
