"""Policies: what a run should contain, in the user's words."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

import configs
from hdmodel.errors import ConfigError
from hdmodel.settings import Settings, read_yaml
from hdmodel.suggestions import did_you_mean
from pipeline.donors.completeness import WHOLE
from pipeline.planning.quotas import Names, Quota, check_quotas, listed
from pipeline.taxonomy import Taxonomy

Fraction = Annotated[float, Field(ge=0, le=1)]
Range = tuple[Fraction, Fraction]
Pair = tuple[str, str]


class Weighted(Settings):
    """One kind of free edit; a plain number stands for its weight."""

    weight: float = Field(default=1.0, ge=0)
    """How often it is tried, relative to the others."""

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, data: object) -> object:
        if isinstance(data, int | float) and not isinstance(data, bool):
            return {"weight": data}
        if not isinstance(data, Mapping | Weighted):
            raise ValueError("expected a weight, or a mapping of keys")
        return data


class ObjectEdit(Weighted):
    """Edits of objects."""

    classes: tuple[str, ...] | None = None
    """The classes whose objects are edited, or pasted; all if not given."""


class MoveEdit(ObjectEdit):
    """Objects shifted on the ground."""

    columns: Fraction = 0.08
    """Farthest shift sideways, as a fraction of the picture's width."""


class ReplaceEdit(ObjectEdit):
    """Objects that give their place to a donor."""

    model_config = ConfigDict(serialize_by_alias=True)

    by: dict[str, tuple[str, ...]] | None = Field(default=None, alias="with")
    """For a class, those of which the donor is one; if not given, a donor of the same class."""


class ChangeClassEdit(ObjectEdit):
    """Objects that become another class."""

    shape: Literal["donor", "own"] = "donor"
    """Whether a donor of the new class stands there then, or the object keeps its own shape, which
    suits classes that look alike."""
    to: dict[str, tuple[str, ...]]
    """For a class, those it may become."""


class JitterEdit(ObjectEdit):
    """Bent contours."""

    amplitude: Fraction = 0.03
    """Farthest that a contour moves, as a fraction of the object's height."""


class RelabelEdit(Weighted):
    """A region of stuff that becomes another class, where regions of that class may be."""

    pairs: tuple[Pair, ...] = Field(min_length=1)
    """[class of the region, class it becomes], drawn evenly among those a scene has."""


class GrowEdit(Weighted):
    """Stuff that grows into a neighbour."""

    pairs: tuple[Pair, ...] = Field(min_length=1)
    """[class that grows, class that gives way]."""
    pixels: Range = (0.005, 0.02)
    """How far it grows at most: drawn between these fractions of the picture's height."""

    @model_validator(mode="after")
    def _check_pixels(self) -> Self:
        if self.pixels[0] > self.pixels[1]:
            raise ValueError("pixels must be [least, farthest] with least <= farthest")
        return self


class SkylineEdit(Weighted):
    """The line between two classes of stuff, as another scene has it."""

    upper: Names = "sky"
    """The class above the line; of a list, the first that the taxonomy has."""
    lower: Names = ("vegetation", "tree")
    """The class right below it."""


class Operations(Settings):
    """The free edits; kinds that are not named are not made."""

    drop: ObjectEdit | None = None
    move: MoveEdit | None = None
    rescale: ObjectEdit | None = None
    flip: ObjectEdit | None = None
    duplicate: ObjectEdit | None = None
    paste: ObjectEdit | None = None
    replace: ReplaceEdit | None = None
    change_class: ChangeClassEdit | None = None
    jitter: JitterEdit | None = None
    relabel_region: RelabelEdit | None = None
    grow_region: GrowEdit | None = None
    skyline: SkylineEdit | None = None

    @property
    def weights(self) -> dict[str, float]:
        """The weights above 0, by kind."""
        edits = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: edit.weight for name, edit in edits.items() if edit and edit.weight}


class CropZoomPolicy(Settings):
    """Samples that show an enlarged part of their scene."""

    probability: Fraction = 0.0
    zoom: tuple[float, float] = (1.0, 1.3)
    """Least and strongest enlargement."""

    @model_validator(mode="after")
    def _check_zoom(self) -> Self:
        if not 1 <= self.zoom[0] <= self.zoom[1] <= 8:
            raise ValueError("zoom must be [least, strongest] with 1 <= least <= strongest <= 8")
        return self


class Constraints(Settings):
    """What no edit may do; areas are fractions of the picture's area."""

    min_visible_area: Fraction = 1e-4
    """Objects that edits leave with less than this are taken out."""
    min_visible_fraction: Fraction = 0.4
    """Objects of which edits leave a smaller part are taken out."""
    max_edits: int = Field(default=12, ge=0, le=1000)
    """Most edits of a sample, those that quotas ask for included; mirroring and zooming not."""
    min_edit_area: Fraction = 1e-3
    """Smaller objects are not edited freely; quotas may drop them."""
    max_drop_area: Fraction = 0.06
    """Larger objects stay: too much would have to be invented."""
    min_donor_area: Fraction = 1e-3
    """Objects smaller than this in their own scene are not pasted."""
    min_completeness: Fraction = WHOLE
    """Objects that are seen less completely are not pasted, but where the picture's border cuts
    them; see `hdsynth donors show`."""
    donor_scale: tuple[float, float] = (0.5, 1.5)
    """Smallest and largest size of a pasted object over that in its own scene."""
    max_uses: int | None = Field(default=None, ge=1)
    """How often a run may paste the same object; as often as needed if not given."""
    max_cover: Fraction = 0.6
    """An edit may hide this share of another object's box; quotas about hidden objects may do
    more."""
    protected: tuple[str, ...] = ()
    """Classes whose objects are neither edited nor pasted, nor objects attached to them (the
    bicycle of a rider), and which do not grow."""

    @model_validator(mode="after")
    def _check_scale(self) -> Self:
        if not 0 < self.donor_scale[0] <= self.donor_scale[1] <= 16:
            raise ValueError(
                "donor_scale must be [smallest, largest] with 0 < smallest <= largest <= 16"
            )
        return self


