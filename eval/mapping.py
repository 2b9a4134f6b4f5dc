"""Which classes of a dataset a scorer can be asked about: those the two share by name."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from eval.confusion import VOID
from eval.errors import EvalError
from pipeline.scene import LabelMap
from pipeline.taxonomy import IGNORED_TRAIN_ID, ClassInfo, Taxonomy


@dataclass(frozen=True)
class ClassMapping:
    """The evaluated classes, numbered 0..K-1, and how both sides come to them.

    Evaluated are the classes of the data that have a train id, are not void, and share a name
    with such a class of the scorer.
    """

    names: tuple[str, ...]
    """Names of the evaluated classes, in the order of the data's train ids."""
    categories: tuple[str, ...]
    """The category of each; its own name where the taxonomy has none."""
    is_thing: tuple[bool, ...]
    colors: tuple[tuple[int, int, int], ...]
    """Display colour of each, RGB."""
    target_table: npt.NDArray[np.uint8]
    """From class ids of the data to evaluated classes or void, uint8 [num_classes]."""
    prediction_table: npt.NDArray[np.uint8]
    """From train ids of the scorer to evaluated classes or void, uint8 [256]."""
    unscored: tuple[str, ...]
    """Classes of the data that would be evaluated, but that the scorer does not know."""
    unasked: tuple[str, ...]
    """Classes of the scorer that the data do not have; to predict one is always wrong."""

    @classmethod
    def between(cls, data: Taxonomy, scorer: Taxonomy) -> "ClassMapping":
        """Match the classes of a dataset with those of a scorer by name.

        Raises:
            EvalError: They have no evaluated class in common, or a class of the scorer stands for
                several of the data.
        """
        ours, theirs = _groups(data), _groups(scorer)
        known = {c.name: train_id for train_id, group in theirs.items() for c in group}
        targets = np.full(data.num_classes, VOID, np.uint8)
        predictions = np.full(256, VOID, np.uint8)
        scored: list[list[ClassInfo]] = []
        for group in ours.values():
            matches = {known[c.name] for c in group if c.name in known}
            if not matches:
                continue
            for train_id in matches:
                if predictions[train_id] != VOID:
                    other = scored[predictions[train_id]]
                    raise EvalError(
                        f"scorer class {theirs[train_id][0].name!r} stands for both "
                        f"{other[0].name!r} and {group[0].name!r} of taxonomy {data.name!r}; "
                        "expected at most one"
                    )
                predictions[train_id] = len(scored)
            targets[[c.id for c in group]] = len(scored)
            scored.append(group)
        if not scored:
            raise EvalError(
                f"scorer and data have no class in common: the scorer (taxonomy {scorer.name!r}) "
                f"predicts {_listed(theirs)}, the data (taxonomy {data.name!r}) hold "
                f"{_listed(ours)}"
            )
        matched = {group[0].name for group in scored}
        return cls(
            names=tuple(group[0].name for group in scored),
            categories=tuple(group[0].category or group[0].name for group in scored),
            is_thing=tuple(any(c.is_thing for c in group) for group in scored),
            colors=tuple(group[0].color for group in scored),
            target_table=targets,
            prediction_table=predictions,
            unscored=tuple(g[0].name for g in ours.values() if g[0].name not in matched),
            unasked=tuple(
                group[0].name for train_id, group in theirs.items() if predictions[train_id] == VOID
            ),
        )

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.names)

    @cached_property
    def things(self) -> npt.NDArray[np.intp]:
        """The evaluated classes that are things."""
        return np.flatnonzero(self.is_thing)

    def target(self, label: LabelMap) -> npt.NDArray[np.uint8]:
        """Evaluated classes of a label map, uint8 [...]; `VOID` where nothing is asked.

        Args:
            label: Class ids of the data [...].
        """
        return self.target_table[label]

    def prediction(self, train_ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Evaluated classes of a scorer's prediction, uint8 [...]; `VOID` for all others.

        Args:
            train_ids: Train ids of the scorer's taxonomy, uint8 [...].
        """
        return self.prediction_table[train_ids]


def _groups(taxonomy: Taxonomy) -> dict[int, list[ClassInfo]]:
    """Evaluated classes by train id, sorted by it."""
    groups: dict[int, list[ClassInfo]] = {}
    for c in taxonomy.classes:
        if c.train_id != IGNORED_TRAIN_ID and not c.void:
            groups.setdefault(c.train_id, []).append(c)
    return dict(sorted(groups.items()))


def _listed(groups: dict[int, list[ClassInfo]], most: int = 6) -> str:
    names = [group[0].name for group in groups.values()]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "no class with a train id"
