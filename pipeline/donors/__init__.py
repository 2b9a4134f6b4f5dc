"""Objects of a dataset that may be pasted into other scenes."""
