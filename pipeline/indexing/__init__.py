"""What planning must know of scenes: what is where in them."""
