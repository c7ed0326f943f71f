"""The books of the simulated organisations: their rows, the generator that fills them, the edits that change them."""
