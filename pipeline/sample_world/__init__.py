"""A procedural street world: photos with exact label and instance maps, drawn from a seed."""

from pipeline.sample_world.scene import Drawn, draw_scene
from pipeline.sample_world.writer import write_dataset

__all__ = ["Drawn", "draw_scene", "write_dataset"]
