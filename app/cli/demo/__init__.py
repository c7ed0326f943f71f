"""The demo: the whole main job against the pretend Xero, driven from outside as a browser and the PSA would."""
