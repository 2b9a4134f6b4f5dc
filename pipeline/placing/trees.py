"""Boosted trees, evaluated for few rows at a time, where a library takes longer to check them."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import GradientBoostingClassifier

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """The trees of a fitted classifier, padded to the same number of nodes.

    A leaf leads to itself, so that every row takes as many steps as the deepest tree has levels.
    """

    features: Integers
    """The feature that each node asks for [trees, nodes]."""
    thresholds: Floats
    """Rows with at most this go left [trees, nodes]."""
    children: Integers
    """Where rows go on, left and right [trees, nodes, 2]."""
    values: Floats
    """What a leaf adds to the ln odds [trees, nodes]."""
    start: float
    """The ln odds before any tree."""
    depth: int

    @classmethod
    def of(cls, model: GradientBoostingClassifier) -> Self:
        """The trees of a classifier of two classes."""
        trees = [estimator.tree_ for estimator in model.estimators_[:, 0]]
        shape = len(trees), max(tree.node_count for tree in trees)
        features, thresholds, values = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape)
        children = np.tile(np.arange(shape[1])[:, None], (shape[0], 1, 2))
        for number, tree in enumerate(trees):
            nodes = np.arange(tree.node_count)
            leaf = tree.children_left < 0
            features[number, nodes] = np.where(leaf, 0, tree.feature)
            thresholds[number, nodes] = tree.threshold
            values[number, nodes] = model.learning_rate * tree.value[:, 0, 0]
            for side, lower in enumerate((tree.children_left, tree.children_right)):
                children[number, nodes, side] = np.where(leaf, nodes, lower)
        share = float(model.init_.class_prior_[1])
        depth = max(tree.max_depth for tree in trees)
        start = float(np.log(share / (1 - share)))
        return cls(features, thresholds, children, values, start, depth)

    def log_odds(self, rows: Floats) -> Floats:
        """The ln odds of the second class [n].

        Args:
            rows: Features [n, k].
        """
        rows = rows.astype(np.float32).astype(np.float64)  # as the classifier compares them
        tree, row = np.arange(len(self.features)), np.arange(len(rows))[:, None]
        nodes: Integers = np.zeros((len(rows), len(self.features)), np.int64)
        for _ in range(self.depth):
            right = rows[row, self.features[tree, nodes]] > self.thresholds[tree, nodes]
            nodes = self.children[tree, nodes, right.astype(np.int64)]
        odds: Floats = self.start + self.values[tree, nodes].sum(axis=1)
        return odds
