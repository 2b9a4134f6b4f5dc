"""The feature encoder: the style of each object of a photo (paper, section 3.4).

Shapes: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor, nn

from hdmodel.architecture import EncoderConfig
from hdmodel.layers import ConvNormReLU, Head, Upsample, arrange, pad_to_multiple


class FeatureEncoder(nn.Module):
    """An encoder-decoder whose output is averaged over each object."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        levels = range(config.downsamplings)
        widths = [config.base_channels * 2**level for level in range(config.downsamplings + 1)]
        self.stem = ConvNormReLU(config.in_channels, widths[0], kernel=7, stride=1)
        self.down = nn.Sequential(
            *(ConvNormReLU(widths[i], widths[i + 1], kernel=3, stride=2) for i in levels)
        )
        self.up = nn.Sequential(*(Upsample(widths[i + 1], widths[i]) for i in reversed(levels)))
        self.head = Head(widths[0], config.out_channels)

    def forward(self, photo_BCHW: Tensor, instance_BHW: Tensor) -> Tensor:
        """Encode photos object by object.

        Args:
            photo_BCHW: Floating (B, in_channels, H, W) in [-1, 1], any height and width.
            instance_BHW: Instance ids, any integer dtype, (B, H, W).

        Returns:
            float32 (B, out_channels, H, W) in [-1, 1], constant over each object.
        """
        return average_over_instances(self.encode_pixels(photo_BCHW), instance_BHW)

    def encode_pixels(self, photo_BCHW: Tensor) -> Tensor:
        """Encode every pixel, to float32 (B, out_channels, H, W), before the average."""
        height, width = photo_BCHW.shape[-2:]
        multiple = 2**self.config.downsamplings
        x_BCHW = pad_to_multiple(
            arrange(photo_BCHW, self.head.conv.weight),
            multiple=multiple,
            smallest=max(2 * multiple, 4),
        )
        features_BCHW: Tensor = self.head(self.up(self.down(self.stem(x_BCHW))))
        return features_BCHW[..., :height, :width]


def average_over_instances(features_BCHW: Tensor, instance_BHW: Tensor) -> Tensor:
    """Replace every feature by its mean over the object it belongs to.

    Objects of different samples are apart even where their ids are equal.

    Args:
        features_BCHW: Floating (B, C, H, W).
        instance_BHW: Instance ids, any integer dtype, (B, H, W).

    Returns:
        The same shape and dtype as the features.
    """
    batch = len(instance_BHW)
    sample_B11 = torch.arange(batch, device=instance_BHW.device).view(-1, 1, 1)
    low, high = torch.aminmax(instance_BHW.long())
    key_BHW = sample_B11 * (high - low + 1) + (instance_BHW.long() - low)
    objects_K, object_BHW = torch.unique(key_BHW, return_inverse=True)
    return average_over_objects(features_BCHW, object_BHW, count=len(objects_K))


def average_over_objects(features_BCHW: Tensor, object_BHW: Tensor, *, count: int) -> Tensor:
    """Replace features by the mean of their numbered object: nothing waits for the device.

    Args:
        features_BCHW: Floating (B, C, H, W).
        object_BHW: The number of each pixel's object in 0..count-1, int64 (B, H, W); objects of
            different samples have different numbers.
        count: At least the number of objects.

    Returns:
        The same shape and dtype as the features.
    """
    batch, channels, height, width = features_BCHW.shape
    object_N = object_BHW.flatten()
    features_NC = features_BCHW.permute(0, 2, 3, 1).reshape(-1, channels)
    # The last column counts pixels.
    summed_NC = torch.cat([features_NC.double(), features_NC.new_ones(len(object_N), 1)], dim=1)
    sums_KC = summed_NC.new_zeros((count, channels + 1)).index_add_(0, object_N, summed_NC)
    means_KC = (sums_KC[:, :-1] / sums_KC[:, -1:].clamp(min=1)).to(features_BCHW.dtype)
    means_BHWC: Tensor = means_KC[object_N].view(batch, height, width, channels)
    return means_BHWC.permute(0, 3, 1, 2)
