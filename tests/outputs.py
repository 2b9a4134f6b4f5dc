"""Outputs of small runs, put together by hand: no Beam, no policy, programs chosen for tests."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml

from hdmodel.checkpoint import generator_hash, load_generator
from hdmodel.conditioning import condition
from pipeline.config import RenderConfig
from pipeline.donors.writer import build_bank
from pipeline.editing.program import Drop, MirrorScene, Move, Operation, Paste, Program
from pipeline.editing.recompose import donors_from, recompose
from pipeline.output.folder import OutputFolder, fingerprint
from pipeline.output.manifest import Failure, Record, commit_manifest
from pipeline.output.store import ShardArrays, Store, create_store
from pipeline.planning.plan import PlanRow, write_plan
from pipeline.planning.quotas import QuotaReport, write_reports
from pipeline.sources import open_source
from pipeline.taxonomy import Taxonomy
from tests.datasets import stem, write_checkpoint, write_cityscapes

HEIGHT, WIDTH, SCENES = 32, 64, 3
VERSIONS = {"hdsynth": "0.1.0", "torch": "2", "zarr": "3", "numpy": "2", "apache-beam": "2"}


def operations(index: int) -> tuple[Operation, ...]:
    """The edits of a sample: every kind of operation within the first six, one of them skipped."""
    other = stem((index + 1) % SCENES)
    return (
        (),
        (MirrorScene(),),
        (Drop(instance=26000),),
        (Move(instance=24000, rows=1, columns=-5),),
        (Paste(donor=other, donor_instance=26001, row=28, column=3, scale=1.25, flip=True),),
        (Drop(instance=26999), Drop(instance=26001)),
    )[index % 6]


def make_run(
    root: Path,
    *,
    samples: int = 6,
    shard_size: int = 2,
    failed: Mapping[int, Literal["read", "compose", "render"]] | None = None,
    uncommitted: Collection[int] = (),
    quotas: Sequence[QuotaReport] = (),
) -> OutputFolder:
    """A dataset `world`, a checkpoint `generator` and the output `out` of a run over them.

    `failed` maps sample numbers to the phase that failed; shards in `uncommitted` have no pixels
    and no manifest. `quotas` is what its plan is said to come to.
    """
    failed = failed or {}
    world = write_cityscapes(root / "world", scenes=SCENES, height=HEIGHT, width=WIDTH)
    checkpoint = write_checkpoint(root / "generator")
    plain = {
        "dataset": {"root": str(world), "format": "cityscapes", "split": "val"},
        "samples": samples,
        "size": [HEIGHT, WIDTH],
        "generator": {"checkpoint": str(checkpoint), "dtype": "float32", "device": "cpu"},
        "output": {"path": str(root / "out"), "shard_size": shard_size},
    }
    config = RenderConfig.parse(plain, origin="test")
    out, taxonomy = OutputFolder(root / "out"), Taxonomy.load("cityscapes")
    out.manifests.mkdir(parents=True)
    out.taxonomy.write_text(yaml.safe_dump(taxonomy.to_plain(), sort_keys=False))
    rows = [
        PlanRow(
            index=index,
            shard=index // shard_size,
            scene=stem(index % SCENES),
            variant=index // SCENES,
            seed=0,
            program=Program(
                scene=stem(index % SCENES), operations=operations(index)
            ).model_dump_json(),
        )
        for index in range(samples)
    ]
    build_bank(out.donors, config.dataset, size=config.size, mode=config.fit)
    write_reports(out.quotas, quotas)
    write_plan(out.plan, rows, shard_size=shard_size)
    identity = {**config.identity(), "generator_hash": generator_hash(checkpoint)}
    create_store(
        out.data,
        samples=samples,
        shard_size=shard_size,
        size=config.size,
        label_dtype=taxonomy.label_dtype,
        attributes={
            "taxonomy": taxonomy.to_plain(),
            "generator_hash": identity["generator_hash"],
            "config_fingerprint": fingerprint(identity),
            "versions": VERSIONS,
        },
    )
    out.write_config(identity, config.to_plain(), VERSIONS)
    source = open_source(config.dataset)
    network = load_generator(checkpoint)
    store = Store(out.data, writable=True)
    for shard in range(-(-samples // shard_size)):
        if shard in uncommitted:
            continue
        part = rows[shard * shard_size : (shard + 1) * shard_size]
        label = np.zeros((len(part), HEIGHT, WIDTH), taxonomy.label_dtype)
        instance = np.zeros((len(part), HEIGHT, WIDTH), np.int32)
        photo = np.zeros((len(part), HEIGHT, WIDTH, 3), np.uint8)
        records = []
        for position, row in enumerate(part):
            kind = failed.get(row.index)
            found: dict[str, Any] = {}
            if kind not in ("read", "compose"):
                donors = donors_from({s.name: source.read(s.name) for s in source.scenes})
                made = recompose(
                    row.parsed_program(), source.read(row.scene), donors, taxonomy=taxonomy
                )
                label[position], instance[position] = made.scene.label, made.scene.instance
                found = {
                    "instances": made.instances,
                    "events": made.log,
                    "device": "cpu",
                    "dtype": "float32",
                }
            if not kind:
                photo[position] = render_photo(network, label[position], instance[position])
            for name, pixels in (("label", label), ("instance", instance), ("photo", photo)):
                found[f"{name}_sha256"] = hashlib.sha256(pixels[position].tobytes()).hexdigest()
            records.append(
                Record(
                    row.index,
                    row.shard,
                    row.scene,
                    row.variant,
                    row.program,
                    failure=Failure(kind, f"{row.scene}: <made up> for a test") if kind else None,
                    seconds_read=0.5,
                    seconds_compose=0.25,
                    seconds_render=3.0,
                    seconds_write=0.25,
                    **found,
                )
            )
        store.write_shard(shard, ShardArrays(photo, label, instance))
        commit_manifest(out.manifest(shard), records)
    return out


def render_photo(network: torch.nn.Module, label: np.ndarray, instance: np.ndarray) -> np.ndarray:
    """One photo, uint8 [H, W, 3]."""
    with torch.inference_mode():
        conditioning = condition(
            torch.from_numpy(label.astype(np.int32))[None],
            torch.from_numpy(instance)[None],
            num_classes=35,
        )
        photo = network(conditioning)[0]
    scaled = ((photo + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return scaled.permute(1, 2, 0).numpy()
