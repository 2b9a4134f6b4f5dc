from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hdmodel.checkpoint import load_generator
from pipeline.devices import Lease
from pipeline.output.manifest import Record
from pipeline.rendering.compose import ComposedShard
from pipeline.rendering.handler import (
    GeneratorHandler,
    LoadedGenerator,
    device_is_lost,
    render_shard,
)
from tests.datasets import write_checkpoint
from tests.scenes import street

CLASSES = 35
HEIGHT, WIDTH = 32, 64
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
    records = [Record(index=i, shard=0, scene="s", variant=0, program="{}") for i in range(samples)]
    return ComposedShard(
        0, records, label, label.astype(np.int32), np.zeros(label.shape, np.uint16)
    )


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
    assert {record.status for record in rendered.composed.records} == {"ok"}
    assert [photo[0, 0, 0] for photo in rendered.photo] == [grey(i) for i in range(8)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [("raise", "RuntimeError: cannot draw this"), ("nan", "not finite"), ("inf", "not finite")],
)
def test_the_one_sample_that_fails_is_quarantined(bad: str, reason: str) -> None:
    rendered = render_shard(shard(8), loaded(Network(bad=bad)), batch_pixels=10**9)
    for index, record in enumerate(rendered.composed.records):
        if index == BAD:
            assert record.status == "failed"
            assert record.error_kind == "render"
            assert record.error is not None
            assert reason in record.error
            assert not rendered.photo[index].any()
        else:
            assert record.status == "ok"
            assert (rendered.photo[index] == grey(index)).all()


def test_samples_that_failed_before_are_left_out() -> None:
    composed = shard(4)
    composed.records[1].fail("read", "no such file")
    network = Network()
    rendered = render_shard(composed, loaded(network), batch_pixels=10**9)
    assert network.batches == [3]
    assert composed.records[1].error == "no such file"
    assert not rendered.photo[1].any()
    assert rendered.photo[2].any()


def test_records_say_where_and_how_long() -> None:
    rendered = render_shard(shard(3), loaded(Network()), batch_pixels=10**9)
    for record in rendered.composed.records:
        assert record.device == "cpu"
        assert record.dtype == "float32"
        assert record.seconds_render > 0


def test_the_handler_renders_with_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny")
    handler = GeneratorHandler(
        checkpoint=checkpoint,
        num_classes=CLASSES,
        device="cpu",
        dtype="float32",
        batch_pixels=10**9,
    )
    scene = street()
    composed = ComposedShard(
        0,
        [Record(index=0, shard=0, scene="s", variant=0, program="{}")],
        scene.label[None],
        scene.instance[None],
        np.zeros((1, *scene.size), np.uint16),
    )
    [rendered] = handler.run_inference([composed], handler.load_model())

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
    # Fake names: "meta" devices hold no data, so a checkpoint loads onto them without a GPU.
    handlers = [
        GeneratorHandler(
            checkpoint=write_checkpoint(tmp_path / f"tiny-{number}"),
            num_classes=CLASSES,
            device="cuda",
            dtype="float32",
            batch_pixels=1,
            devices=lambda _: ["meta:0", "meta:1"],
        )
        for number in range(3)
    ]
    models = [handler.load_model() for handler in handlers]
    assert [model.lease.device for model in models] == ["meta:0", "meta:1", "meta:0"]
    assert all(p.device.type == "meta" for model in models for p in model.network.parameters())


def test_a_lease_goes_with_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    handler = GeneratorHandler(
        checkpoint=write_checkpoint(tmp_path / "tiny"),
        num_classes=CLASSES,
        device="cuda",
        dtype="float32",
        batch_pixels=1,
        devices=lambda _: ["meta:0", "meta:1"],
    )
    for _ in range(3):
        model = handler.load_model()
        assert model.lease.device == "meta:0"
        del model


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
    handler = GeneratorHandler(
        checkpoint=Path("x"), num_classes=CLASSES, device="cpu", dtype="float32", batch_pixels=1
    )
    assert handler.batch_elements_kwargs()["max_batch_size"] == 1
    assert handler.get_num_bytes([shard(2)]) == 2 * HEIGHT * WIDTH * (1 + 4 + 2)
