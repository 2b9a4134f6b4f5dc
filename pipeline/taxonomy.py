"""Taxonomies: the classes of a dataset, their ids, colours, things and void."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationInfo, field_validator, model_validator

import configs
from hdmodel.settings import Settings, read_yaml
from hdmodel.suggestions import did_you_mean
from pipeline.errors import TaxonomyError

IGNORED_TRAIN_ID = 255
MAX_CLASSES = 1000
WIDEST_TABLE = 1 << 20

Channel = Annotated[int, Field(ge=0, le=255)]


class ClassInfo(Settings):
    """One class of a taxonomy."""

    id: int = Field(ge=0, lt=MAX_CLASSES)
    """Class id, dense from 0: the value in our label maps and the channel of the one-hot."""
    name: str
    color: tuple[Channel, Channel, Channel]
    """Display colour, RGB in 0..255."""
    category: str = ""
    is_thing: bool = False
    """Whether single objects of the class are told apart by the instance map."""
    void: bool | Literal["frame", "clutter"] = False
    """Whether scores ignore the class. Of void without objects: `frame` belongs to the picture (ego
    vehicle, borders) and stays on top of every edit, as does plain void; `clutter` is something in
    the scene that nobody named, and edits cover small patches of it."""
    train_id: int = IGNORED_TRAIN_ID
    """The id used for training and scoring segmentation networks; 255 if ignored."""
    values: tuple[int, ...] = ()
    """The numbers that stand for the class in dataset files; its id if none are given."""

    @property
    def file_values(self) -> tuple[int, ...]:
        """The numbers that stand for the class in dataset files; exports write the first."""
        return self.values or (self.id,)

    @field_validator("train_id")
    @classmethod
    def _check_train_id(cls, train_id: int) -> int:
        if not 0 <= train_id <= IGNORED_TRAIN_ID:
            raise ValueError(f"expected 0..{IGNORED_TRAIN_ID}, where {IGNORED_TRAIN_ID} is ignored")
        return train_id


class Taxonomy(Settings):
    """A named, versioned list of classes with dense ids."""

    name: str
    version: int = Field(ge=1)
    classes: tuple[ClassInfo, ...]
    support: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """For a thing class: the names of the stuff classes it may stand on."""
    together: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """For a thing class: the thing classes with one of which an object of it is one, as a rider
    with a bicycle. Edits move, paste and take out both at once."""

    @field_validator("classes")
    @classmethod
    def _check_classes(
        cls, classes: tuple[ClassInfo, ...], info: ValidationInfo
    ) -> tuple[ClassInfo, ...]:
        if not classes:
            raise ValueError("a taxonomy needs at least one class")
        if [c.id for c in classes] != list(range(len(classes))):
            raise ValueError("class ids must be 0, 1, 2, ... in order, without gaps")
        names = [c.name for c in classes]
        if len(set(names)) != len(names):
            raise ValueError("class names must be unique")
        if classes[0].is_thing:
            raise ValueError("class 0 cannot be a thing: instance ids are class_id*1000 + k")
        seen: dict[int, str] = {}
        for c in classes:
            for value in c.file_values:
                if value in seen:
                    raise ValueError(
                        f"file value {value} stands for both {seen[value]!r} and {c.name!r}"
                    )
                seen[value] = c.name
        return classes

    @model_validator(mode="after")
    def _check_support(self) -> Self:
        known = {c.name for c in self.classes}
        for name in {n for k, v in self.support.items() for n in (k, *v)} - known:
            raise ValueError(f"support names an unknown class {name!r}")
        return self

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        things = {c.name for c in self.classes if c.is_thing}
        for name in {n for k, v in self.together.items() for n in (k, *v)} - things:
            raise ValueError(f"together: {name!r} is not a class of things")
        for name, others in self.together.items():
            if both := [other for other in others if other in self.together]:
                raise ValueError(f"together: {both[0]!r} goes with {name!r}, so not with others")
        return self

    @classmethod
    def load(cls, name_or_path: str | Path) -> "Taxonomy":
        """Load a shipped taxonomy by name, or one from a YAML file.

        Raises:
            TaxonomyError: There is no such taxonomy.
            ConfigError: The file is malformed.

        Example:
            >>> city = Taxonomy.load("cityscapes")
            >>> city.num_classes, city.class_names[26]
            (35, 'car')
        """
        path = configs.find("taxonomies", name_or_path)
        if not path.is_file():
            shipped = configs.names("taxonomies")
            hint = did_you_mean(str(name_or_path), shipped, before="; ")
            raise TaxonomyError(
                f"taxonomy {str(name_or_path)!r}: no such file, and not one of "
                f"{', '.join(shipped)}{hint}"
            )
        return cls.parse(read_yaml(path), origin=str(path))

    @property
    def num_classes(self) -> int:
        """The number of classes, void included: the channels of the one-hot."""
        return len(self.classes)

    @property
    def class_names(self) -> list[str]:
        """The class names in order of id."""
        return [c.name for c in self.classes]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of what gives the ids their meaning: names, things, void, train ids."""
        meaning = [[c.id, c.name, c.is_thing, bool(c.void), c.train_id] for c in self.classes]
        return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()[:16]

    @cached_property
    def colors(self) -> npt.NDArray[np.uint8]:
        """Display colours, uint8 [num_classes, 3]."""
        return np.array([c.color for c in self.classes], np.uint8)

    @cached_property
    def is_thing(self) -> npt.NDArray[np.bool_]:
        """Which classes are things, bool [num_classes]."""
        return np.array([c.is_thing for c in self.classes])

    @cached_property
    def is_void(self) -> npt.NDArray[np.bool_]:
        """Which classes are void, bool [num_classes]."""
        return np.array([bool(c.void) for c in self.classes])

    @cached_property
    def train_ids(self) -> npt.NDArray[np.uint8]:
        """Class id to train id, uint8 [num_classes]; 255 is ignored."""
        return np.array([c.train_id for c in self.classes], np.uint8)

    @property
    def label_dtype(self) -> np.dtype[np.unsignedinteger]:
        """The dtype of label maps: uint8, or uint16 above 256 classes."""
        return np.dtype(np.uint8 if self.num_classes <= 256 else np.uint16)

    @cached_property
    def ids_by_value(self) -> dict[int, int]:
        """From the numbers in dataset files to class ids."""
        return {value: c.id for c in self.classes for value in c.file_values}

    def encode(
        self, values: npt.NDArray[np.integer]
    ) -> tuple[npt.NDArray[np.unsignedinteger], list[int]]:
        """Turn the numbers of a dataset's label file into class ids.

        Args:
            values: Label file content, any integer dtype, [H, W].

        Returns:
            Class ids, `label_dtype` [H, W], and the sorted values that are not in the taxonomy
            (their pixels come back as class 0).
        """
        low, high = int(values.min(initial=0)), int(values.max(initial=0))
        if high - low > WIDEST_TABLE:
            return self._encode_sparse(values)
        table = np.zeros(high - low + 1, self.label_dtype)
        known = np.zeros(high - low + 1, np.bool_)
        for value, class_id in self.ids_by_value.items():
            if low <= value <= high:
                table[value - low] = class_id
                known[value - low] = True
        offset = values.astype(np.int64) - low if low else values
        if known.all():
            return table[offset], []
        present = np.bincount(offset.ravel(), minlength=len(known)) > 0
        unknown = np.flatnonzero(present & ~known) + low
        return table[offset], [int(value) for value in unknown]

    def _encode_sparse(
        self, values: npt.NDArray[np.integer]
    ) -> tuple[npt.NDArray[np.unsignedinteger], list[int]]:
        """`encode` for values too far apart for a lookup table: broken files, mostly."""
        present, inverse = np.unique(values, return_inverse=True)
        known = [self.ids_by_value.get(int(value)) for value in present]
        table = np.array([class_id or 0 for class_id in known], self.label_dtype)
        unknown = [int(v) for v, class_id in zip(present, known, strict=True) if class_id is None]
        return table[inverse].reshape(values.shape), unknown

    def decode(self, label: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.int32]:
        """Turn class ids into the numbers a dataset file of this taxonomy holds, int32 [H, W]."""
        table = np.array([c.file_values[0] for c in self.classes], np.int32)
        decoded: npt.NDArray[np.int32] = table[label]
        return decoded
