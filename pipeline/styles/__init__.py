"""The styles of objects: where they come from, how they are chosen, and the bank of them."""
