"""What a render job is told: dataset, samples, edits, generator, output."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from hdmodel.settings import Settings, override, read_yaml
from pipeline.fit import FitMode
from pipeline.planning.policy import Policy
from pipeline.sources.config import DatasetConfig, resolved_dataset, resolved_name
from pipeline.styles.style import StyleConfig

SMALLEST, LARGEST = 16, 16384

Dtype = Literal["float32", "bfloat16", "float16"]


class RecomposeConfig(Settings):
    """How source scenes are edited."""

    policy: str | Policy = "light"
    """A shipped policy's name, a policy file, or the policy itself."""
    donors: Path | None = None
    """Folder of a donor bank whose objects are pasted; by default they are those of the job's own
    scenes."""
    complete: bool = False
    """Whether hidden parts of the donors of the job's own scenes are made up after whole ones. Such
    donors are not used where photos are copied: of what is made up there are no pixels."""
    priors: Path | None = None
    """File of priors by which objects are placed; by default they are fitted to the job's own
    scenes."""


class GeneratorSettings(Settings):
    """Which generator renders, and how."""

    checkpoint: Path | None = None
    """Checkpoint folder; without one the bundled demo checkpoint is used where it fits."""
    dtype: Dtype = "bfloat16"
    """Arithmetic of the generator."""
    device: str = "auto"
    """auto, cpu, cuda (any free one), or one such as cuda:1."""
    batch_pixels: int = Field(default=4_000_000, ge=1)
    """Largest batch, in pixels; at least one photo is rendered at a time."""
    accelerator: str | None = None
    """Beam resource hint for remote workers, such as "type:nvidia-l4;count:1"."""

    @field_validator("device")
    @classmethod
    def _check_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
            raise ValueError("expected auto, cpu, cuda or cuda:N")
        return device


class PhotoConfig(Settings):
    """Where the pixels of photos come from."""

    mode: Literal["rendered", "composite", "exemplar"] = "rendered"
    """rendered: all from the generator. composite: what no edit touched keeps its own pixels, and
    objects bring theirs along. exemplar: all from photos of other scenes."""
    objects: Literal["donor", "rendered"] = "donor"
    """Of a composite: whether objects that were put somewhere show their own pixels, or are drawn
    by the generator."""
    fill: Literal["auto", "exemplar", "generator"] = "auto"
    """Of a composite: who fills holes. exemplar: pixels of the same class, of this photo or, where
    it has too few, of others of the dataset; a class that none of them shows is refused. auto:
    these, and the generator, if there is one, for classes that no photo shows."""
    contact: bool = True
    """Of a composite: whether objects cast the shadow at their feet that they had."""
    seam: bool = True
    """Of a composite: whether contours of objects are as soft as others."""
    exemplars: dict[str, Any] = Field(default_factory=dict)
    """The dataset whose photos pixels are copied from: keys of a dataset section, in place of the
    job's own, such as `split: train`; with `root`, all keys of another dataset."""
    exclude_near: int = Field(default=0, ge=0)
    """How many scenes before and after its own, in the order of their names, are no exemplars for a
    sample: in drives they show the same street. Its own scene is none in any case."""

    @model_validator(mode="after")
    def _check_mode(self) -> Self:
        for key in ("objects", "fill", "contact", "seam"):
            if not self.is_composite and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} is for mode: composite, and mode is {self.mode}")
        if not self.is_copied and (self.exemplars or self.exclude_near):
            raise ValueError("exemplars and exclude_near are for mode: composite or exemplar")
        return self

    @property
    def is_composite(self) -> bool:
        """Whether photos are composites."""
        return self.mode == "composite"

    @property
    def is_copied(self) -> bool:
        """Whether pixels are copied from photos, as far as they show what is wanted."""
        return self.mode != "rendered"

    def needs_generator(self) -> str | None:
        """The setting that nothing but a generator can follow, if there is one."""
        if not self.is_copied:
            return "photo.mode rendered"
        if self.mode == "exemplar":
            return None
        if self.objects == "rendered":
            return "photo.objects rendered"
        return "photo.fill generator" if self.fill == "generator" else None

    def exemplar_dataset(self, own: DatasetConfig) -> DatasetConfig:
        """The dataset that exemplars come from; the job's own, unless the job says otherwise.

        Args:
            own: The job's own dataset.

        Raises:
            ConfigError: `exemplars` does not describe one.
        """
        base = {} if "root" in self.exemplars else own.to_plain()
        return DatasetConfig.parse({**base, **self.exemplars}, origin="photo.exemplars")


