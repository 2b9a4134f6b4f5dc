"""Datasets of image files: label maps, and where there are any, instance maps and photos."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import DatasetError
from pipeline.images import read_map, read_photo
from pipeline.scene import (
    InstanceMap,
    LabelMap,
    Photo,
    Scene,
    connected_instances,
    stuff_instances,
)
from pipeline.sources.config import InstanceCoding, InstanceMode, PhotoMode
from pipeline.sources.decoding import decode_indices, decode_instances, decode_label
from pipeline.sources.root import Root
from pipeline.sources.source import Problem, Reading, SceneRef, find_ref
from pipeline.taxonomy import Taxonomy


@dataclass(frozen=True)
class FileSource:
    """A dataset whose scenes are image files joined by name."""

    root: Root
    taxonomy: Taxonomy
    scenes: tuple[SceneRef, ...]
    orphans: tuple[str, ...]
    instances: InstanceMode
    instance_coding: InstanceCoding
    photos: PhotoMode
    min_component_area: int

    def read(self, scene: str | SceneRef, *, photo: bool = True) -> Scene:
        """Read a scene at its own size; see `Source.read`."""
        return self.inspect(scene, photo=photo).unwrap()

    def inspect(self, scene: str | SceneRef, *, photo: bool = True) -> Reading:
        """Read a scene and say everything that is wrong with it; see `Source.inspect`."""
        ref = find_ref(self.scenes, scene)
        errors: list[Problem] = []
        warnings: list[Problem] = []
        label_values = self._read_map(ref.label, errors)
        instance_values = None
        if self.instances == "files":
            if ref.instance is None:
                file = self.root.name(ref.label)
                message = "has no instance map; add it, or use instances: components (or none)"
                errors.append(Problem(file, "missing", message))
            else:
                instance_values = self._read_map(ref.instance, errors)
        picture = self._read_photo(ref, errors) if photo else None
        if label_values is None:
            return Reading(None, tuple(errors))
        label, problems = decode_label(label_values, self.taxonomy, file=self.root.name(ref.label))
        errors += problems
        self._check_size(ref.instance, instance_values, label, errors)
        self._check_size(ref.photo, picture, label, errors)
        if errors:
            return Reading(None, tuple(errors))
        instance = self._decode_instances(
            ref, label_values, instance_values, label, errors, warnings
        )
        if errors:
            return Reading(None, tuple(errors), tuple(warnings))
        return Reading(
            Scene(name=ref.name, label=label, instance=instance, photo=picture),
            warnings=tuple(warnings),
        )

    def _decode_instances(
        self,
        ref: SceneRef,
        label_values: npt.NDArray[np.integer],
        instance_values: npt.NDArray[np.integer] | None,
        label: LabelMap,
        errors: list[Problem],
        warnings: list[Problem],
    ) -> InstanceMap:
        if self.instances == "components":
            return connected_instances(label, self.taxonomy, min_area=self.min_component_area)
        if instance_values is None or ref.instance is None:
            return stuff_instances(label)
        if self.instance_coding == "index":
            return decode_indices(instance_values, label_values, label, self.taxonomy)
        instance, wrong, doubtful = decode_instances(
            instance_values, label, self.taxonomy, file=self.root.name(ref.instance)
        )
        errors += wrong
        warnings += doubtful
        return instance

    def _read_map(self, path: str, errors: list[Problem]) -> npt.NDArray[np.integer] | None:
        url = self.root.name(path)
        try:
            return read_map(url, file=self.root.file(path))
        except DatasetError as error:
            errors.append(_unreadable(url, error))
            return None

    def _read_photo(self, ref: SceneRef, errors: list[Problem]) -> Photo | None:
        if self.photos == "none":
            return None
        if ref.photo is None:
            if self.photos == "required":
                message = "has no photo, and photos are required"
                errors.append(Problem(self.root.name(ref.label), "photo", message))
            return None
        url = self.root.name(ref.photo)
        try:
            return read_photo(url, file=self.root.file(ref.photo))
        except DatasetError as error:
            errors.append(_unreadable(url, error))
            return None

    def _check_size(
        self,
        path: str | None,
        pixels: npt.NDArray[np.integer] | None,
        label: LabelMap,
        errors: list[Problem],
    ) -> None:
        if path is None or pixels is None or pixels.shape[:2] == label.shape:
            return
        (height, width), (tall, wide) = pixels.shape[:2], label.shape
        message = f"{height}x{width} pixels, but its label map has {tall}x{wide}"
        errors.append(Problem(self.root.name(path), "size", message))


def _unreadable(url: str, error: DatasetError) -> Problem:
    return Problem(url, "unreadable", str(error).removeprefix(f"{url}: "))
