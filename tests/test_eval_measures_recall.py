import math

import numpy as np

from eval.confusion import VOID
from eval.measures.recall import ObjectScore, Recall, recall_by, score_objects


def test_objects_are_scored_by_their_own_pixels() -> None:
    instance = np.array([[24000, 24000, 24000, 26], [26001, 26001, 7, 33000]], np.int32)
    target = np.array([[5, 5, 5, 6], [6, 6, 0, VOID]], np.uint8)
    prediction = np.array([[5, 0, 5, 6], [0, 6, 0, 1]], np.uint8)
    found = score_objects(
        target, instance, prediction, origins={26001: "pasted"}, default_origin="source"
    )
    assert found == [
        ObjectScore(24000, 5, 3, 2, "source"),
        ObjectScore(26001, 6, 2, 1, "pasted"),
    ]


def test_an_image_without_objects_has_none() -> None:
    zeros = np.zeros((3, 4), np.uint8)
    instance = zeros.astype(np.int32)
    assert score_objects(zeros, instance, zeros, origins={}, default_origin="real") == []


def test_half_of_the_pixels_make_an_object_readable() -> None:
    assert ObjectScore(1000, 0, 4, 2, "").readable
    assert not ObjectScore(1000, 0, 5, 2, "").readable
    sizes = [ObjectScore(1000, 0, area, 0, "").size for area in (1024, 1025, 9215, 9216)]
    assert sizes == ["small", "medium", "medium", "large"]


def test_recall_counts_by_group_in_the_order_asked_for() -> None:
    keys = ["car", "bus", "car", "car"]
    readable = np.array([True, False, False, True])
    assert recall_by(keys, readable) == {"bus": Recall(1, 0), "car": Recall(3, 2)}
    assert list(recall_by(keys, readable, ["car", "tram", "bus"])) == ["car", "bus"]
    assert recall_by([], np.zeros(0, np.bool_)) == {}
    assert math.isnan(Recall(0, 0).value)
