r"""Does a generator that sees an exemplar canvas draw better than the canvas itself?

    python bench/refine.py --dataset DIR --format FMT --size HxW --scorer DIR --out DIR \
        [--steps N] [--near N] [--without PATTERN]... [--half 2] [--instances components]

A canvas is the photo that `hdsynth render --photo exemplar` copies together for a label map.
Canvases of the training scenes leave out the `--near` scenes before and after each, so that they
are as far from the real photo as they will be elsewhere; canvases of the test split are copied from
the training split without scenes named `--without`. A generator is trained to correct them: it
reads label map, boundary map and canvas, and what it draws is added to the canvas, from nearly
nothing on. Then the scorer reads canvases and corrected canvases of the test split; the interval of
the difference is over scenes drawn with replacement, the same for both. The same command goes on
where it stopped.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import configs
from bench.shared.trials import Data, add_data_options, hdsynth, run_as_asked
from eval.confusion import ConfusionMatrix
from eval.scorers.loading import load_scorer
from eval.scorers.scorer import Scorer
from hdmodel.allocator import tune_allocator
from hdmodel.checkpoint import save_checkpoint
from hdmodel.encoder import FeatureEncoder
from hdmodel.photos import to_uint8
from hdmodel.settings import override, read_yaml
from hdmodel.training.batches import Batch, RandomBatches, Sample, stack
from hdmodel.training.losses import StepLosses
from hdmodel.training.schedule import stage_schedule
from hdmodel.training.trainer import Trainer
from pipeline.checkpoints import taxonomy_record
from pipeline.output.results import RunResults
from pipeline.sources import DatasetConfig, open_source
from pipeline.sources.reading import SceneReader
from pipeline.taxonomy import Taxonomy
from pipeline.training.job import TrainJob

MODEL = "pix2pixhd-small"
CANVAS = 3
FIRST_CORRECTION = 0.02
"""Times this the last layer's first weights are."""
REPLICATES = 1000
SAVED_EVERY = 250


class WithCanvas:
    """Scenes whose photo has six channels: those of the photo, and those of its canvas."""

    def __init__(self, canvases: RunResults, reader: SceneReader) -> None:
        self._canvases, self._reader = canvases, reader
        self._rows = list(canvases.rows(("index", "scene")))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        row = self._rows[index]
        scene = self._reader(row["scene"])
        assert scene.photo is not None
        canvas = self._canvases.pixels("photo", row["index"])
        return scene.label, scene.instance, np.concatenate([scene.photo, canvas], axis=-1)


class RefiningTrainer(Trainer):
    """Trains what is added to a canvas, which stands in the place of features."""

    canvas_BCHW: Tensor

    def start(self) -> None:
        """Let it begin by adding nearly nothing."""
        with torch.no_grad():
            self.generator.head.conv.weight.mul_(FIRST_CORRECTION)
        self._restart_average()
        for network in (self.generator, *self._averaged.values()):
            network.register_forward_hook(self._add_canvas)

    def _add_canvas(self, _: object, inputs: tuple[Tensor], drawn_BCHW: Tensor) -> Tensor:
        return (inputs[0][:, -CANVAS:].float() + drawn_BCHW).clamp(-1, 1)

    def _inputs(self, batch: Batch, encoder: FeatureEncoder | None) -> tuple[Tensor, Tensor]:
        shape = self.generator.config
        self.generator.config = shape.model_copy(update={"feature_channels": 0})
        known_BCHW, judged_BCHW = super()._inputs(batch, encoder)
        self.generator.config = shape
        canvas_BCHW = self.canvas_BCHW.to(known_BCHW.dtype)
        return torch.cat([known_BCHW, canvas_BCHW], dim=1), judged_BCHW

    def update(self, batch: Batch, *, step: int, learning_rate: float) -> StepLosses:
        """One update on a batch whose photos carry their canvases."""
        return super().update(self._split(batch), step=step, learning_rate=learning_rate)

    def render(self, batch: Batch) -> Tensor:
        """Correct the canvases of a batch."""
        return super().render(self._split(batch))

    def _split(self, batch: Batch) -> Batch:
        photo_BCHW, self.canvas_BCHW = batch.photo_BCHW.split(CANVAS, dim=1)
        return replace(batch, photo_BCHW=photo_BCHW)


