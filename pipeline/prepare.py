"""Preparing a job: all checks that come before any compute is spent."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdmodel.checkpoint import generator_hash, read_checkpoint_config
from hdmodel.errors import ConfigError
from pipeline.checkpoints import bundled_checkpoint, choose_checkpoint
from pipeline.config import RenderConfig
from pipeline.donors.bank import DonorBank, DonorIndex
from pipeline.donors.writer import index_and_collect
from pipeline.errors import OutputError
from pipeline.exemplars.catalogue import Catalogue
from pipeline.indexing.index import index_scenes
from pipeline.indexing.record import SceneRecord
from pipeline.output.folder import OutputFolder, fingerprint
from pipeline.placing.priors import Priors
from pipeline.planning.making import make_plan
from pipeline.planning.plan import Plan
from pipeline.planning.policy import Policy
from pipeline.rendering.composer import open_exemplars
from pipeline.rendering.shown import check_shown
from pipeline.rng import sample_generator
from pipeline.sources import Source, open_source
from pipeline.sources.photos import names_with_photos
from pipeline.styles.style import Style, StyleConfig, check_photos, choose_style
from pipeline.taxonomy import Taxonomy

log = logging.getLogger("hdsynth.render")

ALGORITHM = 3
"""Raised when the same job would give other samples than before."""
ORDER_STREAM = 1


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
    exemplars: Source | None
    """Those of its scenes with photos are the ones that pixels are copied from; None if the scenes
    that samples are made from are, or nothing is copied."""
    priors: Priors | None
    """The priors that the job names; None if they are fitted to its own scenes."""
    checkpoint: Path | None
    """None for composites without a generator."""
    generator_hash: str | None
    pretrained: tuple[str, ...] | None
    """Networks of others that the generator's losses asked; None if that is not known."""
    style: Style | None
    """How styles are chosen; None if the generator reads no features."""
    scenes: tuple[str, ...]
    """Names of the source scenes in the order in which they take turns."""
    samples: int
    identity: dict[str, Any]

    @property
    def used_scenes(self) -> tuple[str, ...]:
        """The scenes that samples are made from, in the dataset's order; with few samples not all.

        Scenes that follow each other in a dataset are often of one drive, which matters where
        objects of different scenes are compared.
        """
        used = set(self.scenes[: self.samples])
        return tuple(ref.name for ref in self.source.scenes if ref.name in used)

    @property
    def completes_donors(self) -> bool:
        """Whether hidden parts of the donors of its own scenes are made up."""
        return self.config.recompose.complete and not self.config.photo.is_copied

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
    checkpoint = _checkpoint(config, policy, taxonomy)
    if checkpoint is None:
        log.info("photos are made of real pixels alone; there is no generator")
    elif checkpoint == bundled_checkpoint():
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
    if config.photo.is_composite:
        check_photos(source, scenes[:samples], photos=config.dataset.photos, need="photo composite")
        if bank is not None:
            names_of_donors = bank.index.names
            check_photos(bank.open_source(), names_of_donors, photos="auto", need="photo composite")
    exemplars = _exemplars(config, source)
    style = None
    if checkpoint is not None:
        style = choose_style(config.style, checkpoint, taxonomy=taxonomy, seed=config.seed)
    elif config.style is not None:
        raise ConfigError(
            "style: without a generator objects look as in the photos that they are from; leave "
            "style out"
        )
    if style is not None:
        config = config.model_copy(update={"style": config.style or StyleConfig()})
        if style.reads_photos:
            check_photos(source, scenes[:samples], photos=config.dataset.photos)
            if bank is not None:
                check_photos(bank.open_source(), bank.index.names, photos="auto")
    generator = None if checkpoint is None else generator_hash(checkpoint)
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
    if config.recompose.complete and not config.photo.is_copied:
        identity["complete"] = True
    if exemplars is not None:
        identity["exemplars"] = _exemplar_identity(config, exemplars)
    if priors is not None:
        identity["priors"] = priors.sha256
    return PreparedJob(
        config=config,
        out=out,
        taxonomy=taxonomy,
        source=source,
        policy=policy,
        bank=bank,
        exemplars=exemplars,
        priors=priors,
        checkpoint=checkpoint,
        generator_hash=generator,
        pretrained=() if checkpoint is None else read_checkpoint_config(checkpoint).pretrained,
        style=style,
        scenes=scenes,
        samples=samples,
        identity=identity,
    )


