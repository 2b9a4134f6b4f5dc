"""Outputs of our own job as a source: the samples of OUT that did not fail."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from pipeline.errors import DatasetError, OutputError
from pipeline.output.manifest import OK
from pipeline.output.store import LostShardError, Store
from pipeline.scene import Scene, connected_instances, disagreements, stuff_instances
from pipeline.sources.config import InstanceMode, PhotoMode
from pipeline.sources.listing import Tree
from pipeline.sources.root import Root
from pipeline.sources.source import Problem, Reading, SceneRef, find_ref
from pipeline.taxonomy import Taxonomy

DATA = "data.zarr"
MANIFESTS = "manifest"
TAXONOMY = "taxonomy.yaml"


@dataclass(frozen=True)
class ZarrSource:
    """The committed samples of an output folder; scenes are called by their sample's number."""

    root: Root
    taxonomy: Taxonomy
    scenes: tuple[SceneRef, ...]
    instances: InstanceMode
    photos: PhotoMode
    min_component_area: int

    @property
    def orphans(self) -> tuple[str, ...]:
        """Arrays have no orphans."""
        return ()

    def read(self, scene: str | SceneRef, *, photo: bool = True) -> Scene:
        """Read a sample; see `Source.read`."""
        return self.inspect(scene, photo=photo).unwrap()

    def inspect(self, scene: str | SceneRef, *, photo: bool = True) -> Reading:
        """Read a sample and say everything that is wrong with it; see `Source.inspect`."""
        ref = find_ref(self.scenes, scene)
        assert ref.index is not None
        where = f"{self.root.name(DATA)} sample {ref.index}"
        wanted = ["label"]
        wanted += ["instance"] if self.instances == "files" else []
        wanted += ["photo"] if photo and self.photos != "none" else []
        store = _open_store(self.root)
        pixels: dict[str, Any] = {}
        for name in wanted:
            try:
                pixels[name] = store.read(name, ref.index)
            except LostShardError as lost:
                message = f"{name} cannot be read, its shard is lost; see hdsynth verify"
                file = self.root.name(f"{DATA}/{lost}")
                problem = Problem(f"{file} (sample {ref.index})", "unreadable", message)
                return Reading(None, (problem,))
            except (OSError, ValueError, RuntimeError) as error:
                problem = Problem(where, "unreadable", f"{name} cannot be read ({error})")
                return Reading(None, (problem,))
        label = pixels["label"]
        top = int(label.max(initial=0))
        if top >= self.taxonomy.num_classes:
            message = (
                f"class id {top}: taxonomy {self.taxonomy.name!r} has "
                f"{self.taxonomy.num_classes} classes"
            )
            count = int(np.count_nonzero(label == top))
            return Reading(None, (Problem(where, "value", message, ((top, count),)),))
        if self.instances == "files":
            instance = pixels["instance"]
            wrong = disagreements(label, instance, self.taxonomy)
            if wrong:
                message = f"{wrong} pixels whose instance id does not fit their class"
                return Reading(None, (Problem(where, "instance", message),))
        elif self.instances == "components":
            instance = connected_instances(label, self.taxonomy, min_area=self.min_component_area)
        else:
            instance = stuff_instances(label)
        return Reading(
            Scene(name=ref.name, label=label, instance=instance, photo=pixels.get("photo"))
        )


def open_zarr(
    tree: Tree, *, instances: InstanceMode, photos: PhotoMode, min_component_area: int
) -> ZarrSource:
    """Open an output folder as a source.

    Args:
        tree: The output folder.
        instances: Where instances come from; `files` is the instance array.
        photos: `none` leaves the photo array alone.
        min_component_area: Smallest component that counts as an object, in pixels.

    Raises:
        DatasetError: The folder is no output of hdsynth, or has no finished sample.
    """
    root = tree.root
    if not tree.has(DATA) or not root.exists(TAXONOMY):
        raise DatasetError(
            f"{root}: expected an output of hdsynth render, with {DATA} and {TAXONOMY}"
        )
    with root.file(TAXONOMY) as file:
        try:
            plain = yaml.safe_load(file)
        except yaml.YAMLError:
            plain = None
    if not isinstance(plain, dict):
        raise DatasetError(f"{root.name(TAXONOMY)}: not a valid taxonomy file")
    taxonomy = Taxonomy.parse(plain, origin=root.name(TAXONOMY))
    scenes = tuple(
        SceneRef(name=f"{index:08d}", label=DATA, instance=DATA, photo=DATA, index=index)
        for index in sorted(_finished(tree))
    )
    if not scenes:
        raise DatasetError(f"{root}: no finished samples; run hdsynth render to the end")
    _open_store(root)
    return ZarrSource(
        root=root,
        taxonomy=taxonomy,
        scenes=scenes,
        instances=instances,
        photos=photos,
        min_component_area=min_component_area,
    )


def _finished(tree: Tree) -> set[int]:
    if not tree.has(MANIFESTS):
        return set()
    finished: set[int] = set()
    for path in tree.files(MANIFESTS, recursive=False):
        name = path.rsplit("/", 1)[-1]
        if not (name.startswith("shard-") and name.endswith(".parquet")):
            continue
        try:
            with tree.root.file(path) as file:
                table = pq.read_table(file, columns=["index", "status"])
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(f"{tree.root.name(path)}: not a manifest ({error})") from None
        rows = zip(table["index"].to_pylist(), table["status"].to_pylist(), strict=True)
        finished.update(index for index, status in rows if status == OK)
    return finished


@lru_cache(maxsize=8)
def _open_store(root: Root) -> Store:
    """The arrays of an output, opened once per process."""
    path = root.full(DATA)
    try:
        files = Path(path) if root.is_local else root.filesystem.get_mapper(path)
        return Store(files, name=root.name(DATA))
    except OutputError as error:
        raise DatasetError(str(error)) from None
