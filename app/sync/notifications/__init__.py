"""Tells people what is wrong with a connection, and when it is well again, where nobody looks at the console."""