class Policy(Settings):
    """What a run should contain.

    Classes that the taxonomy lacks are passed over, so that a policy serves several, but for
    quotas; see `Quota`.
    """

    name: str = "inline"
    mirror: Fraction = 0.0
    """Share of the samples that are mirrored."""
    crop_zoom: CropZoomPolicy = CropZoomPolicy()
    edits: tuple[int, int] = (1, 4)
    """Fewest and most free edits tried per sample; those without a believable place are left
    out."""
    operations: Operations = Operations(drop=ObjectEdit(), move=MoveEdit(), paste=ObjectEdit())
    """The kinds of free edits, with weights and ranges."""
    critic: bool = True
    """Whether places are chosen by how real they look to a classifier that is fitted to the scenes;
    it needs more than a hundred objects of a class."""
    quotas: tuple[Quota, ...] = ()
    """What the run as a whole should contain."""
    constraints: Constraints = Constraints()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not 0 <= self.edits[0] <= self.edits[1] <= 100:
            raise ValueError("edits must be [fewest, most] with 0 <= fewest <= most <= 100")
        if self.edits[0] > self.constraints.max_edits:
            raise ValueError(
                f"edits: fewest is {self.edits[0]}, above constraints.max_edits "
                f"{self.constraints.max_edits}"
            )
        if self.edits[1] and not self.operations.weights:
            raise ValueError(
                "operations: at least one weight must be above 0; for no edits use edits: [0, 0]"
            )
        return self

    @classmethod
    def load(cls, policy: "str | Path | Mapping[str, Any] | Policy") -> "Policy":
        """Load a shipped policy by name, one from a YAML file, or one given inline.

        Raises:
            ConfigError: There is no such policy, or it is malformed.
        """
        if isinstance(policy, Policy):
            return policy
        if isinstance(policy, Mapping):
            return cls.parse(policy, origin="policy")
        path = configs.find("policies", policy)
        if not path.is_file():
            shipped = configs.names("policies")
            hint = did_you_mean(str(policy), shipped, before="; ")
            raise ConfigError(
                f"policy {str(policy)!r}: no such file, and not one of {', '.join(shipped)}{hint}"
            )
        return cls.parse({"name": path.stem} | read_yaml(path), origin=str(path))

    def check(self, taxonomy: Taxonomy) -> None:
        """Check the policy against the taxonomy of the scenes.

        Class names outside the quotas may be those of any shipped taxonomy.

        Raises:
            ConfigError: A class does not exist, or quotas contradict each other.
        """
        check_quotas(
            self.quotas,
            taxonomy=taxonomy,
            protected=self.constraints.protected,
            origin=f"policy {self.name!r}",
        )
        known = {*taxonomy.class_names, *_shipped_class_names()}
        for key, name in self._names():
            if name not in known:
                hint = did_you_mean(name, sorted(taxonomy.class_names))
                raise ConfigError(f"policy {self.name!r}: {key}: no taxonomy has a {name!r}{hint}")

    def _names(self) -> Iterator[tuple[str, str]]:
        """The class names outside the quotas, with the keys that hold them."""
        for name in self.constraints.protected:
            yield "constraints.protected", name
        for kind in type(self.operations).model_fields:
            edit = getattr(self.operations, kind)
            prefix = f"operations.{kind}"
            if isinstance(edit, ObjectEdit):
                yield from ((f"{prefix}.classes", name) for name in edit.classes or ())
            if isinstance(edit, ReplaceEdit):
                yield from _mapped_names(f"{prefix}.with", edit.by or {})
            elif isinstance(edit, ChangeClassEdit):
                yield from _mapped_names(f"{prefix}.to", edit.to)
            elif isinstance(edit, RelabelEdit | GrowEdit):
                yield from ((f"{prefix}.pairs", name) for pair in edit.pairs for name in pair)
            elif isinstance(edit, SkylineEdit):
                yield from ((f"{prefix}.upper", name) for name in listed(edit.upper))
                yield from ((f"{prefix}.lower", name) for name in listed(edit.lower))


def _mapped_names(key: str, names: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    for name, others in names.items():
        yield from ((key, one) for one in (name, *others))


@cache
def _shipped_class_names() -> frozenset[str]:
    taxonomies = (Taxonomy.load(name) for name in configs.names("taxonomies"))
    return frozenset(name for taxonomy in taxonomies for name in taxonomy.class_names)
