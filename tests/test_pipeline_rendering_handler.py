import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hdmodel.checkpoint import load_generator
from hdmodel.errors import CheckpointError
from pipeline.config import GeneratorSettings
from pipeline.devices import Lease, lease_device
from pipeline.output.manifest import Failure
from pipeline.planning.plan import PlanRow
from pipeline.rendering.batching import device_is_lost
from pipeline.rendering.compose import ComposedSample, ComposedShard
from pipeline.rendering.generator import GeneratorSpec, LoadedGenerator, open_generator
from pipeline.rendering.handler import GeneratorHandler, RenderedSample, render_shard
from tests.datasets import write_checkpoint
from tests.scenes import street

CLASSES = 35
HEIGHT, WIDTH = 32, 64
DEVICES = ["meta:0", "meta:1"]
"""Fake names: "meta" devices hold no data, so a checkpoint loads onto them without a GPU."""
BAD = 3
"""A sample whose label map holds this class in its corner is the one that breaks."""


class Network(nn.Module):
    """Paints a sample with the class of its upper left corner, and breaks as it is told."""

    def __init__(self, *, limit: int = 99, bad: str | None = None) -> None:
        super().__init__()
        self.limit = limit
        self.bad = bad
        self.batches: list[int] = []

    def forward(self, conditioning_BCHW: Tensor) -> Tensor:
        corner_B = conditioning_BCHW[:, :CLASSES, 0, 0].argmax(dim=1)
        self.batches.append(len(corner_B))
        if len(corner_B) > self.limit:
            raise torch.OutOfMemoryError("made-up memory is full")
        photo_BCHW = (corner_B.float() / 100).view(-1, 1, 1, 1).expand(-1, 3, HEIGHT, WIDTH)
        if self.bad and bool((corner_B == BAD).any()):
            if self.bad == "raise":
                raise RuntimeError("cannot draw this")
            photo_BCHW = photo_BCHW.clone()
            photo_BCHW[corner_B == BAD] = float(self.bad)
        return photo_BCHW


def loaded(network: nn.Module) -> LoadedGenerator:
    return LoadedGenerator(network, CLASSES, True, Lease("cpu", None), torch.float32)


def shard(samples: int) -> ComposedShard:
    label = np.full((samples, HEIGHT, WIDTH), 7, np.uint8)
    label[:, 0, 0] = np.arange(samples)
    origin = np.zeros(label.shape, np.uint16)
    return ComposedShard(
        0, tuple(composed(i) for i in range(samples)), label, label.astype(np.int32), origin
    )


def composed(index: int) -> ComposedSample:
    return ComposedSample(PlanRow(index, 0, "s", 0, 0, "{}"))


def spec(checkpoint: Path, *, device: str = "cpu", batch_pixels: int = 1) -> GeneratorSpec:
    settings = GeneratorSettings(dtype="float32", device=device, batch_pixels=batch_pixels)
    return GeneratorSpec(checkpoint, settings)


def grey(sample: int) -> int:
    return round((sample / 100 + 1) * 127.5)


def test_batches_are_cut_by_pixels() -> None:
    network = Network()
    rendered = render_shard(shard(7), loaded(network), batch_pixels=3 * HEIGHT * WIDTH)
    assert network.batches == [3, 3, 1]
    for sample in range(7):
        assert (rendered.photo[sample] == grey(sample)).all()


def test_a_photo_larger_than_a_batch_is_rendered_alone() -> None:
    network = Network()
    render_shard(shard(2), loaded(network), batch_pixels=1)
    assert network.batches == [1, 1]


def test_a_batch_that_runs_out_of_memory_is_halved() -> None:
    network = Network(limit=2)
    rendered = render_shard(shard(8), loaded(network), batch_pixels=10**9)
    assert network.batches == [8, 4, 2, 2, 4, 2, 2]
    assert {sample.failure for sample in rendered.samples} == {None}
    assert [photo[0, 0, 0] for photo in rendered.photo] == [grey(i) for i in range(8)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [("raise", "RuntimeError: cannot draw this"), ("nan", "not finite"), ("inf", "not finite")],
)
def test_the_one_sample_that_fails_is_quarantined(bad: str, reason: str) -> None:
    rendered = render_shard(shard(8), loaded(Network(bad=bad)), batch_pixels=10**9)
    for index, sample in enumerate(rendered.samples):
        if index == BAD:
            assert sample.failure is not None
            assert sample.failure.kind == "render"
            assert reason in sample.failure.error
            assert not rendered.photo[index].any()
        else:
            assert sample.failure is None
            assert (rendered.photo[index] == grey(index)).all()