class OutputConfig(Settings):
    """Where the samples go."""

    path: Path
    """The output folder."""
    shard_size: int = Field(default=16, ge=1, le=4096)
    """Samples per shard: the unit of work, of failure and of commit."""
    origin: bool = False
    """Whether to keep which operation put each pixel there, as the array `origin`."""

    @field_validator("path", mode="before")
    @classmethod
    def _check_path(cls, path: object) -> object:
        if path == "":
            raise ValueError("expected a folder, got an empty path")
        return path


class RenderConfig(Settings):
    """A render job."""

    dataset: DatasetConfig
    samples: int | None = Field(default=None, ge=1)
    """Number of output samples."""
    variants_per_scene: int | None = Field(default=None, ge=1)
    """Output samples per source scene, instead of `samples`."""
    size: tuple[int, int]
    """Height and width of the output, in pixels."""
    fit: FitMode = "resize"
    """How source scenes of another size are brought to `size`."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    recompose: RecomposeConfig = RecomposeConfig()
    generator: GeneratorSettings = GeneratorSettings()
    photo: PhotoConfig = PhotoConfig()
    style: StyleConfig | None = None
    """The styles of objects: source, random or mean, and modes for single classes. By default
    random if the generator reads features; others cannot be told."""
    output: OutputConfig
    workers: int = Field(default=1, ge=1, le=1024)
    """Worker processes on this machine; ignored by runners that bring their own."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.samples is None) == (self.variants_per_scene is None):
            raise ValueError("give either samples or variants_per_scene (--samples N)")
        if min(self.size) < SMALLEST or max(self.size) > LARGEST:
            raise ValueError(
                f"size: expected {SMALLEST} to {LARGEST} pixels per side, got {self.size}"
            )
        if self.photo.exemplars:
            self.exemplar_dataset()
        return self

    def exemplar_dataset(self) -> DatasetConfig:
        """As `PhotoConfig.exemplar_dataset`."""
        return self.photo.exemplar_dataset(self.dataset)

    @classmethod
    def load(
        cls, path: Path | None, *, assignments: Sequence[str] = (), options: Mapping[str, Any]
    ) -> Self:
        """Read a job: a file, then command-line options, then `key=value` assignments.

        Args:
            path: YAML file, or None when the options say everything.
            assignments: `a.b=value` overrides, strongest.
            options: Nested plain data of the command line's options.

        Raises:
            ConfigError: The result is not a valid job.
        """
        data = read_yaml(path) if path else {}
        for key in ("style", "photo"):
            if isinstance(data.get(key), str):  # so that options can set keys beside it
                data = {**data, key: {"mode": data[key]}}
        merged = override(_merge(data, options), assignments)
        return cls.parse(merged, origin=str(path) if path else "command line")

    def resolved(self) -> Self:
        """The job with paths that mean the same from every working directory."""
        plain = self.to_plain()
        plain["dataset"] = resolved_dataset(self.dataset).to_plain()
        if "root" in self.photo.exemplars:
            plain["photo"]["exemplars"] = resolved_dataset(self.exemplar_dataset()).to_plain()
        if self.generator.checkpoint is not None:
            plain["generator"]["checkpoint"] = str(self.generator.checkpoint.resolve())
        plain["output"]["path"] = str(self.output.path.resolve())
        policy = plain["recompose"]["policy"]
        if isinstance(policy, str):
            plain["recompose"]["policy"] = resolved_name(policy)
        for key, path in (("donors", self.recompose.donors), ("priors", self.recompose.priors)):
            if path is not None:
                plain["recompose"][key] = str(path.resolve())
        return type(self).model_validate(plain)

    def identity(self) -> dict[str, Any]:
        """The part of the job that decides what the samples are; the rest may change on resume.

        Free to change are the number of workers, the device, resource hints and where the
        output folder lies. Taxonomy, policy, donor bank, priors, generator and style are
        identified by what they hold, exemplars by the names of their scenes, which whoever
        prepares the job adds, as well as whether donors are completed. Whether photos may be read
        decides nothing.
        """
        plain = self.to_plain()
        del plain["workers"], plain["output"]["path"], plain["recompose"], plain["style"]
        del plain["dataset"]["taxonomy"], plain["dataset"]["photos"], plain["photo"]["exemplars"]
        for key in ("device", "accelerator", "checkpoint"):
            del plain["generator"][key]
        return plain


def _merge(base: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in above.items():
        below = result.get(key)
        nested = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[key] = _merge(below, value) if nested else value  # type: ignore[arg-type]
    return result
