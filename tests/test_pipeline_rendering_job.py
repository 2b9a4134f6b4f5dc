import pickle
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline.output.manifest import Record
from pipeline.prepare import prepare
from pipeline.rendering import job as job_module
from pipeline.rendering.compose import ComposedShard
from pipeline.rendering.handler import RenderedShard
from pipeline.rendering.job import RenderShards, ShardCoder, build
from pipeline.run import job_spec, render
from tests.datasets import write_checkpoint, write_cityscapes
from tests.test_pipeline_run import job


def shard(samples: int) -> ComposedShard:
    records = [Record(index=i, shard=0, scene="s", variant=0, program="") for i in range(samples)]
    shape = (samples, 4, 6)
    return ComposedShard(
        0, records, np.ones(shape, np.uint8), np.ones(shape, np.int32), np.ones(shape, np.uint16)
    )


def test_the_coder_knows_sizes_and_keeps_shards_whole() -> None:
    composed = shard(2)
    rendered = RenderedShard(composed, np.ones((2, 4, 6, 3), np.uint8))
    coder = ShardCoder()
    assert coder.estimate_size(composed) == 2 * 24 * 7
    assert coder.estimate_size(rendered) == 2 * 24 * 10
    again = coder.decode(coder.encode(rendered))
    assert isinstance(again, RenderedShard)
    np.testing.assert_array_equal(again.photo, rendered.photo)
    assert again.composed.records == composed.records


def test_pixels_are_never_pickled_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("a shard was pickled")

    for cls in (ComposedShard, RenderedShard):
        monkeypatch.setattr(cls, "__reduce_ex__", refuse)
    config = job(write_cityscapes(tmp_path / "w"), write_checkpoint(tmp_path / "c"), tmp_path / "o")
    assert render(config).ok == 10


def test_the_job_is_one_fused_stage_after_the_reshuffle(tmp_path: Path) -> None:
    config = job(write_cityscapes(tmp_path / "w"), write_checkpoint(tmp_path / "c"), tmp_path / "o")
    spec = job_spec(prepare(config))
    hinted = job_module.JobSpec(
        **{name: getattr(spec, name) for name in spec.__slots__ if name != "accelerator"},
        accelerator="type:nvidia-l4;count:1",
    )
    pipeline = beam.Pipeline(runner=FnApiRunner())
    build(pipeline, hinted, [0, 1])
    proto = pipeline.to_runner_api()
    hints = {
        transform.unique_name: proto.components.environments[transform.environment_id]
        for transform in proto.components.transforms.values()
        if transform.environment_id
    }
    inner = [environment for name, environment in hints.items() if "RenderShards/" in name]
    assert len(inner) > 3
    carried = {frozenset(e.resource_hints.items()) for e in inner}
    assert len(carried) == 1, "different hints within the composite would break the fusion"
    assert b"type:nvidia-l4;count:1" in dict(next(iter(carried))).values()


def test_the_specification_of_a_job_is_small(tmp_path: Path) -> None:
    config = job(write_cityscapes(tmp_path / "w"), write_checkpoint(tmp_path / "c"), tmp_path / "o")
    assert len(pickle.dumps(RenderShards(job_spec(prepare(config))))) < 20_000
