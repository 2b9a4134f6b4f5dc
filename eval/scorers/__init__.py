"""Segmentation networks that read photos: configuration, training, networks of others."""
