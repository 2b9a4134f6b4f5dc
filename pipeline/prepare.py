"""Preparing a job: all checks that come before any compute is spent."""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hdmodel.checkpoint import generator_hash, read_checkpoint_config
from hdmodel.errors import ConfigError
from pipeline.checkpoints import bundled_checkpoint, choose_checkpoint
from pipeline.config import RenderConfig
from pipeline.donors.bank import DonorBank, DonorIndex
from pipeline.donors.writer import MIN_AREA
from pipeline.editing.program import RelabelRegion
from pipeline.errors import DatasetError, OutputError
from pipeline.exemplars.catalogue import Catalogue
from pipeline.indexing.index import index_scenes
from pipeline.indexing.record import SceneRecord
from pipeline.output.folder import OutputFolder, fingerprint
from pipeline.placing.priors import Priors
from pipeline.planning.making import make_plan
from pipeline.planning.plan import Plan
from pipeline.planning.policy import Policy
from pipeline.rng import sample_generator
from pipeline.roles import class_roles
from pipeline.sources import Source, open_source
from pipeline.sources.photos import scenes_with_photos
from pipeline.styles.style import Style, StyleConfig, check_photos, choose_style
from pipeline.taxonomy import Taxonomy

log = logging.getLogger("hdsynth.render")

ALGORITHM = 2
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
    style: Style | None
    """How styles are chosen; None if the generator reads no features."""
    scenes: tuple[str, ...]
    """Names of the source scenes in the order in which they take turns."""
    samples: int
    identity: dict[str, Any]

    @property
    def used_scenes(self) -> tuple[str, ...]:
        """The scenes that samples are made from; with few samples not all."""
        return self.scenes[: self.samples]

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
    if exemplars is not None:
        identity["exemplars"] = fingerprint({"names": _photographed(exemplars)})
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
    if need is None and config.photo.is_composite and "change_class" in policy.operations.weights:
        need = f"policy {policy.name!r} makes objects another class, which"
    if need is not None:
        raise ConfigError(f"{need} needs a generator; give one (--generator CKPT)")
    return None


def _exemplars(config: RenderConfig, source: Source) -> Source | None:
    """The scenes with photos that pixels are copied from, unless they are the job's own scenes."""
    photo = config.photo
    if not photo.is_copied or (photo.is_composite and not photo.exemplars):
        return None
    dataset = config.exemplar_dataset()
    found = open_source(dataset) if photo.exemplars else source
    if found.taxonomy.fingerprint != source.taxonomy.fingerprint:
        raise ConfigError(
            f"photo.exemplars: {dataset.root} has taxonomy {found.taxonomy.name!r}, the job's "
            f"dataset has {source.taxonomy.name!r}"
        )
    where = f"{dataset.root}{f' split {dataset.split!r}' if dataset.split else ''}"
    missing = DatasetError(
        f"photo {photo.mode}: {where} has no photos to copy from; see photo.exemplars"
    )
    scenes_with_photos(found, otherwise=missing, where=where)
    return found


def _photographed(source: Source) -> list[str]:
    """Names of the scenes that have a photo."""
    return [ref.name for ref in source.scenes if ref.photo is not None]


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
    names = _photographed(job.exemplars)
    others = [name for name in names if name not in known]
    size, mode = job.config.size, job.config.fit
    found = index_scenes(job.exemplars, others, size=size, mode=mode) if others else []
    return Catalogue.of([*found, *(known[name] for name in names if name in known)])


def plan_job(job: PreparedJob, records: Sequence[SceneRecord], catalogue: Catalogue | None) -> Plan:
    """The plan of a job, whose donors are those of the bank that it names, or of its own scenes.

    Args:
        job: The job.
        records: Of its scenes.
        catalogue: As from `catalogue_of`.

    Raises:
        ConfigError: It needs pixels of a class that no photo shows, and there is no generator.
    """
    plan = make_plan(
        job.policy,
        records,
        scenes=job.scenes,
        donors=DonorIndex.of(records, min_area=MIN_AREA) if job.bank is None else job.bank.index,
        priors=job.priors,
        taxonomy=job.taxonomy,
        samples=job.samples,
        shard_size=job.config.output.shard_size,
        seed=job.config.seed,
    )
    if catalogue is not None and job.config.photo.mode == "exemplar":
        _check_near(records, catalogue, reach=job.config.photo.exclude_near)
    if job.checkpoint is None and catalogue is not None:
        names = job.taxonomy.class_names
        _check_regions(plan, shown={names[c] for c in catalogue.classes.tolist()})
        if job.config.photo.mode == "exemplar":
            _check_shown(records, catalogue, job.taxonomy)
    return plan


def _check_near(records: Sequence[SceneRecord], catalogue: Catalogue, *, reach: int) -> None:
    """Check that each scene has exemplars that are not too near it."""
    for record in records:
        if catalogue.near(record.name, reach=reach).issuperset(catalogue.names):
            raise ConfigError(
                f"scene {record.name!r}: all {len(catalogue.names)} exemplars are the scene itself "
                f"or too near it (photo.exclude_near {reach}); add photos, or exclude fewer"
            )


def _check_shown(records: Sequence[SceneRecord], catalogue: Catalogue, taxonomy: Taxonomy) -> None:
    """Check that exemplars show what the scenes show; void takes after what is beside it."""
    cells = np.stack([record.grid for record in records]).ravel()
    shares = np.bincount(cells, minlength=taxonomy.num_classes) / len(cells)
    objects = np.concatenate([record.classes for record in records])
    present = (shares > 0) | (np.bincount(objects, minlength=len(shares)) > 0)
    present[catalogue.classes] = False
    for c in np.flatnonzero(present & ~class_roles(taxonomy).frozen).tolist():
        raise ConfigError(
            f"class {taxonomy.class_names[c]!r} ({shares[c]:.2%} of the pixels of the scenes) is "
            f"in none of the {len(catalogue.names)} exemplars; add such photos (photo.exemplars), "
            "or give a generator (--generator CKPT)"
        )


def _check_regions(plan: Plan, *, shown: Collection[str]) -> None:
    """Check that photos show the classes that programs make regions of."""
    wanted = Counter(
        name
        for row in plan.rows
        for name in {o.to for o in row.parsed_program().operations if isinstance(o, RelabelRegion)}
        if name not in shown
    )
    for name, samples in wanted.most_common(1):
        raise ConfigError(
            f"{samples} of {len(plan.rows)} samples get regions of {name!r}, which no photo of the "
            "dataset shows; give a generator (--generator CKPT), or leave relabel_region out"
        )
