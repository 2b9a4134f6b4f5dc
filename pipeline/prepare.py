"""Preparing a job: all checks before any compute is spent, and the plan of what will be edited."""

import logging
import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdmodel.checkpoint import generator_hash, read_checkpoint_config
from pipeline.checkpoints import bundled_checkpoint, choose_checkpoint
from pipeline.config import RenderConfig, fingerprint
from pipeline.errors import DatasetError, OutputError
from pipeline.fit import fit
from pipeline.layout import SceneRecord, index_scene
from pipeline.output import OutputFolder
from pipeline.plan import PlanRow, assign_scene
from pipeline.policy import Policy
from pipeline.progress import progress_bar
from pipeline.rng import sample_generator
from pipeline.sampling import DonorTable, sample_program
from pipeline.sources import Source, open_source
from pipeline.style import Style, StyleConfig, check_photos, choose_style
from pipeline.taxonomy import Taxonomy

log = logging.getLogger("hdsynth.render")

ALGORITHM = 1
"""Raised when the same job would give other samples than before."""
ORDER_STREAM = 1
MESSAGES_SHOWN = 5


@dataclass(frozen=True, slots=True, eq=False)
class PreparedJob:
    """A job that passed all checks that need no look at the data; nothing is written yet."""

    config: RenderConfig
    """With paths resolved and the style filled in."""
    out: OutputFolder
    taxonomy: Taxonomy
    source: Source
    policy: Policy
    checkpoint: Path
    generator_hash: str
    style: Style | None
    """How objects look; None if the generator reads no features."""
    scenes: tuple[str, ...]
    """Names of the source scenes in the order in which they take turns."""
    samples: int
    identity: dict[str, Any]

    @property
    def shards(self) -> int:
        """The number of shards."""
        return -(-self.samples // self.config.output.shard_size)


def prepare(config: RenderConfig) -> PreparedJob:
    """Check everything about a job that can be checked without reading the dataset's pixels.

    Raises:
        InputError: Dataset, taxonomy, policy or generator cannot be used as asked.
    """
    out = OutputFolder(config.output.path)
    config = config.resolved()
    if Path(config.dataset.root).is_relative_to(config.output.path):
        raise OutputError(f"{out.root}: holds the dataset that is to be read; choose another --out")
    source = open_source(config.dataset)
    taxonomy = source.taxonomy
    asked = config.recompose.policy
    policy = asked if isinstance(asked, Policy) else Policy.load(asked)
    checkpoint = choose_checkpoint(config.generator.checkpoint, taxonomy)
    if checkpoint == bundled_checkpoint():
        log.info(
            "generator: the bundled demo checkpoint, trained on the procedural sample world; "
            "photos will look like that world, not like your dataset (see --generator)"
        )
    elif "initialised" in read_checkpoint_config(checkpoint).training:
        log.warning("generator: %s is untrained, its photos will be noise", checkpoint)
    names = [scene.name for scene in source.scenes]
    order = sample_generator(config.seed, 0, stream=ORDER_STREAM).permutation(len(names))
    scenes = tuple(names[position] for position in order)
    samples = config.samples or len(scenes) * (config.variants_per_scene or 1)
    style = choose_style(config.style, checkpoint, taxonomy=taxonomy, seed=config.seed)
    if style is not None:
        config = config.model_copy(update={"style": config.style or StyleConfig()})
        if style.reads_photos:
            check_photos(source, scenes[:samples], photos=config.dataset.photos)
    generator = generator_hash(checkpoint)
    identity = {
        **config.identity(),
        "algorithm": ALGORITHM,
        "policy": {key: value for key, value in policy.to_plain().items() if key != "name"},
        "taxonomy": _meaning(taxonomy),
        "generator_hash": generator,
        "dataset_scenes": fingerprint({"names": names}),
    }
    if style is not None:
        identity["style"] = style.identity()
    return PreparedJob(
        config=config,
        out=out,
        taxonomy=taxonomy,
        source=source,
        policy=policy,
        checkpoint=checkpoint,
        generator_hash=generator,
        style=style,
        scenes=scenes,
        samples=samples,
        identity=identity,
    )


def _meaning(taxonomy: Taxonomy) -> str:
    """A hash of all that a taxonomy says, but for its name and colours."""
    plain = taxonomy.to_plain()
    del plain["name"], plain["version"]
    return fingerprint(
        {
            "taxonomy": plain
            | {
                "classes": [
                    {key: value for key, value in entry.items() if key != "color"}
                    for entry in plain["classes"]
                ]
            }
        }
    )


def index_scenes(job: PreparedJob) -> list[SceneRecord]:
    """Read and check the scenes that the job uses, and note what is where.

    Raises:
        DatasetError: Files are unreadable or do not fit; the message names the first few.
    """
    names = job.scenes[: job.samples]
    warnings: list[str] = []
    sizes: set[tuple[int, int]] = set()

    def index(name: str) -> SceneRecord | str:
        try:
            reading = job.source.inspect(name, photo=False)
            warnings.extend(str(warning) for warning in reading.warnings)
            scene = reading.unwrap()
            sizes.add(scene.size)
            fitted = fit(scene, job.config.size, job.config.fit, taxonomy=job.taxonomy)
        except DatasetError as error:
            return str(error)
        return index_scene(fitted, job.taxonomy)

    records: list[SceneRecord] = []
    errors: list[str] = []
    with (
        progress_bar("checking scenes", len(names)) as advance,
        ThreadPoolExecutor(max_workers=min(8, 2 * (os.cpu_count() or 1))) as pool,
    ):
        for done, result in enumerate(pool.map(index, names), start=1):
            if isinstance(result, str):
                errors.append(result)
            else:
                records.append(result)
            advance(done)
    if errors:
        raise DatasetError(_first(errors))
    _say_what_is_doubtful(job, records, sizes=sizes, warnings=warnings)
    return records


def _say_what_is_doubtful(
    job: PreparedJob,
    records: Sequence[SceneRecord],
    *,
    sizes: Collection[tuple[int, int]],
    warnings: Collection[str],
) -> None:
    """Log what the user may not have meant: nothing is left out or changed silently."""
    if warnings:
        log.warning("%s", _first(sorted(warnings)))
    if orphans := job.source.orphans:
        log.warning("%d files belong to no label map, such as %s", len(orphans), orphans[0])
    if sizes != {job.config.size}:
        shown = ", ".join(f"{height}x{width}" for height, width in sorted(sizes)[:MESSAGES_SHOWN])
        height, width = job.config.size
        stretched = job.config.fit == "resize" and any(h * width != w * height for h, w in sizes)
        log.info(
            "scenes of %s are brought to %dx%d by %s%s",
            shown,
            height,
            width,
            job.config.fit,
            ", which changes their aspect ratio (see --fit)" if stretched else "",
        )
    if not any(len(record.ids) for record in records):
        log.warning(
            "no scene has single objects, so none can be dropped, moved or pasted "
            "(--instances components finds them where there are no instance maps)"
        )


def _first(messages: Sequence[str]) -> str:
    more = len(messages) - MESSAGES_SHOWN
    shown = "\n  ".join(messages[:MESSAGES_SHOWN])
    return shown + (f"\n  and {more} more files" if more > 0 else "")


def make_plan(job: PreparedJob, records: Sequence[SceneRecord]) -> list[PlanRow]:
    """Sample the edit program of every output sample; the same for the same seed, always."""
    by_name = {record.name: record for record in records}
    donors = DonorTable.build(records, job.policy, taxonomy=job.taxonomy)
    seed = job.config.seed
    rows = []
    for index in range(job.samples):
        scene, variant = assign_scene(index, job.scenes)
        program = sample_program(
            job.policy, by_name[scene], donors, rng=sample_generator(seed, index)
        )
        rows.append(
            PlanRow(
                index=index,
                shard=index // job.config.output.shard_size,
                scene=scene,
                variant=variant,
                seed=seed,
                program=program.model_dump_json(),
            )
        )
    return rows
