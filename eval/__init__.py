"""The scores of hdsynth: segmentation-based realism measures."""
