"""Choosing the generator of a job, and checking that it fits the dataset."""

from pathlib import Path

import configs
from hdmodel.checkpoint import TaxonomyRecord, read_checkpoint_config
from pipeline.errors import TaxonomyError
from pipeline.taxonomy import Taxonomy

BUNDLED = "sample-world"


def bundled_checkpoint() -> Path:
    """The demo checkpoint of hdsynth: Cityscapes classes, trained on the sample world."""
    return configs.folder("checkpoints") / BUNDLED


def taxonomy_record(taxonomy: Taxonomy) -> TaxonomyRecord:
    """What a checkpoint remembers of the taxonomy it was made for."""
    return TaxonomyRecord(
        name=taxonomy.name,
        version=taxonomy.version,
        fingerprint=taxonomy.fingerprint,
        class_names=tuple(taxonomy.class_names),
    )


def choose_checkpoint(asked: Path | None, taxonomy: Taxonomy) -> Path:
    """The checkpoint to render with, after comparing its taxonomy with the dataset's.

    Args:
        asked: The user's checkpoint, or None for the bundled one.
        taxonomy: The dataset's taxonomy.

    Raises:
        CheckpointError: It is not a checkpoint.
        TaxonomyError: It was made for other classes.
    """
    checkpoint = asked or bundled_checkpoint()
    config = read_checkpoint_config(checkpoint)
    record = config.taxonomy
    if record.fingerprint == taxonomy.fingerprint:
        return checkpoint
    if asked is None:
        raise TaxonomyError(
            f"no generator given: the bundled one knows taxonomy {record.name!r} only, and the "
            f"dataset's is {taxonomy.name!r}; name one with --generator "
            "(hdsynth train makes one, hdsynth init-generator an untrained one)"
        )
    raise TaxonomyError(
        f"{checkpoint}: made for taxonomy {record.name!r} version {record.version}, the dataset's "
        f"is {taxonomy.name!r} version {taxonomy.version}: {_difference(record, taxonomy)}"
    )


def _difference(record: TaxonomyRecord, taxonomy: Taxonomy) -> str:
    if record.num_classes != taxonomy.num_classes:
        return f"{record.num_classes} classes against {taxonomy.num_classes}"
    for class_id, (theirs, ours) in enumerate(
        zip(record.class_names, taxonomy.class_names, strict=True)
    ):
        if theirs != ours:
            return f"class {class_id} is {theirs!r} against {ours!r}"
    return "things, void or train ids differ"
