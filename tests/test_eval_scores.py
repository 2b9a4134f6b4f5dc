from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, jaccard_score, recall_score

from eval.confusion import VOID, ConfusionMatrix
from eval.counts import SideCounts, commit_counts, count_image, read_counts
from eval.errors import EvalError
from eval.mapping import ClassMapping
from eval.measures.intervals import bootstrap, image_scores, interval
from eval.scores import score_table
from pipeline.taxonomy import Taxonomy

CITY = Taxonomy.load("cityscapes")
MAPPING = ClassMapping.between(CITY, CITY)
SHAPE = (12, 20)


def pairs(images: int, *, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(images):
        target = rng.choice([0, 1, 2, 11, 13, VOID], SHAPE).astype(np.uint8)
        spoilt = rng.random(SHAPE) < rng.uniform(0.1, 0.6)
        prediction = np.where(spoilt, rng.choice([0, 1, 13, 4, VOID], SHAPE), target)
        made.append((target, prediction.astype(np.uint8)))
    return made


def counts_of(
    folder: Path, images: list[tuple[np.ndarray, np.ndarray]], *, scenes: list[str], shard: int = 2
) -> SideCounts:
    files = []
    for start in range(0, len(images), shard):
        files.append(folder / f"{start}.parquet")
        counted = [
            count_image(
                k,
                scenes[k],
                *(images[k][0], np.full(SHAPE, 26000, np.int32), images[k][1]),
                mapping=MAPPING,
                band=1,
                origins={},
                default_origin="source",
            )
            for k in range(start, min(start + shard, len(images)))
        ]
        commit_counts(files[-1], counted, fingerprint="f")
    return read_counts(files, num_classes=19, num_things=len(MAPPING.things))


def test_counts_read_again_are_those_of_the_images(tmp_path: Path) -> None:
    images = pairs(5)
    counts = counts_of(tmp_path, images, scenes=list("abcde"))
    whole = ConfusionMatrix(19)
    for k, (target, prediction) in enumerate(images):
        whole.update(target, prediction)
        for c in range(19):
            assert counts.targets[k, c] == np.count_nonzero(target == c)
            assert counts.correct[k, c] == np.count_nonzero((target == c) & (prediction == c))
            assert counts.predicted[k, c] == np.count_nonzero((prediction == c) & (target != VOID))
    np.testing.assert_array_equal(counts.confusion, whole.counts)
    np.testing.assert_array_equal(counts.total, [240] * 5)
    assert (counts.index.tolist(), counts.scene) == ([0, 1, 2, 3, 4], list("abcde"))
    assert counts.features is None


def test_scores_of_single_images_are_those_of_scikit_learn(tmp_path: Path) -> None:
    images = pairs(4)
    table = image_scores(counts_of(tmp_path, images, scenes=list("abcd")))
    for k, (target, prediction) in enumerate(images):
        valid = target != VOID
        truth, guess = target[valid], prediction[valid]
        classes = sorted({*truth.tolist(), *guess.tolist()} - {VOID})
        iou = jaccard_score(truth, guess, labels=classes, average=None)
        np.testing.assert_allclose(table.iou[k, classes], iou)
        assert np.isnan(table.iou[k]).sum() == 19 - len(classes)
        assert table.mean_iou[k] == pytest.approx(iou.mean())
        assert table.acc_valid[k] == pytest.approx(accuracy_score(truth, guess))
        assert table.acc_void_as_error[k] == pytest.approx(np.mean(target == prediction)
            - np.mean((target == VOID) & (prediction == VOID)))  # fmt: skip
        found = sorted(set(truth.tolist()))
        recall = recall_score(truth, guess, labels=found, average=None)
        assert table.mean_class_accuracy[k] == pytest.approx(recall.mean())
        weights = np.array([np.mean(truth == c) for c in found])
        expected = (jaccard_score(truth, guess, labels=found, average=None) * weights).sum()
        assert table.frequency_weighted_iou[k] == pytest.approx(expected)


def test_the_scores_of_all_images_are_those_of_one_confusion_matrix(tmp_path: Path) -> None:
    counts = counts_of(tmp_path, pairs(5), scenes=list("abcde"))
    confusion = ConfusionMatrix(19, counts.confusion)
    sums = (counts.correct, counts.targets, counts.predicted, counts.total)
    table = score_table(*(values.sum(axis=0)[None] for values in sums))
    for name, value in confusion.headline().items():
        assert float(table.headline()[name][0]) == value, name


def test_replicates_are_scores_of_drawn_images(tmp_path: Path) -> None:
    images = pairs(6)
    counts = counts_of(tmp_path, images, scenes=list("abcdef"))
    table = bootstrap(counts, replicates=50, seed=7)
    drawn = np.random.default_rng(7).integers(6, size=(50, 6))
    for k in (0, 1, 49):
        confusion = ConfusionMatrix(19)
        for place in drawn[k]:
            confusion.update(*images[place])
        assert table.mean_iou[k] == pytest.approx(confusion.mean_iou, rel=1e-12)
        assert table.acc_valid[k] == pytest.approx(confusion.acc_valid, rel=1e-12)


def test_variants_of_one_scene_do_not_make_the_interval_narrower(tmp_path: Path) -> None:
    images = pairs(8)
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
    once = bootstrap(counts_of(tmp_path / "once", images, scenes=list("abcdefgh")))
    copies = counts_of(tmp_path / "twice", images * 2, scenes=list("abcdefgh") * 2)
    np.testing.assert_allclose(bootstrap(copies).mean_iou, once.mean_iou)


def test_the_interval_covers_the_truth_as_often_as_it_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        right = rng.binomial(100, 0.7, 40)
        counts = SideCounts(
            index=np.arange(40),
            scene=[str(k) for k in range(40)],
            confusion=np.zeros((2, 2), np.int64),
            correct=right[:, None],
            targets=np.full((40, 1), 100),
            predicted=right[:, None],
            total=np.full(40, 100),
            boundary=np.zeros((2, 0), np.int64),
            object_class=np.zeros(0, np.int32),
            object_area=np.zeros(0, np.int32),
            object_correct=np.zeros(0, np.int32),
            object_origin=np.zeros(0, np.str_),
            object_pixels=np.zeros(0, np.str_),
            features=None,
        )
        found = interval(right.sum() / 4000, bootstrap(counts, replicates=200).acc_valid)
        hits += found.low <= 0.7 <= found.high
    assert 0.90 <= hits / 300 <= 0.98


def test_replicates_without_a_score_are_left_out() -> None:
    found = interval(0.5, np.array([np.nan, 0.25, 0.75]), level=1.0)
    assert (found.low, found.high) == (0.25, 0.75)
    assert np.isnan(interval(np.nan, np.array([np.nan])).low)


def test_features_of_very_many_photos_are_thinned_out(tmp_path: Path) -> None:
    files = []
    for shard in range(4):
        counted = [
            count_image(
                3 * shard + k,
                "s",
                np.zeros(SHAPE, np.uint8),
                np.zeros(SHAPE, np.int32),
                np.zeros(SHAPE, np.uint8),
                mapping=MAPPING,
                band=1,
                origins={},
                default_origin="real",
            )
            for k in range(3)
        ]
        for c in counted:
            c.features = np.array([c.index, 7], np.float32)
        files.append(tmp_path / f"{shard}.parquet")
        commit_counts(files[-1], counted, fingerprint="f")
    for most, kept in ((12, range(12)), (11, range(0, 12, 2)), (3, range(0, 12, 4)), (1, [0])):
        read = read_counts(files, num_classes=19, num_things=8, most_features=most)
        assert read.features is not None
        assert read.features[:, 0].tolist() == list(kept)


def test_a_damaged_counts_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    path.write_bytes(b"no")
    with pytest.raises(EvalError, match=r"bad\.parquet: not a readable counts file"):
        read_counts([path], num_classes=19, num_things=8)
