"""The files of one sample that was made again, or edited by hand."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.editing.recompose import Recomposed
from pipeline.images import write_map, write_photo
from pipeline.pictures import draw_map
from pipeline.rendering.photo import FinishedPhoto
from pipeline.scene import INSTANCES_PER_CLASS, Scene
from pipeline.taxonomy import Taxonomy

MAX_PNG_VALUE = 65535


def json_text(data: Any) -> str:  # noqa: ANN401 - anything JSON can hold
    """Data as the text of a JSON file."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def write_texts(to: Path, files: Mapping[str, str]) -> None:
    """Write files into a folder, which is made if it is not there.

    Args:
        to: The folder.
        files: Their texts by name.
    """
    to.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (to / name).write_text(text, encoding="utf-8")


def write_pictures(
    to: Path, source: Scene, made: Recomposed, finished: FinishedPhoto | None, taxonomy: Taxonomy
) -> list[str]:
    """Write the maps as ids, where they changed, and the photo; returns the file names.

    Of a photo that copies pixels, it also writes where each is from, as `PixelSource`.

    Args:
        to: The folder to write into.
        source: The scene before the edits.
        made: The scene after them.
        finished: The photo, if there is one.
        taxonomy: The taxonomy of both scenes.
    """
    write_map(str(to / "label.png"), made.scene.label)
    write_map(str(to / "source_label.png"), source.label)
    Image.fromarray(made.changed).save(to / "changed.png")
    Image.fromarray(made.origin).save(to / "origin.png")
    names = ["label.png", "source_label.png", "changed.png", "origin.png"]
    if taxonomy.num_classes * INSTANCES_PER_CLASS <= MAX_PNG_VALUE:
        write_map(str(to / "instance.png"), made.scene.instance)
        names.append("instance.png")
    else:
        # PNG ends at 16 bits; ids of taxonomies with many classes need more.
        Image.fromarray(made.scene.instance).save(to / "instance.tiff")
        names.append("instance.tiff")
    if finished is not None:
        write_photo(str(to / "photo.png"), finished.photo)
        names.append("photo.png")
        if finished.source is not None:
            write_map(str(to / "pixel_source.png"), finished.source)
            names.append("pixel_source.png")
    return names


def draw_maps(to: Path, scene: Scene, made: Recomposed, taxonomy: Taxonomy) -> list[str]:
    """Draw the maps before and after the edits, with what changed; returns the file names.

    Args:
        to: The folder to write into.
        scene: The scene before the edits.
        made: The scene after them.
        taxonomy: The taxonomy of both scenes.
    """
    before = draw_map(scene.label, scene.instance, taxonomy.colors)
    after = made.scene
    pictures = {
        "before.png": before,
        "after.png": draw_map(after.label, after.instance, taxonomy.colors, changed=made.changed),
    }
    for name, picture in pictures.items():
        Image.fromarray(picture).save(to / name)
    return list(pictures)
