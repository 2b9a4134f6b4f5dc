"""Making the plan of a job: a scene, a shard and an edit program for every output sample."""

from collections.abc import Sequence

from pipeline.donors.bank import DonorIndex
from pipeline.indexing.record import SceneRecord
from pipeline.placing.priors import Priors
from pipeline.planning.donor_use import DonorUse
from pipeline.planning.plan import Plan, PlanRow, assign_scene
from pipeline.planning.planner import plan_programs
from pipeline.planning.policy import Policy
from pipeline.planning.sampling import fit_critic, make_sampler
from pipeline.progress import progress_bar
from pipeline.taxonomy import Taxonomy


def make_plan(
    policy: Policy,
    records: Sequence[SceneRecord],
    *,
    scenes: Sequence[str],
    donors: DonorIndex,
    priors: Priors | None,
    taxonomy: Taxonomy,
    samples: int,
    shard_size: int,
    seed: int,
) -> Plan:
    """Sample the edit program of every output sample; the same for the same seed, always.

    Args:
        policy: How scenes are edited.
        records: The scenes that the samples are made from.
        scenes: Names of the source scenes in the order in which they take turns.
        donors: What can be pasted.
        priors: By which objects are placed; fitted to `records` if none are given.
        taxonomy: The scenes' taxonomy.
        samples: How many samples there will be.
        shard_size: Samples per shard.
        seed: The run's seed.
    """
    priors = priors or Priors.fit(records, taxonomy)
    critic = fit_critic(policy, records, donors=donors, priors=priors, taxonomy=taxonomy)
    sampler = make_sampler(
        policy, records, donors=donors, priors=priors, taxonomy=taxonomy, critic=critic
    )
    with progress_bar("planning edits", samples) as advance:
        planned = plan_programs(
            sampler,
            {record.name: record for record in records},
            scenes,
            samples=samples,
            seed=seed,
            progress=advance,
        )
    rows = []
    for index, program in enumerate(planned.programs):
        scene, variant = assign_scene(index, scenes)
        rows.append(
            PlanRow(
                index=index,
                shard=index // shard_size,
                scene=scene,
                variant=variant,
                seed=seed,
                program=program.model_dump_json(),
            )
        )
    return Plan(
        rows,
        planned.quotas,
        priors,
        donor_use=DonorUse.of(planned.programs),
        told={taxonomy.classes[c].name: auc for c, auc in critic.told.items()} if critic else None,
    )
