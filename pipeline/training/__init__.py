"""The scenes and jobs of trainings."""
