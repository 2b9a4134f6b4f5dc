r"""What each loss of a generator's training buys, at equal seconds of training.

    python bench/ablation.py --dataset DIR --format FMT --size HxW --scorer DIR --vgg FILE \
        --out DIR [--seconds S] [--instances components] [--only TRIAL]...

Every recipe is the bundled generator's coarse network with encoder. It makes as many updates as
take S seconds of one core's time, measured before its training (so the machine may do other work
meanwhile), the learning rate falling over the second half. Then the label maps of the test split
are rendered unedited, in the styles of their own photos, and scored. The same command goes on where
it stopped. Give scorers whose weights no loss has seen.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from statistics import median
from time import process_time

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import configs
from bench.shared.trials import Data, Trial, add_data_options, run_as_asked, run_trial
from hdmodel.allocator import tune_allocator
from hdmodel.settings import override, read_yaml
from hdmodel.training.batches import RandomBatches
from hdmodel.training.trainer import Trainer
from pipeline.training.job import TrainJob
from pipeline.training.scenes import open_training_scenes

MODEL = "pix2pixhd-demo"
NETWORK = (
    "generator.architecture=global",
    "generator.base_channels=32",
    "validation=8",
    "log_every=50",
    "picture_every=100000",
    "save_every=500",
)
STAGE = "{{name: all, steps: {steps}, decay_steps: {decay}, batch: 2, warp: {warp}}}"
VGG = ("losses.perceptual=10",)
PIXEL = ("losses.pixel=1",)
NO_PATCHES = ("losses.adversarial=none", "losses.feature_matching=0")
NO_LOSS_ON_FEATURES = ("losses.perceptual=0", "losses.pixel=0")
AUGMENTED = (
    "augmentation.translation=0.125",
    "augmentation.colour=0.5",
    "augmentation.cutout=0.25",
)

RECIPES: dict[str, tuple[str, ...]] = {
    "patches": NO_LOSS_ON_FEATURES,
    "patches-vgg": ("losses.pixel=0", *VGG),
    "patches-pixels": ("losses.perceptual=0", *PIXEL),
    "pixels-vgg": (*NO_PATCHES, *VGG, *PIXEL),
    "patches-pixels-vgg": (*VGG, *PIXEL),
    "patches-pixels-augmented": ("losses.perceptual=0", *PIXEL, *AUGMENTED),
    "patches-pixels-warped": ("losses.perceptual=0", *PIXEL),
}
WARPED = {"patches-pixels-warped": 2.0}
QUICK_UPDATES = 2


def main() -> None:
    """Run the trials and print their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_options(parser)
    parser.add_argument("--vgg", type=Path, help="weights of the perceptual loss")
    parser.add_argument("--seconds", type=float, default=600.0)
    run_as_asked(parser, _run, trials=RECIPES, quick=_quick)


def _quick(arguments: argparse.Namespace) -> None:
    """Two recipes without VGG."""
    arguments.only, arguments.seconds = ["patches", "patches-pixels"], 0.0
    arguments.set = ["generator.base_channels=4", "encoder.base_channels=4", "validation=1"]


def _run(data: Data, arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    tune_allocator()
    print(
        f"{'recipe':24s} updates  scorer                mean IoU  of the oracle (95 %)   "
        "kernel distance"
    )
    first: dict[str, float] = {}
    for name, settings in RECIPES.items():
        if arguments.only and name not in arguments.only:
            continue
        vgg = (f"vgg.weights={arguments.vgg}",) if arguments.vgg else ()
        settings = (*NETWORK, *settings, *vgg, *arguments.set)
        steps = _steps(name, settings, data, arguments)
        trial = Trial(name, MODEL, (*settings, _stages(name, steps)), style="source")
        for score in run_trial(
            trial,
            data,
            scorers=arguments.scorer,
            out=arguments.out,
            input_size=arguments.input_size,
            independent=not arguments.quick,
        ):
            against = score.ratio / (first.setdefault(score.scorer, score.ratio) or float("nan"))
            print(
                f"{name:24s} {steps:7d}  {score.scorer:20s}  {score.mean_iou:8.3f}  "
                f"{score.ratio:.3f} ({score.low:.3f} to {score.high:.3f}), ratio: {against:.2f}   "
                f"{score.kernel:.3f}",
                flush=True,
            )


def _stages(name: str, steps: int) -> str:
    stage = STAGE.format(steps=steps, decay=steps // 2, warp=WARPED.get(name, 0.0))
    return f"stages=[{stage}]"


def _steps(name: str, settings: tuple[str, ...], data: Data, arguments: argparse.Namespace) -> int:
    """How many updates take the seconds given; measured once."""
    file = arguments.out / name / "updates.json"
    if file.is_file():
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["seconds"] != arguments.seconds:
            raise SystemExit(f"{file}: of {found['seconds']} seconds; expected another --out")
        return int(found["updates"])
    steps = QUICK_UPDATES
    if not arguments.quick:
        steps = math.floor(arguments.seconds / _seconds_per_update(name, settings, data))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"updates": steps, "seconds": arguments.seconds}), encoding="utf-8")
    return steps


def _seconds_per_update(name: str, settings: tuple[str, ...], data: Data) -> float:
    """Of one core, the sample's making included."""
    plain = override(
        read_yaml(configs.find("models", MODEL)),
        (
            *settings,
            _stages(name, 10),
            f"dataset={{root: {data.root}, format: {data.format}, split: {data.train}, "
            f"instances: {data.instances}, validation_split: {data.test}, "
            f"size: [{data.size[0]}, {data.size[1]}]}}",
        ),
    )
    job = TrainJob.parse(plain, origin="bench")
    scenes = open_training_scenes(job.dataset, validation=1)
    number = {"num_classes": scenes.taxonomy.num_classes}
    job = job.model_copy(update={"generator": job.generator.model_copy(update=number)})
    stage = job.stages[0]
    trainer = Trainer(job, stage, device=torch.device("cpu"))
    batches = RandomBatches(
        scenes.training(job.dataset.size),
        crop=data.size,
        batch=stage.batch,
        seed=(0,),
        warp=stage.warp,
    )
    seconds = []
    for step in range(12):
        start = process_time()
        batch = batches[step].to(torch.device("cpu"))
        trainer.update(batch, step=step, learning_rate=1e-4)
        seconds.append(process_time() - start)
    return median(seconds[4:])


if __name__ == "__main__":
    main()
