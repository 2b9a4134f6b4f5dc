"""Checking an output folder: every committed sample read again and compared with its record."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.donors.bank import DonorBank
from pipeline.errors import DatasetError, OutputError
from pipeline.output.folder import OutputFolder
from pipeline.output.lock import lock_holder
from pipeline.output.manifest import FAILED, digest
from pipeline.output.results import RunResults
from pipeline.output.store import ORIGIN, PIXEL_SOURCE
from pipeline.planning.plan import PlanRow, count_samples, count_shards, read_shard_plan
from pipeline.scene import disagreements
from pipeline.taxonomy import Taxonomy
from pipeline.threads import map_in_threads

Kind = Literal[
    "unreadable manifest",
    "manifest differs from plan",
    "metadata differ",
    "damaged donors",
    "missing file",
    "unreadable pixels",
    "hash differs",
    "label and instance disagree",
    "not committed",
    "leftover file",
]
INCOMPLETE: tuple[Kind, ...] = ("not committed", "leftover file")
"""Kinds that the same render command mends; all others are damage."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as the records say."""

    kind: Kind
    path: Path
    """The file at fault."""
    detail: str
    shard: int | None = None
    sample: int | None = None
    """Sample number; None where the whole shard is meant."""
    array: str | None = None

    @property
    def is_damage(self) -> bool:
        """Whether something written is wrong, rather than not written yet."""
        return self.kind not in INCOMPLETE


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a check of an output folder found."""

    out: Path
    running: bool
    """Whether a job was writing at the time; then unfinished shards are no surprise."""
    shards_planned: int
    shards_checked: int
    samples_planned: int
    samples_checked: int
    samples_failed: int
    """Samples that the run recorded as failed."""
    problems: tuple[Problem, ...]

    @property
    def damaged(self) -> bool:
        """Whether anything written is wrong."""
        return any(problem.is_damage for problem in self.problems)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing, left over or failed."""
        return not self.problems and self.samples_failed == 0

    @property
    def damaged_shards(self) -> tuple[int, ...]:
        """The shards that have to be made anew."""
        shards = {p.shard for p in self.problems if p.is_damage and p.shard is not None}
        return tuple(sorted(shards))

    @property
    def advice(self) -> list[str]:
        """What to do about the findings, a line each; empty if all is fine."""
        lines = []
        if self.damaged_shards:
            folder = OutputFolder(self.out)
            names = shlex.join(str(folder.manifest(shard)) for shard in self.damaged_shards)
            lines.append(
                "Delete the commit records of the damaged shards and give the same hdsynth render "
                f"command again; it makes these shards anew: rm {names}"
            )
        if any(p.is_damage and p.shard is None for p in self.problems):
            lines.append(
                "Files that belong to the whole run differ from each other: restore them from a "
                "copy, or start again with --overwrite."
            )
        if self.running:
            lines.append("A job is writing here at this moment; check again when it is done.")
        elif any(not p.is_damage for p in self.problems):
            lines.append("Give the same hdsynth render command again to finish the run.")
        if self.samples_failed:
            lines.append(
                "Some samples failed (hdsynth status shows why): mend the cause, then give the "
                "same hdsynth render command with --retry-failed."
            )
        return lines


def verify(path: str | Path) -> VerifyReport:
    """Read every committed shard again and compare it with its record and with the plan.

    Args:
        path: The output folder.

    Raises:
        OutputError: The folder is not an output of hdsynth, or its plan or the metadata of its
            zarr group cannot be read.
    """
    results = RunResults(path)
    out = results.folder
    running, _ = lock_holder(out.root)
    shards, samples = count_shards(out.plan), count_samples(out.plan)
    problems = list(_check_metadata(results, samples=samples))
    committed = results.committed()
    problems += [
        Problem("manifest differs from plan", out.manifest(shard), "no such shard is planned")
        for shard in committed
        if shard >= shards
    ]
    # Shards as the plan cuts them and as the store cuts them must be the same ones.
    committed = [shard for shard in committed if shard < min(shards, results.store.shards)]
    checked = failed = 0
    for result in map_in_threads(
        lambda shard: _check_shard(results, shard), committed, title="checking shards"
    ):
        checked += result.samples
        failed += result.failed
        problems += result.problems
    missing = sorted(set(range(shards)) - set(committed))
    problems += [
        Problem("not committed", out.manifest(shard), "the shard has no record yet", shard=shard)
        for shard in missing
    ]
    if not running:
        problems += [
            Problem("leftover file", path, "left by a writer that was killed")
            for path in out.leftovers()
        ]
    return VerifyReport(
        out=out.root,
        running=running,
        shards_planned=shards,
        shards_checked=len(committed),
        samples_planned=samples,
        samples_checked=checked,
        samples_failed=failed,
        problems=tuple(problems),
    )


@dataclass(frozen=True, slots=True)
class _ShardResult:
    samples: int
    failed: int
    problems: list[Problem]


