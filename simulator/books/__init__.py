"""What the pretend organisations hold: rows, how they come to be and how they change."""
