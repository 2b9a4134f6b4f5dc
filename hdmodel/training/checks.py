"""Finding out, before anything is written or computed, whether a training can start."""

from pathlib import Path

from hdmodel.checkpoint import (
    ENCODER_FILE,
    GENERATOR_FILE,
    TaxonomyRecord,
    check_weights,
    read_checkpoint_config,
)
from hdmodel.errors import CheckpointError
from hdmodel.imagenet import NAME as IMAGENET_NETWORK
from hdmodel.settings import flattened
from hdmodel.training.backbone import check_backbone
from hdmodel.training.config import TrainConfig
from hdmodel.training.data_parallel import Processes
from hdmodel.training.perceptual import check_perceptual
from hdmodel.training.scene_sets import SceneSets
from hdmodel.training.schedule import PlannedStage, plan_stages


def check_training(
    config: TrainConfig, scenes: SceneSets, *, taxonomy: TaxonomyRecord, processes: Processes
) -> list[PlannedStage]:
    """Find out, before anything is written or computed, whether a training can start.

    Returns:
        Its stages.

    Raises:
        InputError: There are too few scenes, or the pixel discriminator's backbone is missing.
        ConfigError: A batch cannot be divided among the processes, or crops are too small.
        CheckpointError: The weights of the perceptual loss, or the checkpoint to begin with, cannot
            be used.
    """
    if config.losses.perceptual:
        sides = (min(stage.crop or config.stage_size(stage)) for stage in config.stages)
        check_perceptual(config.vgg, least_side=min(sides))
    if config.losses.pixel:
        check_backbone()
    if config.initial is not None:
        check_initial(config, taxonomy)
    stages = plan_stages(config, scenes=len(scenes.training(config.stage_size(config.stages[0]))))
    for stage in stages:
        processes.share(stage.config.batch, accumulate=stage.config.accumulate)
    return stages


def check_initial(config: TrainConfig, taxonomy: TaxonomyRecord) -> None:
    """Find out whether a training can begin with the checkpoint that it names.

    Raises:
        CheckpointError: It is missing or damaged, of other networks or classes, or the first stage
            trains a part of the generator alone.
    """
    assert config.initial is not None
    path = Path(config.initial)
    found, stage = read_checkpoint_config(path), config.stages[0]
    if found.taxonomy.fingerprint != taxonomy.fingerprint:
        raise CheckpointError(
            f"initial: {path}: is of the taxonomy {found.taxonomy.name!r}, the training of "
            f"{taxonomy.name!r}; expected the same classes"
        )
    wanted = config.stage_generator(stage)
    pairs = [("generator", wanted, found.generator), ("encoder", config.encoder, found.encoder)]
    for name, ours, theirs in pairs:
        if ours != theirs:
            a, b = (flattened(x and x.to_plain()) for x in (ours, theirs))
            keys = [key for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)]
            first = ".".join(filter(None, (name, keys[0])))
            raise CheckpointError(
                f"initial: {path}: {first} is {b.get(keys[0])!r}, expected {a.get(keys[0])!r} as "
                f"in stage {stage.name!r} of the training"
            )
    for name in (GENERATOR_FILE, *([ENCODER_FILE] if config.encoder else [])):
        check_weights(path, name)


def pretrained_networks(config: TrainConfig) -> list[str] | None:
    """Name the networks, trained by others, that the losses of a training ask.

    Those that the checkpoint it begins with was trained by are among them; None if these are not
    known.

    A scorer that began with their weights is no independent judge of what was trained.

    Raises:
        CheckpointError: The weights of the perceptual loss cannot be used.
    """
    found: list[str] = []
    if config.initial is not None:
        before = read_checkpoint_config(config.initial).pretrained
        if before is None:
            return None
        found += before
    if config.losses.perceptual:
        found.append(check_perceptual(config.vgg))
    if config.losses.pixel:
        found.append(IMAGENET_NETWORK)
    return list(dict.fromkeys(found))
