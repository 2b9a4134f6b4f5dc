"""Real pixels to draw from: the field of what is alike, and the fill."""
