"""Placing: where objects of a class could stand, learnt from a dataset."""
