"""Reading the output of a run into PyTorch.

Shape legend: H x W pixels.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.errors import OutputError
from pipeline.output.manifest import OK
from pipeline.output.results import RunResults
from pipeline.output.store import PIXEL_SOURCE

LabelKind = Literal["id", "train_id"]


class Sample(TypedDict):
    """One sample of a run; PyTorch's default collation makes batches of it."""

    photo: Tensor
    """RGB, uint8 [3, H, W]."""
    label: Tensor
    """Class ids or train ids, int64 [H, W]."""
    instance: Tensor
    """Instance ids in Cityscapes' encoding, int32 [H, W]."""
    index: int
    """The sample's number in the run."""
    scene: str
    """The name of the scene it was made from."""
    ok: bool
    """False for a failed sample, of which some maps are all zero."""
    pixel_source: NotRequired[Tensor]
    """Of composites, if asked for: where each pixel comes from, uint8 [H, W]: 0 kept, 1 donor,
    2 rendered, 3 seam, 4 exemplar."""


class SyntheticDataset(Dataset[Any]):
    """The committed samples of a run, as a map-style PyTorch dataset.

    Failed samples and those of shards that are not committed are left out, so positions in the
    dataset differ from sample numbers once there are any; an item says its `index`. The pixels
    stay on disk until they are asked for; the dataset can be handed to DataLoader workers.

    Args:
        out: The output folder.
        transform: Called with each `Sample`; what it returns is the item.
        with_failed: Keep failed samples: their photo is black, and where reading or composing
            failed, label and instance are zero.
        with_pixel_source: Give where pixels of composites come from, for losses that trust some
            less than others.
        labels: `id` for class ids, `train_id` for the ids segmentation networks are trained on
            (255 is to be ignored).

    Raises:
        OutputError: The folder is not an output of hdsynth, or files of committed shards are
            missing.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        transform: Callable[[Sample], Any] | None = None,
        with_failed: bool = False,
        with_pixel_source: bool = False,
        labels: LabelKind = "id",
    ) -> None:
        if labels not in ("id", "train_id"):
            raise ValueError(f"labels: expected 'id' or 'train_id', got {labels!r}")
        results = RunResults(Path(out).absolute())
        self.folder, self.taxonomy = results.folder, results.taxonomy
        if with_pixel_source and PIXEL_SOURCE not in results.store.arrays:
            raise OutputError(f"{results.folder.root}: holds no composites, expected pixel_source")
        self._with_pixel_source = with_pixel_source
        self._transform = transform
        self._table = self.taxonomy.train_ids.astype(np.int64) if labels == "train_id" else None
        rows = [
            (row["index"], row["scene"], row["status"] == OK)
            for row in results.rows(("index", "scene", "status"))
            if with_failed or row["status"] == OK
        ]
        # Two columns instead of a list of tuples: workers get a copy of millions of rows.
        self._indices = np.array([index for index, _, _ in rows], np.int64)
        self._scenes = np.array([scene for _, scene, _ in rows], np.str_)
        self._ok = np.array([ok for _, _, ok in rows], np.bool_)
        self._results: RunResults | None = results
        self._process = os.getpid()
        shards = np.unique(self._indices // results.store.shard_size)
        results.check_files(shards.tolist())

    def __len__(self) -> int:
        """The number of samples."""
        return len(self._indices)

    def __getitem__(self, position: int) -> Any:  # noqa: ANN401 - whatever the transform returns
        """One sample, or what the transform makes of it.

        Raises:
            IndexError: There is no such position.
            OutputError: The sample's pixels are damaged.
        """
        index = int(self._indices[position])
        photo, label, instance = self._opened().maps(index)
        wide = label.astype(np.int64) if self._table is None else self._table[label]
        sample = Sample(
            photo=torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1))),
            label=torch.from_numpy(wide),
            instance=torch.from_numpy(np.ascontiguousarray(instance)),
            index=index,
            scene=str(self._scenes[position]),
            ok=bool(self._ok[position]),
        )
        if self._with_pixel_source:
            sample["pixel_source"] = torch.from_numpy(self._opened().pixels(PIXEL_SOURCE, index))
        return self._transform(sample) if self._transform else sample

    def __getstate__(self) -> dict[str, Any]:
        """The dataset without its open files, for another process."""
        return self.__dict__ | {"_results": None}

    def _opened(self) -> RunResults:
        """The run, opened once per process."""
        if self._results is None or self._process != os.getpid():
            self._results, self._process = RunResults(self.folder), os.getpid()
        return self._results
