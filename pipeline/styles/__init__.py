"""How objects look: their styles, where they come from, and the bank of them."""