def test_samples_that_failed_before_are_left_out() -> None:
    whole = shard(4)
    failed = replace(whole.samples[1], failure=Failure("read", "no such file"))
    whole = replace(whole, samples=(whole.samples[0], failed, *whole.samples[2:]))
    network = Network()
    rendered = render_shard(whole, loaded(network), batch_pixels=10**9)
    assert network.batches == [3]
    assert rendered.composed.samples[1].failure == Failure("read", "no such file")
    assert rendered.samples[1] == RenderedSample()
    assert not rendered.photo[1].any()
    assert rendered.photo[2].any()


def test_records_say_where_and_how_long() -> None:
    rendered = render_shard(shard(3), loaded(Network()), batch_pixels=10**9)
    for sample in rendered.samples:
        assert sample.device == "cpu"
        assert sample.dtype == "float32"
        assert sample.seconds_render > 0


@pytest.mark.parametrize("bad", [None, "raise"])
def test_rendering_leaves_its_input_as_it_was(bad: str | None) -> None:
    whole = shard(8)
    before = copy.deepcopy(whole)
    for pixels in (whole.label, whole.instance, whole.origin):
        pixels.setflags(write=False)
    render_shard(whole, loaded(Network(bad=bad)), batch_pixels=10**9)
    assert whole.samples == before.samples
    for name in ("label", "instance", "origin"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(before, name))


def test_the_handler_renders_with_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny")
    handler = GeneratorHandler(spec(checkpoint, batch_pixels=10**9))
    scene = street()
    whole = ComposedShard(
        0,
        (composed(0),),
        scene.label[None],
        scene.instance[None],
        np.zeros((1, *scene.size), np.uint16),
    )
    [rendered] = handler.run_inference([whole], handler.load_model())

    # The same by hand: one-hot, boundary map, network, back to bytes.
    one_hot = np.eye(CLASSES, dtype=np.float32)[scene.label].transpose(2, 0, 1)
    padded = np.pad(scene.instance, 1, mode="edge")
    boundary = np.zeros(scene.label.shape, np.float32)
    for rows, columns in ((0, 1), (2, 1), (1, 0), (1, 2)):
        neighbour = padded[rows : rows + HEIGHT, columns : columns + WIDTH]
        boundary[neighbour != scene.instance] = 1
    conditioning = torch.from_numpy(np.concatenate([one_hot, boundary[None]])[None])
    expected = load_generator(checkpoint)(conditioning)[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(
        rendered.photo[0], np.rint((expected + 1) * np.float32(127.5)).astype(np.uint8)
    )


def test_processes_lease_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    handlers = [
        GeneratorHandler(
            spec(write_checkpoint(tmp_path / f"tiny-{number}"), device="cuda"),
            devices=lambda _: DEVICES,
        )
        for number in range(3)
    ]
    models = [handler.load_model() for handler in handlers]
    assert [model.lease.device for model in models] == ["meta:0", "meta:1", "meta:0"]
    assert all(p.device.type == "meta" for model in models for p in model.network.parameters())


def test_a_lease_goes_with_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    handler = GeneratorHandler(
        spec(write_checkpoint(tmp_path / "tiny"), device="cuda"),
        devices=lambda _: DEVICES,
    )
    for _ in range(3):
        model = handler.load_model()
        assert model.lease.device == "meta:0"
        del model


def test_an_opened_generator_gives_its_device_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(
        "pipeline.rendering.generator.lease_device", lambda _: lease_device(DEVICES)
    )

    def next_free() -> str:
        lease = lease_device(DEVICES)
        lease.close()
        return lease.device

    checkpoint = write_checkpoint(tmp_path / "tiny")
    with open_generator(spec(checkpoint)) as opened:
        assert opened.lease.device == "meta:0"
        assert next_free() == "meta:1"
    assert next_free() == "meta:0"
    (checkpoint / "generator.safetensors").unlink()
    with pytest.raises(CheckpointError), open_generator(spec(checkpoint)):
        pass
    assert next_free() == "meta:0"


def test_a_broken_device_ends_the_job_instead_of_blaming_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("torch.cuda.synchronize", broken)
    error = RuntimeError("CUDA error: an illegal memory access was encountered")
    assert device_is_lost("cuda:0", error)
    assert not device_is_lost("cpu", error)
    assert not device_is_lost("cuda:0", torch.OutOfMemoryError("full"))
    monkeypatch.setattr("torch.cuda.synchronize", lambda _: None)
    assert not device_is_lost("cuda:0", RuntimeError("this one sample"))


def test_beam_is_given_one_shard_at_a_time_without_pickling_it() -> None:
    handler = GeneratorHandler(spec(Path("x")))
    assert handler.batch_elements_kwargs()["max_batch_size"] == 1
    assert handler.get_num_bytes([shard(2)]) == 2 * HEIGHT * WIDTH * (1 + 4 + 2)