def _checkpoint(config: RenderConfig, policy: Policy, taxonomy: Taxonomy) -> Path | None:
    """The generator of a job; none for composites that name none.

    Raises:
        ConfigError: The job asks for what only a generator can draw, and names none.
    """
    asked = config.generator.checkpoint
    if asked is not None or not config.photo.is_copied:
        return choose_checkpoint(asked, taxonomy)
    need = config.photo.needs_generator()
    changes = policy.operations.change_class
    keeps = changes is not None and changes.weight and changes.shape == "own"
    if need is None and config.photo.is_composite and keeps:
        need = f"policy {policy.name!r} makes objects another class in their own shape, which"
    if need is not None:
        raise ConfigError(f"{need} needs a generator; give one (--generator CKPT)")
    return None


def _exemplars(config: RenderConfig, source: Source) -> Source | None:
    """The scenes with photos that pixels are copied from, unless they are the job's own scenes."""
    photo = config.photo
    if not photo.is_copied or (photo.is_composite and not photo.exemplars):
        return None
    return open_exemplars(photo, config.dataset, source)


def _exemplar_identity(config: RenderConfig, exemplars: Source) -> dict[str, Any]:
    """Where exemplars lie and which they are; their taxonomy is the job's."""
    plain = config.exemplar_dataset().to_plain()
    del plain["taxonomy"], plain["photos"]
    return {"dataset": plain, "scenes": fingerprint({"names": names_with_photos(exemplars)})}


def _named_bank(config: RenderConfig, taxonomy: Taxonomy) -> DonorBank | None:
    if config.recompose.donors is None:
        return None
    if config.recompose.complete:
        raise ConfigError(
            "recompose.complete is for donors of the job's own scenes, and recompose.donors names "
            "a bank; make that one with hdsynth donors build --complete"
        )
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


def catalogue_of(job: PreparedJob, records: Sequence[SceneRecord]) -> Catalogue | None:
    """What is where in the photos that pixels are copied from; None if nothing is copied.

    Args:
        job: The job.
        records: Of its scenes.

    Raises:
        DatasetError: A label or instance map of an exemplar cannot be used.
    """
    if not job.config.photo.is_copied:
        return None
    if job.exemplars is None:
        return Catalogue.of(records)
    known = {record.name: record for record in records} if not job.config.photo.exemplars else {}
    names = names_with_photos(job.exemplars)
    others = [name for name in names if name not in known]
    size, mode = job.config.size, job.config.fit
    found = index_scenes(job.exemplars, others, size=size, mode=mode) if others else []
    return Catalogue.of([*found, *(known[name] for name in names if name in known)])


def collect_donors(job: PreparedJob, folder: Path) -> tuple[list[SceneRecord], DonorBank]:
    """The records of a job's scenes, and its bank: if it names none, a new one in a folder.

    Raises:
        DatasetError: A scene cannot be used.
    """
    size, mode = job.config.size, job.config.fit
    if job.bank is not None:
        return index_scenes(job.source, job.used_scenes, size=size, mode=mode), job.bank
    return index_and_collect(
        folder,
        job.config.dataset,
        job.source,
        job.used_scenes,
        size=size,
        mode=mode,
        complete=job.completes_donors,
    )


def plan_job(
    job: PreparedJob,
    records: Sequence[SceneRecord],
    catalogue: Catalogue | None,
    *,
    donors: DonorIndex,
) -> Plan:
    """The plan of a job.

    Args:
        job: The job.
        records: Of its scenes.
        catalogue: As from `catalogue_of`.
        donors: As from `collect_donors`; completed ones are left out where photos are copied.

    Raises:
        ConfigError: It needs pixels of a class that no photo shows, and there is no generator.
    """
    records_by_name = {record.name: record for record in records}
    if job.config.photo.is_copied:
        donors = _only_seen(donors, asked=job.config.recompose.complete)
    plan = make_plan(
        job.policy,
        records,
        scenes=job.scenes,
        donors=donors,
        priors=job.priors,
        taxonomy=job.taxonomy,
        samples=job.samples,
        shard_size=job.config.output.shard_size,
        seed=job.config.seed,
    )
    if catalogue is not None:
        check_shown(
            [(row.parsed_program(), records_by_name[row.scene]) for row in plan.rows],
            catalogue,
            photo=job.config.photo,
            generator=job.checkpoint is not None,
            taxonomy=job.taxonomy,
        )
    return plan


def _only_seen(donors: DonorIndex, *, asked: bool) -> DonorIndex:
    """Donors whose pixels are all there to be copied; that others are left out is logged.

    Args:
        donors: The donors.
        asked: Whether the job asks for completed ones of its own scenes.
    """
    seen = donors.only_seen()
    if asked or len(seen) < len(donors):
        count = "" if asked else f"{len(donors) - len(seen)} "
        log.info(
            "%scompleted donors are not used: photos are copied, and of what is made up there are "
            "no pixels",
            count,
        )
    return seen
