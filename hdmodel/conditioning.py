"""From label and instance maps to what the generator reads.

Shapes: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor

from hdmodel.errors import InputError


def boundary_map(instance_BHW: Tensor) -> Tensor:
    """Find where the object id differs from any of the four neighbours (paper, section 3.3).

    Computed on integers, so that no two ids can ever round to the same number.

    Args:
        instance_BHW: Instance ids, any integer dtype, (B, H, W).

    Returns:
        bool (B, H, W), on the device of the input.
    """
    edges_BHW = torch.zeros(instance_BHW.shape, dtype=torch.bool, device=instance_BHW.device)
    across = instance_BHW[:, :, 1:] != instance_BHW[:, :, :-1]
    edges_BHW[:, :, 1:] |= across
    edges_BHW[:, :, :-1] |= across
    down = instance_BHW[:, 1:, :] != instance_BHW[:, :-1, :]
    edges_BHW[:, 1:, :] |= down
    edges_BHW[:, :-1, :] |= down
    return edges_BHW


def one_hot(label_BHW: Tensor, *, num_classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Give each class a channel that is 1 where the label map has that class.

    Args:
        label_BHW: Class ids in 0..num_classes-1, any integer dtype, (B, H, W).
        num_classes: Channels of the result.
        dtype: Dtype of the result.

    Returns:
        (B, num_classes, H, W), on the device of the input.

    Raises:
        InputError: A label lies outside 0..num_classes-1.
    """
    return condition(label_BHW, None, num_classes=num_classes, dtype=dtype)


def condition(
    label_BHW: Tensor,
    instance_BHW: Tensor | None,
    *,
    num_classes: int,
    features: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Make the generator's input: one-hot label map, boundary map of the instances, features.

    Args:
        label_BHW: Class ids in 0..num_classes-1, any integer dtype, (B, H, W).
        instance_BHW: Instance ids, any integer dtype, (B, H, W); None leaves the boundary map out.
        num_classes: Channels of the one-hot.
        features: Feature channels, floating, (B, F, H, W); None leaves them out.
        dtype: Dtype of the result.

    Returns:
        (B, num_classes + 1 + F, H, W), on the device of the inputs, stored channels last.

    Raises:
        InputError: A label lies outside 0..num_classes-1, or the sizes do not agree.

    Example:
        >>> label = torch.tensor([[[0, 0, 1], [0, 0, 1]]])
        >>> instance = torch.tensor([[[0, 0, 1000], [0, 0, 1000]]])
        >>> conditioning = condition(label, instance, num_classes=2)
        >>> for channel in conditioning[0].int().tolist():  # class 0, class 1, boundary
        ...     print(channel)
        [[1, 1, 0], [1, 1, 0]]
        [[0, 0, 1], [0, 0, 1]]
        [[0, 1, 1], [0, 1, 1]]
    """
    if label_BHW.numel():
        low, high = (int(value) for value in torch.aminmax(label_BHW.long()))
        if low < 0 or high >= num_classes:
            raise InputError(
                f"label map: value {low if low < 0 else high}, expected 0..{num_classes - 1}"
            )
    batch, height, width = label_BHW.shape
    if instance_BHW is not None and instance_BHW.shape != label_BHW.shape:
        raise InputError(
            f"instance map: shape {tuple(instance_BHW.shape)}, "
            f"expected {tuple(label_BHW.shape)} as the label map"
        )
    if features is not None and features.shape != (batch, features.shape[1], height, width):
        raise InputError(
            f"features: shape {tuple(features.shape)}, expected ({batch}, F, {height}, {width})"
        )
    return assemble(
        label_BHW, instance_BHW, num_classes=num_classes, features=features, dtype=dtype
    )


def assemble(
    label_BHW: Tensor,
    instance_BHW: Tensor | None,
    *,
    num_classes: int,
    features: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Do what `condition` does for maps that were checked before: nothing waits for the device."""
    batch, height, width = label_BHW.shape
    edge_channels = 0 if instance_BHW is None else 1
    feature_channels = 0 if features is None else features.shape[1]
    conditioning_BCHW = torch.empty(
        (batch, num_classes + edge_channels + feature_channels, height, width),
        dtype=dtype,
        device=label_BHW.device,
        memory_format=torch.channels_last,
    ).zero_()
    conditioning_BCHW.scatter_(1, label_BHW.long().unsqueeze(1), 1)
    if instance_BHW is not None:
        conditioning_BCHW[:, num_classes] = boundary_map(instance_BHW).to(dtype)
    if features is not None:
        conditioning_BCHW[:, num_classes + edge_channels :] = features.to(dtype)
    return conditioning_BCHW
