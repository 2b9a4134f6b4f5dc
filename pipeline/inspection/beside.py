"""Photos of other runs with the same label maps, to be shown beside those of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import OutputError
from pipeline.inspection.page import IMAGES, Picture, save_photo
from pipeline.output.manifest import OK
from pipeline.output.results import RunResults
from pipeline.pictures import shrink

_PARTS = 2
"""Folders that tell runs of one kind apart in their titles."""
_SAME = ("label_sha256", "instance_sha256")


def photo_kind(results: RunResults) -> str:
    """What the photos of a run are: rendered, composite or exemplar."""
    photo = results.record["config"].get("photo")
    mode = photo.get("mode") if isinstance(photo, dict) else photo
    return str(mode or "rendered")


class OtherRun:
    """A run whose photos stand beside another's.

    Args:
        path: Its output folder.
        number: Tells its pictures from those of others on the page.
    """

    def __init__(self, path: Path, *, number: int) -> None:
        self._results = RunResults(path)
        self._number = number
        rows = self._results.rows(("index", "status", *_SAME))
        self._rows: dict[int, Mapping[str, Any]] = {row["index"]: row for row in rows}
        self.path = self._results.folder.root
        self.title = f"{photo_kind(self._results)} photo"

    def shares(self, row: Mapping[str, Any]) -> bool:
        """Whether it has a sample with the number and the maps of a row of the first run."""
        own = self._rows.get(row["index"])
        return (
            own is not None
            and own["status"] == row["status"] == OK
            and all(own[key] == row[key] for key in _SAME)
        )

    def picture(self, row: Mapping[str, Any], to: Path, *, width: int) -> Picture:
        """Its photo for a sample of the first run, or why there is none.

        Args:
            row: The record of that sample.
            to: The folder of the page.
            width: The most that the picture may have, in pixels.
        """
        index = row["index"]
        own = self._rows.get(index)
        if own is None or own["status"] != OK:
            return Picture(self.title, note="not made")
        if row["status"] == OK and not self.shares(row):
            return Picture(self.title, note="its labels are others")
        photo = self._results.readable("photo", index)
        if photo is None:
            return Picture(self.title, note="damaged, see hdsynth verify")
        file = f"{IMAGES}/{index:08d}-photo-{self._number}.jpg"
        alt = f"{self.title} of sample {index}"
        return save_photo(shrink(photo, width=width), to, file, title=self.title, alt=alt)


def open_others(
    paths: Sequence[Path], rows: Sequence[Mapping[str, Any]], *, first: RunResults
) -> list[OtherRun]:
    """Open runs to show beside another.

    Args:
        paths: Their output folders.
        rows: Records of the first run's samples that can be shown, with the digests of their maps.
        first: The first run.

    Raises:
        OutputError: One is no output of hdsynth, or none of its label maps is the first run's.
    """
    others = [OtherRun(path, number=number) for number, path in enumerate(paths, start=1)]
    for other in others:
        if not any(other.shares(row) for row in rows):
            raise OutputError(
                f"{other.path}: has no sample with the label map that {first.folder.root} has "
                "under that number; expected a run of the same dataset, policy, seed and size"
            )
    kinds = [f"{photo_kind(first)} photo", *(other.title for other in others)]
    for other, kind in zip(others, kinds[1:], strict=True):
        if kinds.count(kind) > 1:
            parts = other.path.absolute().parts
            other.title = f"{kind} ({'/'.join(parts[-_PARTS:])})"
    return others
