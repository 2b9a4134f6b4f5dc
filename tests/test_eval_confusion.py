import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from eval.confusion import VOID, ConfusionMatrix, count_pairs
from eval.errors import EvalError
from eval.mapping import ClassMapping
from pipeline.taxonomy import Taxonomy
from tests.real_scenes import SAMPLES

CITYSCAPES = SAMPLES / "cityscapes_sample"
CLASSES = 4
CATEGORIES = ("flat", "flat", "sky", "vehicle")
values = st.sampled_from([*range(CLASSES), VOID])
maps = st.tuples(st.integers(1, 5), st.integers(1, 6)).flatmap(
    lambda shape: st.tuples(*(arrays(np.uint8, shape, elements=values) for _ in range(2)))
)


def ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def present(scores: list[float]) -> float:
    known = [score for score in scores if not math.isnan(score)]
    return sum(known) / len(known) if known else math.nan


@given(maps)
def test_scores_equal_a_count_pixel_by_pixel(pair: tuple[np.ndarray, np.ndarray]) -> None:
    target, prediction = pair
    confusion = ConfusionMatrix(CLASSES)
    confusion.update(target, prediction)
    pixels = [(int(t), int(p)) for t, p in zip(target.ravel(), prediction.ravel(), strict=True)]
    valid = [(t, p) for t, p in pixels if t != VOID]
    right = sum(t == p for t, p in valid)
    iou, accuracy = [], []
    for k in range(CLASSES):
        both = sum(t == k and p == k for t, p in valid)
        iou.append(ratio(both, sum(t == k or p == k for t, p in valid)))
        accuracy.append(ratio(both, sum(t == k for t, _ in valid)))
    weighted = sum(iou[k] * sum(t == k for t, _ in valid) for k in {t for t, _ in valid})
    np.testing.assert_array_equal(confusion.iou, iou)
    np.testing.assert_array_equal(confusion.class_accuracy, accuracy)
    for score, expected in (
        (confusion.acc_valid, ratio(right, len(valid))),
        (confusion.acc_void_as_error, ratio(right, len(pixels))),
        (confusion.mean_iou, present(iou)),
        (confusion.mean_class_accuracy, present(accuracy)),
        (confusion.frequency_weighted_iou, ratio(weighted, len(valid))),
    ):
        assert score == pytest.approx(expected, rel=1e-12, nan_ok=True)
    for name, score in confusion.category_iou(CATEGORIES).items():
        inside = {k for k, category in enumerate(CATEGORIES) if category == name}
        both = sum(t in inside and p in inside for t, p in valid)
        either = sum(t in inside or p in inside for t, p in valid)
        assert score == pytest.approx(ratio(both, either), nan_ok=True)
    assert (confusion.total, confusion.void) == (len(pixels), len(pixels) - len(valid))


@given(maps, maps)
def test_counts_add_up_in_any_order(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> None:
    together, first, second = (ConfusionMatrix(CLASSES) for _ in range(3))
    for pair in (one, other):
        together.update(*pair)
    first.update(*one)
    second.update(*other)
    np.testing.assert_array_equal((second + first).counts, together.counts)


def city_ids(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A label map of Cityscapes ids in blocks, with void classes among them."""
    blocks = rng.integers(0, 34, (height // 8, width // 8)).astype(np.uint8)
    return np.kron(blocks, np.ones((8, 8), np.uint8))


def compare_with_cityscapes_scripts(
    pairs: list[tuple[np.ndarray, np.ndarray]], folder: Path
) -> ConfusionMatrix:
    """Score maps of Cityscapes ids with both, and compare everything; gives our counts."""
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as theirs

    taxonomy = Taxonomy.load("cityscapes")
    mapping = ClassMapping.between(taxonomy, taxonomy)
    confusion = ConfusionMatrix(mapping.num_classes)
    targets, predictions = [], []
    for number, (target, prediction) in enumerate(pairs):
        for name, values, paths in (("gt", target, targets), ("pred", prediction, predictions)):
            paths.append(str(folder / f"{name}{number}.png"))
            Image.fromarray(values).save(paths[-1])
        confusion.update(mapping.target(target), mapping.target(prediction))
    args = theirs.args
    args.evalInstLevelScore, args.JSONOutput, args.quiet = False, False, True
    expected = theirs.evaluateImgLists(predictions, targets, args)
    for k, name in enumerate(mapping.names):
        np.testing.assert_equal(float(confusion.iou[k]), expected["classScores"][name], name)
    assert confusion.mean_iou == pytest.approx(expected["averageScoreClasses"], rel=1e-15)
    for name, score in confusion.category_iou(mapping.categories).items():
        np.testing.assert_equal(score, expected["categoryScores"][name], name)
    ids = [c.id for c in sorted(taxonomy.classes, key=lambda c: c.train_id) if c.train_id != VOID]
    counted = np.array(expected["confMatrix"])
    np.testing.assert_array_equal(confusion.counts[:-1, :-1], counted[np.ix_(ids, ids)])
    return confusion


def test_scores_are_exactly_those_of_cityscapes_scripts(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    pairs = []
    for _ in range(4):
        target = city_ids(rng, 64, 128)
        target[target == 31] = 0  # no train, neither in targets nor in predictions
        spoilt = rng.random(target.shape) < 0.3
        prediction = np.where(spoilt, rng.integers(0, 31, target.shape), target).astype(np.uint8)
        pairs.append((target, prediction))
    assert math.isnan(compare_with_cityscapes_scripts(pairs, tmp_path).iou[16])


def test_scores_of_real_label_maps_are_those_of_cityscapes_scripts(tmp_path: Path) -> None:
    files = sorted(CITYSCAPES.rglob("*_labelIds.png"))[:3]
    if not files:
        pytest.skip(f"{CITYSCAPES} is not there")
    targets = [np.asarray(Image.open(file)) for file in files]
    pairs = [(target, np.roll(target, (5, 40), axis=(0, 1))) for target in targets]
    confusion = compare_with_cityscapes_scripts(pairs, tmp_path)
    assert confusion.total == sum(target.size for target in targets)


def test_perfect_predictions_and_absent_classes() -> None:
    target = np.array([[0, 0, 2, VOID]], np.uint8)
    confusion = ConfusionMatrix(CLASSES)
    confusion.update(target, target)
    assert confusion.acc_valid == confusion.mean_iou == confusion.mean_class_accuracy == 1
    assert confusion.acc_void_as_error == 0.75
    np.testing.assert_array_equal(np.isnan(confusion.iou), [False, True, False, True])


def test_nothing_but_void_has_no_score() -> None:
    confusion = ConfusionMatrix(CLASSES)
    confusion.update(np.full((2, 3), VOID, np.uint8), np.zeros((2, 3), np.uint8))
    assert math.isnan(confusion.acc_valid)
    assert math.isnan(confusion.mean_iou)
    assert math.isnan(confusion.frequency_weighted_iou)
    assert confusion.acc_void_as_error == 0


def test_another_size_and_unknown_values_are_refused() -> None:
    zeros = np.zeros((2, 3), np.uint8)
    with pytest.raises(EvalError, match=r"prediction of 2x2 pixels, expected .* 2x3"):
        count_pairs(zeros, np.zeros((2, 2), np.uint8), num_classes=CLASSES)
    with pytest.raises(EvalError, match=r"prediction holds 4, expected 0\.\.3 or 255"):
        count_pairs(zeros, zeros + 4, num_classes=CLASSES)
    with pytest.raises(EvalError, match=r"target holds 7, expected 0\.\.3 or 255"):
        count_pairs(zeros + 7, zeros, num_classes=CLASSES)
