"""A small made-up vendor, to prove that a second one is a folder and a line."""
