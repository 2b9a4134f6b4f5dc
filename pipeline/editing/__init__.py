"""Editing: programs, and what they do to the maps of a scene."""
