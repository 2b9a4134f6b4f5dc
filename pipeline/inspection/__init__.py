"""Looking at a run: how far it is, whether it is whole, where a sample came from."""
