"""Measures beside the confusion matrix: outlines, objects, features, diversity."""
