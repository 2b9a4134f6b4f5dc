"""ImageNet weights for a scorer's encoder."""

from torch import nn

from eval.errors import EvalError
from hdmodel.errors import CheckpointError, InputError
from hdmodel.imagenet import NAME, imagenet_state


def load_imagenet(encoder: nn.Module, *, name: str) -> None:
    """Give an encoder of segmentation-models-pytorch the ImageNet weights, in place.

    Args:
        encoder: It may lack what comes after its last stage, and late stages.
        name: Its name there, for error messages.

    Raises:
        EvalError: It is another network than EfficientNet-Lite0, or the package is missing.
    """
    wanted = encoder.state_dict()
    if not name.endswith(NAME):
        raise EvalError(
            f"network.encoder {name!r}: no ImageNet weights for it, expected 'tu-{NAME}', or "
            "initial: none or a file of weights"
        )
    try:
        state = imagenet_state()
    except CheckpointError:
        raise
    except InputError as error:
        raise EvalError(f"{error}; or train from scratch with --set initial=none") from None
    encoder.load_state_dict({key: state[key.removeprefix("model.")] for key in wanted})
