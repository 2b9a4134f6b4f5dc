"""Policies: how many and which edits a sample gets."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

import configs
from hdmodel.errors import ConfigError
from hdmodel.settings import Settings, read_yaml

Fraction = Annotated[float, Field(ge=0, le=1)]


class OperationWeights(Settings):
    """How often each kind of edit is tried, relative to the others."""

    drop: float = Field(default=1.0, ge=0)
    move: float = Field(default=1.0, ge=0)
    paste: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        if self.drop + self.move + self.paste == 0:
            raise ValueError("at least one weight must be above 0; for no edits use edits: [0, 0]")
        return self


class MovePolicy(Settings):
    """How far objects are shifted at most."""

    columns: Fraction = 0.08
    """Sideways, as a fraction of the picture's width."""
    rows: Fraction = 0.005
    """Up or down, as a fraction of the picture's height."""


class PastePolicy(Settings):
    """How donor objects are placed."""

    scale: tuple[float, float] = (0.8, 1.25)
    """Smallest and largest size over that in the donor scene.

    The contact row follows the scale: an object comes nearer, or goes away, along the ground."""
    flip_probability: Fraction = 0.5
    horizon: Fraction = 0.42
    """The row of the horizon, as a fraction of the picture's height; objects that stand above it
    keep row and size."""

    @model_validator(mode="after")
    def _check_scale(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1] <= 4:
            raise ValueError("scale must be [smallest, largest] with 0 < smallest <= largest <= 4")
        return self


class Policy(Settings):
    """How the edits of a sample are drawn; areas are fractions of the picture's area."""

    name: str = "inline"
    mirror_probability: Fraction = 0.0
    edits: tuple[int, int] = (1, 4)
    """Fewest and most edits tried per sample; those without a believable place are left out."""
    weights: OperationWeights = OperationWeights()
    move: MovePolicy = MovePolicy()
    paste: PastePolicy = PastePolicy()
    min_visible_area: Fraction = 1e-4
    """Objects that edits leave with less than this are taken out."""
    min_edit_area: Fraction = 5e-4
    """Smaller objects are neither dropped nor moved."""
    max_drop_area: Fraction = 0.06
    """Larger objects are neither dropped nor moved: too much would have to be invented."""
    min_donor_area: Fraction = 1e-3
    """Smaller objects are not pasted."""
    max_cover: Fraction = 0.6
    """A pasted or moved object may hide, and be hidden by, this share of a box."""
    protected: tuple[str, ...] = ()
    """Classes whose objects are not edited, nor objects attached to them (the bicycle of a
    rider). Names that a taxonomy does not have are ignored, so a policy can serve several."""

    @model_validator(mode="after")
    def _check_edits(self) -> Self:
        if not 0 <= self.edits[0] <= self.edits[1] <= 100:
            raise ValueError("edits must be [fewest, most] with 0 <= fewest <= most <= 100")
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
            near = difflib.get_close_matches(str(policy), shipped, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"policy {str(policy)!r}: no such file, and not one of {', '.join(shipped)}{hint}"
            )
        return cls.parse({"name": path.stem} | read_yaml(path), origin=str(path))