def _check_metadata(results: RunResults, *, samples: int) -> Iterator[Problem]:
    out, store, record = results.folder, results.store, results.record
    if store.samples != samples:
        yield Problem(
            "metadata differ", out.data, f"holds {store.samples} samples, the plan {samples}"
        )
    found = store.attributes.get("config_fingerprint")
    if found != record["fingerprint"]:
        yield Problem(
            "metadata differ",
            out.data,
            f"belongs to the config with fingerprint {found}, not to {record['fingerprint']} "
            f"of {out.config.name}",
        )
    if store.attributes.get("taxonomy") != results.taxonomy.to_plain():
        yield Problem(
            "metadata differ", out.taxonomy, f"not the taxonomy that {out.data.name} was made with"
        )
    try:
        DonorBank.open(out.donors).check_masks()
    except DatasetError as error:
        yield Problem("damaged donors", out.donors, str(error))


def _check_shard(results: RunResults, shard: int) -> _ShardResult:
    out = results.folder
    manifest = out.manifest(shard)
    try:
        rows = results.shard_rows(shard)
    except OutputError as error:
        # A running job with --retry-failed takes commit records away: then there is none.
        if not manifest.exists():
            return _ShardResult(0, 0, [])
        problem = Problem("unreadable manifest", manifest, str(error), shard=shard)
        return _ShardResult(0, 0, [problem])
    plan = read_shard_plan(out.plan, shard)
    problems = list(_compare_with_plan(manifest, rows, plan, shard))
    if not problems:
        problems += _check_pixels(results, shard, rows)
    failed = sum(row["status"] == FAILED for row in rows)
    return _ShardResult(len(rows), failed, problems)


def _compare_with_plan(
    manifest: Path, rows: Sequence[dict[str, Any]], plan: Sequence[PlanRow], shard: int
) -> Iterator[Problem]:
    kind: Kind = "manifest differs from plan"
    if len(rows) != len(plan):
        detail = f"{len(rows)} rows, planned are {len(plan)} samples"
        yield Problem(kind, manifest, detail, shard=shard)
        return
    for row, planned in zip(rows, plan, strict=True):
        for key in ("index", "shard", "scene", "variant", "program"):
            if row.get(key) != getattr(planned, key):
                yield Problem(
                    kind,
                    manifest,
                    f"{key} is {row.get(key)!r}, planned was {getattr(planned, key)!r}",
                    shard=shard,
                    sample=planned.index,
                )


def _check_pixels(results: RunResults, shard: int, rows: Sequence[dict[str, Any]]) -> list[Problem]:
    """Compare the pixels of a shard with their hashes, a sample at a time."""
    store = results.store
    paths = {name: results.folder.data / store.file(name, shard) for name in store.arrays}
    lost = {path for _, path in results.lost_files([shard])}
    detail = "the shard is committed, but its file is gone"
    problems = [
        Problem("missing file", path, detail, shard=shard, array=name)
        for name, path in paths.items()
        if path in lost
    ]
    broken: dict[str, list[Problem]] = {}
    for row in rows:
        index = row["index"]
        maps = {}
        for name, path in paths.items():
            if path in lost:
                continue
            try:
                pixels = store.read(name, index)
            except Exception as error:  # noqa: BLE001 - zarr raises whatever its codecs do
                text = " ".join(str(error).split()) or type(error).__name__
                broken.setdefault(name, []).append(
                    Problem("unreadable pixels", path, text, shard=shard, sample=index, array=name)
                )
                continue
            if name in (ORIGIN, PIXEL_SOURCE):  # the codec's checksum is all that guards it
                continue
            expected, found = row[f"{name}_sha256"], digest(pixels)
            if found == expected:
                maps[name] = pixels
                continue
            detail = f"SHA-256 is {found[:12]}..., recorded was {str(expected)[:12]}..."
            problems.append(
                Problem("hash differs", path, detail, shard=shard, sample=index, array=name)
            )
        if "label" in maps and "instance" in maps:
            conflict = _disagreement(maps["label"], maps["instance"], results.taxonomy)
            if conflict:
                kind: Kind = "label and instance disagree"
                file = paths["instance"]
                problems.append(Problem(kind, file, conflict, shard=shard, sample=index))
    for name, found_broken in broken.items():
        problems += _merge_if_whole(name, found_broken, samples=len(rows))
    return problems


def _merge_if_whole(name: str, found: list[Problem], *, samples: int) -> list[Problem]:
    """One problem instead of one per sample where nothing of a shard's file can be read."""
    if len(found) < samples or samples == 1:
        return found
    text = f"none of its {samples} samples can be read ({found[0].detail})"
    return [Problem("unreadable pixels", found[0].path, text, shard=found[0].shard, array=name)]


def _disagreement(
    label: npt.NDArray[np.unsignedinteger], instance: npt.NDArray[np.int32], taxonomy: Taxonomy
) -> str | None:
    highest = int(label.max())
    if highest >= taxonomy.num_classes:
        return f"label {highest}, taxonomy {taxonomy.name!r} has {taxonomy.num_classes} classes"
    pixels = disagreements(label, instance, taxonomy)
    return f"at {pixels} of {label.size} pixels" if pixels else None
