"""Reports made up for tests."""

from collections.abc import Mapping
from typing import Any

from eval.reports.report import Report
from eval.scores import HEADLINE

PROTOCOL = {
    "preset": "as-rendered", "rendered_size": [32, 64], "score_size": [32, 64],
    "input_size": [32, 64], "fit": "resize", "scorer": "ab", "scorer_dtype": "float32",
    "taxonomy": "cityscapes", "taxonomy_fingerprint": "f", "classes": ["road", "car"],
    "split": "val", "rendered": 6, "real": 3, "photo_resampler": "bicubic",
    "label_resampler": "nearest", "void_rule": "ignored",
}  # fmt: skip


def score(value: float | None, half_width: float = 0.01) -> dict[str, float | None]:
    if value is None:
        return {"value": None, "low": None, "high": None}
    return {"value": value, "low": value - half_width, "high": value + half_width}


def side(mean_iou: float, iou: Mapping[str, float | None], half_width: float) -> dict[str, Any]:
    scores = dict.fromkeys(HEADLINE, score(0.9, half_width)) | {
        "mean_iou": score(mean_iou, half_width)
    }
    return {
        "images": 6, "scenes": 3, "pixels": 100, "void_share": 0.1, "scores": scores,
        "iou": {name: score(value) for name, value in iou.items()},
        "class_accuracy": dict(iou), "category_iou": {"flat": 0.5}, "mean_category_iou": 0.5,
        "boundary_iou": {"car": 0.5}, "mean_boundary_iou": 0.5,
        "recall": [{"by": "all", "group": "all", "objects": 4, "readable": 3, "value": 0.75}],
        "confusion": [[40, 5, 0], [10, 30, 5], [5, 5, 0]], "worst": [], "best": [],
    }  # fmt: skip


def make(
    *,
    mean_iou: float = 0.6,
    oracle: float = 0.8,
    iou: Mapping[str, float | None] | None = None,
    oracle_iou: Mapping[str, float | None] | None = None,
    half_width: float = 0.01,
    protocol: Mapping[str, Any] | None = None,
    protocol_id: str = "0123456789ab",
) -> Report:
    classes = iou or {"road": 0.7, "car": 0.5}
    theirs = oracle_iou or {"road": 0.9, "car": 0.7}
    shared = [name for name in classes if None not in (classes[name], theirs[name])]
    value = mean_iou / oracle
    if len(shared) < len(classes):
        value = sum(classes[n] or 0 for n in shared) / sum(theirs[n] or 0 for n in shared)
    ratio = score(value, half_width)
    plain = {
        "schema_version": 1, "hdsynth": "0.1.0", "protocol_id": protocol_id,
        "protocol": {**PROTOCOL, **(protocol or {})}, "scorer": {"sha256": "ab" * 32},
        "run": {
            "path": "/data/out", "name": "out", "config_fingerprint": "f", "generator_hash": None,
            "samples": 6, "scored": 6, "excluded_samples": 0, "excluded": [],
        },
        "real": {"root": "/data/world", "format": "cityscapes", "split": "val", "photos": 3,
                 "without_photo": 0},
        "classes": [
            {"name": "road", "category": "flat", "color": [128, 64, 128], "is_thing": False},
            {"name": "car", "category": "vehicle", "color": [0, 0, 142], "is_thing": True},
        ],
        "unscored_classes": [], "unasked_classes": [],
        "rendered": side(mean_iou, classes, half_width),
        "oracle": side(oracle, theirs, half_width),
        "ratio": dict.fromkeys(HEADLINE, ratio), "oracle_is_poor": False, "warnings": [],
        "bootstrap": {"replicates": 1000, "seed": 0, "level": 0.95},
    }  # fmt: skip
    return Report.parse(plain, origin="test")