def main() -> None:
    """Make canvases, train, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_options(parser)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--near", type=int, default=16, help="scenes left out beside each")
    parser.add_argument("--without", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--half", type=int, help="of the training split to copy canvases from")
    run_as_asked(parser, _run, trials=(), quick=_quick, scenes=24)


def _quick(arguments: argparse.Namespace) -> None:
    """Two updates of a tiny network."""
    arguments.steps, arguments.near = 2, 0
    arguments.set = ["generator.base_channels=4", "discriminator.base_channels=4"]


def _run(data: Data, arguments: argparse.Namespace) -> None:
    tune_allocator()
    canvases = {split: _canvases(split, data, arguments) for split in (data.train, data.test)}
    source = {split: _dataset(split, data) for split in canvases}
    taxonomy = open_source(source[data.train]).taxonomy
    scenes = {
        split: WithCanvas(RunResults(path), _reader(source[split], data))
        for split, path in canvases.items()
    }
    trainer = _train(scenes[data.train], taxonomy, data, arguments)
    for path in arguments.scorer:
        scorer = load_scorer(path, "cpu", dtype="bfloat16")
        pairs = _pairs(trainer, scenes[data.test])
        counts = np.array([_counts(pair, taxonomy, scorer) for pair in pairs])
        _print(path.name, counts)


def _canvases(split: str, data: Data, arguments: argparse.Namespace) -> Path:
    """The run that holds the canvases of a split."""
    out = Path(arguments.out) / f"canvases-{split}"
    size = f"{data.size[0]}x{data.size[1]}"
    without = arguments.without if split == data.test else []
    count = len(open_source(_dataset(split, data)).scenes)
    hdsynth(
        *("render", "--dataset", str(data.root), "--format", data.format, "--split", split),
        *("--instances", data.instances, "--size", size, "--samples", str(count)),
        *("--policy", "none", "--photo", "exemplar"),
        *("--exclude-near", str(arguments.near if split == data.train else 0)),
        *("--set", f"photo.exemplars.split={data.train}"),
        *(("--set", f"photo.exemplars.without={without}") if without else ()),
        *(("--set", f"photo.exemplars.half={arguments.half}") if arguments.half else ()),
        *("--out", str(out)),
        log=Path(arguments.out) / f"canvases-{split}.log",
    )
    return out


def _dataset(split: str, data: Data) -> DatasetConfig:
    keys = {"root": str(data.root), "format": data.format, "split": split}
    return DatasetConfig.parse(keys | {"instances": data.instances}, origin="bench")


def _reader(config: DatasetConfig, data: Data) -> SceneReader:
    source = open_source(config)
    return SceneReader(source, source.taxonomy, size=data.size, mode="resize", photo=True)


def _train(
    scenes: WithCanvas, taxonomy: Taxonomy, data: Data, arguments: argparse.Namespace
) -> RefiningTrainer:
    plain = override(read_yaml(configs.find("models", MODEL)), arguments.set)
    steps = arguments.steps
    plain |= {
        "encoder": {"out_channels": CANVAS},
        "stages": [{"name": "all", "steps": steps, "decay_steps": steps // 2, "batch": 1}],
        "dataset": {"format": "sample-world", "size": list(data.size)},
    }
    job = TrainJob.parse(plain, origin="bench")
    shape = job.generator.model_copy(update={"num_classes": taxonomy.num_classes})
    job = job.model_copy(update={"encoder": None, "generator": shape})
    stage = job.stages[0]
    trainer = RefiningTrainer(job, stage, device=torch.device("cpu"))
    trainer.start()
    folder = Path(arguments.out) / "refiner"
    saved = sorted(folder.glob("step-*"))
    done = 0
    if saved:
        trainer.restore(saved[-1])
        done = int(saved[-1].name.removeprefix("step-"))
    batches = RandomBatches(scenes, crop=data.size, batch=stage.batch, seed=(job.seed,))
    schedule = stage_schedule(stage, scenes=len(scenes))
    for number in range(done, steps):
        rate = job.optimiser.learning_rate * schedule.learning_rate_factor(number)
        losses = trainer.update(
            batches[number].to(torch.device("cpu")), step=number + 1, learning_rate=rate
        )
        if (number + 1) % SAVED_EVERY == 0 or number + 1 == steps:
            save_checkpoint(
                folder / f"step-{number + 1:07d}",
                trainer.best_generator,
                taxonomy=taxonomy_record(taxonomy),
                extra_tensors=trainer.state(),
            )
            shown = ", ".join(f"{name} {float(value):.3f}" for name, value in losses.terms.items())
            print(f"step {number + 1} of {steps}: {shown}", flush=True)
    return trainer


def _pairs(
    trainer: RefiningTrainer, scenes: WithCanvas
) -> Iterator[tuple[npt.NDArray[Any], list[npt.NDArray[np.uint8]]]]:
    """The label map of each test scene; its canvas, corrected canvas and real photo."""
    for index in range(len(scenes)):
        label, instance, both = scenes[index]
        batch = stack([(label, instance, both)]).to(torch.device("cpu"))
        refined = to_uint8(trainer.render(batch))[0].permute(1, 2, 0).numpy()
        yield label, [both[..., CANVAS:], refined, both[..., :CANVAS]]


def _counts(
    pair: tuple[npt.NDArray[Any], Sequence[npt.NDArray[np.uint8]]],
    taxonomy: Taxonomy,
    scorer: Scorer,
) -> list[npt.NDArray[np.int64]]:
    """The confusion matrices of one scene: canvas, corrected, real."""
    label, photos = pair
    found = []
    for photo in photos:
        matrix = ConfusionMatrix(int(max(t for t in taxonomy.train_ids if t != 255)) + 1)
        matrix.update(
            taxonomy.train_ids[label], scorer.predict(np.ascontiguousarray(photo)[None])[0]
        )
        found.append(matrix.counts)
    return found


def _print(name: str, counts: npt.NDArray[np.int64]) -> None:
    """Compare mean IoU over all scenes, and over scenes drawn with replacement."""

    def scores(chosen: npt.NDArray[np.int64]) -> list[float]:
        total = counts[chosen].sum(axis=0)
        return [ConfusionMatrix(matrix.shape[0] - 1, matrix).mean_iou for matrix in total]

    random = np.random.default_rng(0)
    canvas, refined, real = scores(np.arange(len(counts)))
    draws = [scores(random.integers(len(counts), size=len(counts))) for _ in range(REPLICATES)]
    low, high = np.nanquantile([(b - a) / c for a, b, c in draws], (0.025, 0.975))
    print(f"{name}: mean IoU of canvases {canvas:.3f}, corrected {refined:.3f}, real {real:.3f}")
    print(
        f"{name}: canvas / oracle {canvas / real:.3f}, corrected / oracle, ratio: "
        f"{refined / real:.3f}, difference (95 %) {low:+.3f} to {high:+.3f}"
    )


if __name__ == "__main__":
    main()
