"""Sampling edit programs: from policy, scene record and demands to the program of one sample."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.donors.bank import DonorIndex
from pipeline.editing.program import CropZoom, MirrorScene, Operation, Program, RelabelRegion
from pipeline.indexing.record import SceneRecord
from pipeline.placing.critic import Critic
from pipeline.placing.placement import Limits, Placer
from pipeline.placing.priors import Priors
from pipeline.planning.demand_edits import DemandEdits
from pipeline.planning.demands import Demands, Failure
from pipeline.planning.policy import MoveEdit, Policy
from pipeline.planning.quotas import Tally
from pipeline.planning.regions import KINDS as REGION_KINDS
from pipeline.planning.regions import Regions
from pipeline.planning.rules import Rules, eligible_donors
from pipeline.taxonomy import Taxonomy

PLACING = ("paste", "move", "rescale", "duplicate", "replace", "change_class")
"""The kinds of edits that put objects somewhere."""


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """The program of one sample, and what it should come to."""

    program: Program
    tally: Tally
    failures: tuple[Failure, ...]


def make_sampler(
    policy: Policy,
    records: Sequence[SceneRecord],
    *,
    donors: DonorIndex,
    priors: Priors,
    taxonomy: Taxonomy,
    critic: Critic | None = None,
) -> "Sampler":
    """Prepare the sampling of programs.

    Args:
        policy: What to edit.
        records: The scenes, all of one size.
        donors: The objects that may be pasted, from scenes of that size.
        priors: What is known about places.
        taxonomy: The taxonomy of all of them.
        critic: Chooses among places.
    """
    eligible = eligible_donors(policy, donors, taxonomy=taxonomy)
    limits = limits_of(policy)
    placer = Placer(priors, donors, taxonomy, limits=limits, eligible=eligible)
    placer.critic = None if critic is None else critic.log_odds
    rules = Rules.of(policy, donors=donors, eligible=eligible, placer=placer, taxonomy=taxonomy)
    return Sampler(rules, records)


def fit_critic(
    policy: Policy,
    records: Sequence[SceneRecord],
    *,
    donors: DonorIndex,
    priors: Priors,
    taxonomy: Taxonomy,
) -> Critic | None:
    """The critic of the places that a policy's edits need; None if it has none of those.

    Args:
        policy: What to edit.
        records: The scenes, all of one size.
        donors: The objects that may be pasted.
        priors: What is known about places.
        taxonomy: The taxonomy of all of them.
    """
    wants = policy.quotas or any(kind in policy.operations.weights for kind in PLACING)
    if not policy.critic or not wants or not len(donors):
        return None
    eligible = eligible_donors(policy, donors, taxonomy=taxonomy)
    return Critic.fit(
        records, donors, priors, taxonomy, limits=limits_of(policy), eligible=eligible
    )


def limits_of(policy: Policy) -> Limits:
    """What a policy lets placed objects do."""
    constraints, move = policy.constraints, policy.operations.move or MoveEdit()
    return Limits(
        max_cover=constraints.max_cover,
        min_area=constraints.min_edit_area,
        scale=constraints.donor_scale,
        max_uses=constraints.max_uses,
        move=(Limits().move[0], move.columns),
    )


class Sampler:
    """Draws edit programs.

    A program depends on the record, the demands and the generator, and on how often the programs
    drawn before it use each donor, so that all are used alike.

    Args:
        rules: What the edits of objects go by.
        records: The scenes, whose sky lines may be taken over.
    """

    def __init__(self, rules: Rules, records: Sequence[SceneRecord]) -> None:
        policy = self.policy = rules.policy
        self.rules = rules
        self.regions = Regions(
            policy.operations,
            records,
            taxonomy=rules.taxonomy,
            protected=policy.constraints.protected,
        )
        weights = policy.operations.weights
        self._kinds = list(weights)
        self._odds = np.cumsum(list(weights.values()))
        self._uses: dict[int, list[int]] = {}
        """By sample, the donors that its program uses."""

    def draft(
        self,
        record: SceneRecord,
        rng: np.random.Generator,
        demands: Demands | None = None,
        *,
        sample: int = 0,
    ) -> Draft:
        """Draw the program of one sample; one that was drawn for it before is given up.

        Args:
            record: The source scene.
            rng: The sample's own generator.
            demands: What it must hold.
            sample: Its number.
        """
        self.rules.placer.release(self._uses.pop(sample, ()))
        demands = demands or Demands()
        policy, constraints = self.policy, self.policy.constraints
        start: list[Operation] = []
        mirrored = bool(rng.random() < policy.mirror)
        if mirrored:
            start.append(MirrorScene())
            record = record.mirrored()
        window = self._window(record.size, rng.random(4))
        if demands.any:
            window = None  # it could cut off what is asked for
        budget = constraints.max_edits
        kinds = self._draw_kinds(rng, most=budget - demands.edits(record))
        # Regions are named by a pixel, so those that change class come before those that grow.
        for kind in sorted(kinds, key=_rank):
            if kind in REGION_KINDS:
                edited = self.regions.draw(
                    kind,
                    record,
                    rng,
                    mirrored=mirrored,
                    relabelled=[o.of for o in start if isinstance(o, RelabelRegion)],
                )
                if edited is not None:
                    start.append(edited[0])
                    record = edited[1]
                    budget -= 1
        edits = DemandEdits(
            self.rules, record, rng, demands, window, mirrored=mirrored, budget=budget
        )
        failures = edits.meet()
        for kind in kinds:
            if kind not in REGION_KINDS and len(edits.operations) < budget:
                edits.edit_freely(kind)
        self._uses[sample] = sorted(edits.scene.used)
        height, width = record.size
        program = Program(
            scene=record.name,
            min_visible_area=round(constraints.min_visible_area * height * width),
            min_visible_fraction=constraints.min_visible_fraction,
            protected=constraints.protected,
            operations=(*start, *edits.operations, *((window,) if window else ())),
        )
        return Draft(program, edits.tally(), failures)

    def _draw_kinds(self, rng: np.random.Generator, *, most: int) -> list[str]:
        """The kinds of the free edits, fewer if demands take up what a sample may have."""
        fewest, greatest = self.policy.edits
        draws = rng.random(int(rng.integers(fewest, greatest + 1)))[: max(most, 0)]
        if not len(draws):
            return []
        places = np.searchsorted(self._odds, draws * self._odds[-1], side="right")
        return [self._kinds[place] for place in places]

    def _window(self, size: tuple[int, int], draws: npt.NDArray[np.float64]) -> CropZoom | None:
        crop = self.policy.crop_zoom
        if draws[0] >= crop.probability:
            return None
        zoom = crop.zoom[0] * (crop.zoom[1] / crop.zoom[0]) ** draws[1]
        height, width = (max(1, round(length / zoom)) for length in size)
        if (height, width) == size:
            return None
        return CropZoom(
            top=int(draws[2] * (size[0] - height + 1)),
            left=int(draws[3] * (size[1] - width + 1)),
            height=height,
            width=width,
        )


def _rank(kind: str) -> int:
    return REGION_KINDS.index(kind) if kind in REGION_KINDS else len(REGION_KINDS)
