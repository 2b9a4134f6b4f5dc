"""Preparing a job: all checks before any compute is spent, and the plan of what will be edited."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdmodel.checkpoint import generator_hash, read_checkpoint_config
from pipeline.checkpoints import bundled_checkpoint, choose_checkpoint
from pipeline.config import RenderConfig
from pipeline.donors.bank import DonorBank, DonorIndex
from pipeline.donors.writer import MIN_AREA, PackedScene, new_bank, pack_scene
from pipeline.errors import DatasetError, OutputError
from pipeline.fit import fit
from pipeline.indexing.record import SceneRecord, index_scene
from pipeline.output.folder import OutputFolder, fingerprint
from pipeline.placing.priors import Priors
from pipeline.planning.plan import Plan, PlanRow, assign_scene
from pipeline.planning.planner import plan_programs
from pipeline.planning.policy import Policy
from pipeline.planning.sampling import make_sampler
from pipeline.progress import progress_bar
from pipeline.rng import sample_generator
from pipeline.sources import Source, open_source
from pipeline.styles.style import Style, StyleConfig, check_photos, choose_style
from pipeline.taxonomy import Taxonomy
from pipeline.threads import map_in_threads

log = logging.getLogger("hdsynth.render")

ALGORITHM = 2
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
    bank: DonorBank | None
    """The donor bank that the job names; None if its own scenes give the donors."""
    priors: Priors | None
    """The priors that the job names; None if they are fitted to its own scenes."""
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
    policy.check(taxonomy)
    checkpoint = choose_checkpoint(config.generator.checkpoint, taxonomy)
    if checkpoint == bundled_checkpoint():
        log.info(
            "generator: the bundled demo checkpoint, trained on the procedural sample world; "
            "photos will look like that world, not like your dataset (see --generator)"
        )
    elif "initialised" in read_checkpoint_config(checkpoint).training:
        log.warning("generator: %s is untrained, its photos will be noise", checkpoint)
    bank = _named_bank(config, taxonomy)
    named = config.recompose.priors
    priors = None if named is None else Priors.load(named, taxonomy)
    names = [scene.name for scene in source.scenes]
    order = sample_generator(config.seed, 0, stream=ORDER_STREAM).permutation(len(names))
    scenes = tuple(names[position] for position in order)
    samples = config.samples or len(scenes) * (config.variants_per_scene or 1)
    style = choose_style(config.style, checkpoint, taxonomy=taxonomy, seed=config.seed)
    if style is not None:
        config = config.model_copy(update={"style": config.style or StyleConfig()})
        if style.reads_photos:
            check_photos(source, scenes[:samples], photos=config.dataset.photos)
            if bank is not None:
                check_photos(bank.open_source(), bank.index.names, photos="auto")
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
    if bank is not None:
        identity["donors"] = bank.sha256
    if priors is not None:
        identity["priors"] = priors.sha256
    return PreparedJob(
        config=config,
        out=out,
        taxonomy=taxonomy,
        source=source,
        policy=policy,
        bank=bank,
        priors=priors,
        checkpoint=checkpoint,
        generator_hash=generator,
        style=style,
        scenes=scenes,
        samples=samples,
        identity=identity,
    )


def _named_bank(config: RenderConfig, taxonomy: Taxonomy) -> DonorBank | None:
    if config.recompose.donors is None:
        return None
    bank = DonorBank.open(config.recompose.donors)
    bank.check_fits(size=config.size, taxonomy=taxonomy)
    bank.check_masks()
    return bank


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
    return _index(job, lambda _: None)


def collect_scenes(job: PreparedJob, folder: Path) -> tuple[list[SceneRecord], DonorBank]:
    """Index the scenes and, unless the job names a donor bank, make one of their objects.

    Args:
        job: The job.
        folder: A new folder, for the bank if one is made.

    Raises:
        DatasetError: Files are unreadable or do not fit; the message names the first few.
    """
    if job.bank is not None:
        return index_scenes(job), job.bank
    config = job.config
    with new_bank(
        folder, dataset=config.dataset, size=config.size, fit=config.fit, taxonomy=job.taxonomy
    ) as writer:
        records = _index(job, writer.add)
    return records, DonorBank.open(folder)


def donor_index(job: PreparedJob, records: Sequence[SceneRecord]) -> DonorIndex:
    """The donors of the bank that the job names, or of its own scenes."""
    if job.bank is not None:
        return job.bank.index
    return DonorIndex.of(records, min_area=MIN_AREA)


def _index(job: PreparedJob, use: Callable[[PackedScene], None]) -> list[SceneRecord]:
    names = job.scenes[: job.samples]
    warnings: list[str] = []
    sizes: set[tuple[int, int]] = set()

    def index(name: str) -> PackedScene | str:
        try:
            reading = job.source.inspect(name, photo=False)
            warnings.extend(str(warning) for warning in reading.warnings)
            scene = reading.unwrap()
            sizes.add(scene.size)
            fitted = fit(scene, job.config.size, job.config.fit, taxonomy=job.taxonomy)
        except DatasetError as error:
            return str(error)
        return pack_scene(index_scene(fitted, job.taxonomy), fitted.instance)

    records: list[SceneRecord] = []
    errors: list[str] = []
    for result in map_in_threads(index, names, title="checking scenes"):
        if isinstance(result, str):
            errors.append(result)
        else:
            records.append(result.record)
            use(result)
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


def make_plan(job: PreparedJob, records: Sequence[SceneRecord]) -> Plan:
    """Sample the edit program of every output sample; the same for the same seed, always."""
    priors = job.priors or Priors.fit(records, job.taxonomy)
    sampler = make_sampler(
        job.policy,
        records,
        donors=donor_index(job, records),
        priors=priors,
        taxonomy=job.taxonomy,
    )
    with progress_bar("planning edits", job.samples) as advance:
        planned = plan_programs(
            sampler,
            {record.name: record for record in records},
            job.scenes,
            samples=job.samples,
            seed=job.config.seed,
            progress=advance,
        )
    rows = []
    for index, program in enumerate(planned.programs):
        scene, variant = assign_scene(index, job.scenes)
        rows.append(
            PlanRow(
                index=index,
                shard=index // job.config.output.shard_size,
                scene=scene,
                variant=variant,
                seed=job.config.seed,
                program=program.model_dump_json(),
            )
        )
    return Plan(rows, planned.quotas, priors)
