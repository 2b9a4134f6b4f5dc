import copy
import pickle
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import zarr
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline.editing.recompose import InstanceRecord
from pipeline.output.folder import OutputFolder
from pipeline.output.manifest import Failure, StyleChoice, read_manifest
from pipeline.output.store import create_store
from pipeline.planning.plan import PlanRow
from pipeline.prepare import prepare
from pipeline.rendering.compose import ComposedSample, ComposedShard
from pipeline.rendering.handler import RenderedSample, RenderedShard
from pipeline.rendering.job import RenderShards, ShardCoder, WriteShard, build
from pipeline.run import job_spec, render
from tests.datasets import write_checkpoint, write_cityscapes
from tests.test_pipeline_run import job


def shard(samples: int) -> ComposedShard:
    composed = tuple(ComposedSample(PlanRow(i, 0, "s", 0, 0, "")) for i in range(samples))
    shape = (samples, 4, 6)
    return ComposedShard(
        0, composed, np.ones(shape, np.uint8), np.ones(shape, np.int32), np.ones(shape, np.uint16)
    )


def test_the_coder_knows_sizes_and_keeps_shards_whole() -> None:
    composed = shard(2)
    rendered = RenderedShard(
        composed, (RenderedSample(), RenderedSample(device="cpu")), np.ones((2, 4, 6, 3), np.uint8)
    )
    coder = ShardCoder()
    assert coder.estimate_size(composed) == 2 * 24 * 7
    assert coder.estimate_size(rendered) == 2 * 24 * 10
    again = coder.decode(coder.encode(rendered))
    assert isinstance(again, RenderedShard)
    np.testing.assert_array_equal(again.photo, rendered.photo)
    assert again.composed.samples == composed.samples
    assert again.samples == rendered.samples


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
    settings = spec.generator.settings.model_copy(update={"accelerator": "type:nvidia-l4;count:1"})
    hinted = replace(spec, generator=replace(spec.generator, settings=settings))
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


def test_writing_joins_what_the_stages_say_and_leaves_its_input_as_it_was(tmp_path: Path) -> None:
    out = OutputFolder(tmp_path)
    out.manifests.mkdir()
    create_store(
        out.data,
        samples=3,
        shard_size=3,
        size=(4, 6),
        label_dtype=np.dtype(np.uint8),
        attributes={},
    )
    car = InstanceRecord(26001, 26, "car", (1, 2, 3, 4), 4, 1.0, "source", source_instance=26001)
    composed = shard(3)
    composed = replace(
        composed,
        samples=tuple(
            replace(sample, instances=(car,), seconds_read=0.5, seconds_compose=0.25)
            for sample in composed.samples
        ),
    )
    choice = StyleChoice(26001, 26, "mode", 2, None, (0.5,))
    rendered = RenderedShard(
        composed,
        (
            RenderedSample((choice,), None, 0.25, 2.0, "cpu", "float32"),
            RenderedSample(failure=Failure("read", "the photo is gone")),
            RenderedSample((choice,), Failure("render", "not finite"), 0.0, 1.0, "cpu", "float32"),
        ),
        np.full((3, 4, 6, 3), 9, np.uint8),
    )
    before = copy.deepcopy(rendered)
    for pixels in (rendered.photo, composed.label, composed.instance, composed.origin):
        pixels.setflags(write=False)
    writer = WriteShard(out)
    writer.setup()
    assert list(writer.process(rendered)) == [0]
    assert (rendered.samples, composed.samples) == (before.samples, before.composed.samples)
    np.testing.assert_array_equal(rendered.photo, before.photo)
    for name in ("label", "instance", "origin"):
        np.testing.assert_array_equal(getattr(composed, name), getattr(before.composed, name))

    good, unread, broken = read_manifest(out.manifest(0))
    assert [row["status"] for row in (good, unread, broken)] == ["ok", "failed", "failed"]
    assert [row["error_kind"] for row in (good, unread, broken)] == [None, "read", "render"]
    assert (good["seconds_read"], good["seconds_compose"], good["seconds_render"]) == (
        0.75, 0.25, 2.0,
    )  # fmt: skip
    assert [item["style"] for item in good["instances"]] == ["mode 2"]
    assert (unread["instances"], unread["styles"], unread["device"]) == ([], [], None)
    assert (len(broken["instances"]), broken["device"]) == (1, "cpu")
    # Of a sample whose photo could not be read, no maps are kept.
    stored = zarr.open_group(out.data, mode="r")
    assert np.asarray(stored["label"][:]).any(axis=(1, 2)).tolist() == [True, False, True]
    assert np.asarray(stored["instance"][:]).any(axis=(1, 2)).tolist() == [True, False, True]
