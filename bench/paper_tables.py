r"""Tables 1, 3 and 5 of the pix2pixHD paper and its studies of losses, run on a dataset of yours.

    python bench/paper_tables.py --dataset DIR --format FMT --size HxW --scorer DIR --vgg FILE \
        --out DIR [--steps N] [--seeds N] [--instances components] [--only NAME]...

Every shipped model of the comparison is trained, brought to the same width (--base,
--discriminator) and number of updates, with each seed; then the label maps of the test split are
rendered unedited, and scored. None has an encoder, as in the paper's tables. Accuracies count void
as errors, as the paper's. The same command goes on where it stopped; tables are printed of the
models that were asked for. Give scorers whose weights no loss has seen.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import configs
from bench.shared.trials import Data, Score, Trial, add_data_options, run_as_asked, run_trial
from hdmodel.settings import read_yaml


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table: a model of ours, and what the paper has for it."""

    words: str
    model: str
    accuracy: float | None = None
    """The paper's pixel accuracy, in percent; void counted as errors."""
    mean_iou: float | None = None
    preferred: str = ""
    """What the people that the paper asked preferred."""


TABLES: dict[str, tuple[Row, ...]] = {
    "Table 1: methods": (
        Row("pix2pix", "pix2pix", 78.34, 0.3948, "6.2 % against pix2pixHD"),
        Row("CRN", "crn", 70.55, 0.3483, "13.8 % against pix2pixHD"),
        Row("pix2pixHD", "pix2pixhd-global", 83.78, 0.6389),
    ),
    "Table 3: generators under the same discriminators": (
        Row("U-Net", "pix2pixhd-unet", 77.86, 0.3905),
        Row("CRN", "pix2pixhd-crn", 78.96, 0.3994),
        Row("pix2pixHD", "pix2pixhd-global", 83.78, 0.6389),
    ),
    "Table 5: discriminators": (
        Row("single", "pix2pixhd-single-discriminator", 82.87, 0.5775, "30.8 %"),
        Row("three scales", "pix2pixhd-global", 83.78, 0.6389, "69.2 %"),
    ),
    "Losses and instance maps (section 4.2)": (
        Row("without feature matching", "pix2pixhd-no-feature-matching"),
        Row("without VGG", "pix2pixhd-no-vgg", preferred="41.1 % against all losses"),
        Row("without instance maps", "pix2pixhd-no-instances", preferred="35.7 %, car regions"),
        Row("all losses, instance maps", "pix2pixhd-global"),
    ),
}
MODELS = tuple(dict.fromkeys(row.model for rows in TABLES.values() for row in rows))
ORACLE = ("oracle (real photos)", 84.29, 0.6857)
LEAST_SIDE = 4
"""Pixels per side that the coarsest features of a U-Net or a cascade should have."""


def main() -> None:
    """Run the trials and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_options(parser)
    parser.add_argument("--vgg", type=Path, help="weights of the perceptual loss")
    parser.add_argument("--steps", type=int, default=600, help="updates of every model")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--base", type=int, default=16, help="filters of the first layer")
    parser.add_argument("--discriminator", type=int, default=32, help="the same")
    run_as_asked(parser, _run, trials=MODELS, quick=_quick)


def _quick(arguments: argparse.Namespace) -> None:
    """The two models that need no VGG, tiny."""
    arguments.only, arguments.set = ["pix2pix", "pix2pixhd-no-vgg"], ["validation=1"]
    arguments.steps, arguments.seeds, arguments.base, arguments.discriminator = 2, 1, 4, 4


def _run(data: Data, arguments: argparse.Namespace) -> None:
    scores: dict[str, list[Score]] = {}
    for seed in range(arguments.seeds):
        for model in MODELS:
            if arguments.only and model not in arguments.only:
                continue
            trial = _trial(model, seed, data, arguments)
            scores.setdefault(model, []).extend(
                run_trial(
                    trial,
                    data,
                    scorers=arguments.scorer,
                    out=arguments.out,
                    input_size=arguments.input_size,
                )
            )
            last = scores[model][-1]
            print(
                f"{trial.name}: mean IoU {last.mean_iou:.3f}, ratio: {last.ratio:.3f}", flush=True
            )
    for scorer in arguments.scorer:
        _print_tables(
            {m: [s for s in found if s.scorer == scorer.name] for m, found in scores.items()},
            scorer.name,
        )


def _trial(model: str, seed: int, data: Data, arguments: argparse.Namespace) -> Trial:
    shipped = read_yaml(configs.find("models", model))
    steps = arguments.steps
    decay = steps // 2 if "decay_epochs" in shipped["stages"][0] else 0
    stage = f"{{name: all, steps: {steps}, decay_steps: {decay}, batch: {arguments.batch}}}"
    settings = [
        f"stages=[{stage}]",
        f"seed={seed}",
        f"generator.base_channels={arguments.base}",
        "save_every=300",
        "picture_every=100000",
    ]
    if "discriminator" in shipped:
        settings.append(f"discriminator.base_channels={arguments.discriminator}")
    if shipped["generator"]["architecture"] in ("unet", "crn"):
        halvings = (min(data.size) // LEAST_SIDE).bit_length() - 1
        wanted = min(shipped["generator"]["downsamplings"], halvings)
        settings.append(f"generator.downsamplings={wanted}")
    if arguments.vgg and shipped["losses"].get("perceptual"):
        settings.append(f"vgg.weights={arguments.vgg}")
    return Trial(f"{model}-{seed}", model, (*settings, *arguments.set))


def _print_tables(scores: dict[str, list[Score]], scorer: str) -> None:
    """What the paper has beside what was measured, mean and standard deviation over seeds."""
    oracle = next(found[0].oracle for found in scores.values() if found)
    for title, rows in TABLES.items():
        print(f"\n{title}; scorer {scorer}\n")
        print(
            "| | paper: accuracy | mean IoU | people | here: accuracy | mean IoU | of the oracle |"
        )
        print("|---|---:|---:|---|---:|---:|---:|")
        for row in rows:
            found = scores.get(row.model, [])
            paper = f"{_known(row.accuracy, '.2f')} | {_known(row.mean_iou, '.4f')}"
            ours = " | ".join(
                _spread([getattr(score, key) for score in found])
                for key in ("accuracy", "mean_iou", "ratio")
            )
            print(f"| {row.words} | {paper} | {row.preferred} | {ours} |")
        words, accuracy, mean_iou = ORACLE
        print(f"| {words} | {accuracy} | {mean_iou} | | | {oracle:.3f} | |")


def _known(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "not run"
    return f"{fmean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
