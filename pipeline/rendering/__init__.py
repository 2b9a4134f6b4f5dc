"""From a plan to photos: composing, rendering, and the Beam job around them."""
