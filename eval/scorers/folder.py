"""The folder that a scorer is trained into, and that is the scorer in the end."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import torch
import yaml
from safetensors.torch import save
from torch import nn

from eval.scorers.config import SCORER_FILE, STATE_FILE, WEIGHTS_FILE, ScorerConfig, ScorerTraining
from eval.scorers.network import check_finite
from hdmodel.atomic import write_atomically
from hdmodel.errors import ConfigError
from hdmodel.settings import flattened, read_yaml
from pipeline.taxonomy import Taxonomy

CONFIG_FILE = "config.yaml"

MAY_CHANGE = ("dataset.root", "loaders", "log_every", "save_every")
"""Keys that decide nothing of what is learnt; all others must stay as they are."""


def claim(out: Path, record: Mapping[str, Any]) -> bool:
    """Write the settings into a new folder, or compare them with those that are there.

    Args:
        out: The folder.
        record: Plain data; what it holds under `config` must not change, but for `MAY_CHANGE`.

    Returns:
        Whether the folder holds the finished scorer.

    Raises:
        ConfigError: It holds another training, or files of somebody else.
    """
    file = out / CONFIG_FILE
    if file.is_file():
        before, now = flattened(read_yaml(file)), flattened(record)
        changed = [
            f"  {key}: was {before.get(key, 'absent')!r}, now {now.get(key, 'absent')!r}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key) and key.removeprefix("config.") not in MAY_CHANGE
        ]
        if changed:
            raise ConfigError(
                f"{out}: holds another training; these keys differ:\n"
                + "\n".join(changed)
                + "\nUse the same settings to go on, or another --out."
            )
    elif out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise ConfigError(f"{out}: is not empty and no training, expected a new folder")
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(file, yaml.safe_dump(dict(record), sort_keys=False).encode())
    return (out / SCORER_FILE).is_file() and (out / WEIGHTS_FILE).is_file()


def save_scorer(
    network: nn.Module,
    config: ScorerTraining,
    taxonomy: Taxonomy,
    *,
    out: Path,
    scores: Mapping[str, Any],
    record: Mapping[str, Any],
) -> ScorerConfig:
    """Write a trained network as a scorer: its weights first, as without `scorer.yaml` it is none.

    Args:
        network: Trained.
        config: Of its training.
        taxonomy: Whose train ids it predicts.
        out: The folder of the training; what was needed to go on is deleted.
        scores: On held-out scenes.
        record: As given to `claim`.

    Returns:
        What `scorer.yaml` says.

    Raises:
        CheckpointError: A weight is not finite.
    """
    dtype = torch.float16 if config.half_on_disk else torch.float32
    state = {
        key: (value.to(dtype) if value.is_floating_point() else value).cpu().contiguous()
        for key, value in network.state_dict().items()
    }
    check_finite(state, origin=str(out / WEIGHTS_FILE))
    content = save(state)
    scorer = ScorerConfig(
        network=config.network,
        taxonomy=taxonomy,
        size=config.dataset.size,
        normalisation=config.normalisation,
        scores=dict(scores),
        training={
            "config": record["config"],
            "scenes": record["scenes"],
            "scene_names": record["scene_names"],
            "versions": {"torch": torch.__version__, "smp": smp.__version__},
        },
        sha256=hashlib.sha256(content).hexdigest(),
    )
    write_atomically(out / WEIGHTS_FILE, content)
    text = yaml.safe_dump(scorer.to_plain(), sort_keys=False)
    write_atomically(out / SCORER_FILE, text.encode())
    (out / STATE_FILE).unlink(missing_ok=True)
    return scorer
