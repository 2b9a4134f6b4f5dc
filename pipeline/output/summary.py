"""Summing up a run from its manifests."""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.output.folder import OutputFolder
from pipeline.output.manifest import FAILED, read_manifests

PHASES = ("read", "compose", "render", "write")


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run went, over all of its samples, whichever attempt made them."""

    out: Path
    samples: int
    ok: int
    failed: dict[str, int]
    """Failed samples by kind: read, compose, render."""
    shards: int
    shards_rendered: int
    """Shards that this attempt rendered; the others were committed before."""
    seconds: float
    """Wall time of this attempt's rendering."""
    photos_rendered: int
    """Photos that this attempt rendered."""
    phase_seconds: dict[str, float] = field(default_factory=dict)
    """Time spent per phase by this attempt's shards, summed over workers."""

    @property
    def photos_per_second(self) -> float:
        """Photos of this attempt per second of wall time."""
        return self.photos_rendered / self.seconds if self.seconds else 0.0

    @property
    def generator_share(self) -> float:
        """Share of the workers' time that was spent in the generator, 0..1."""
        total = sum(self.phase_seconds.values())
        return self.phase_seconds.get("render", 0.0) / total if total else 0.0


def failed_shards(out: OutputFolder) -> list[int]:
    """The numbers of the committed shards that hold failed samples, sorted."""
    rows = read_manifests(out.manifests, columns=("shard", "status"))
    return sorted({row["shard"] for row in rows if row["status"] == FAILED})


def summarise(out: OutputFolder, *, rendered: set[int], seconds: float) -> RunSummary:
    """Add up the manifests of a run.

    Args:
        out: The output folder.
        rendered: Shards that the attempt in question rendered.
        seconds: Its wall time.
    """
    columns = ("shard", "status", "error_kind", *(f"seconds_{phase}" for phase in PHASES))
    samples = ok = photos = 0
    failed: dict[str, int] = {}
    phases = dict.fromkeys(PHASES, 0.0)
    for row in read_manifests(out.manifests, columns):
        samples += 1
        if row["status"] == FAILED:
            failed[row["error_kind"]] = failed.get(row["error_kind"], 0) + 1
        else:
            ok += 1
        if row["shard"] in rendered:
            photos += row["status"] != FAILED
            for phase in PHASES:
                phases[phase] += row[f"seconds_{phase}"]
    return RunSummary(
        out=out.root,
        samples=samples,
        ok=ok,
        failed=failed,
        shards=len(out.committed()),
        shards_rendered=len(rendered),
        seconds=seconds,
        photos_rendered=photos,
        phase_seconds=phases,
    )
