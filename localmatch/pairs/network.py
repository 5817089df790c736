"""The pair network: two aligned images -> how likely each place of one is a copy of the other.

A siamese network whose branches meet early (Zagoruyko and Komodakis, "Learning to Compare Image Patches via
Convolutional Neural Networks", CVPR 2015), because what tells a ruined copy from a second photograph of the same carpet
lies in both: exact register and grain on the finest level, and how the pictures drift apart on coarser ones.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from localmatch.descriptor.network import STRIDE, about_local_mean

LEVELS = 4
"""Octaves that are looked at, from that of the images on; the places of the last see 270 pixels."""

BRANCH, JOINT = 16, 32
"""Channels of each image's branch, and of both together."""

CONTRAST_WINDOW, FLOOR, USUAL = 21, 0.02, 2.5
"""Side in pixels of the windows in which contrast is normalised; the deviation that stays next to nothing; and what
brings the logarithm of usual ones to about 0."""


class PairNet(nn.Module):
    """Symmetric in the two images; blind to their brightness, nearly so to their contrast.

    Shape: (B, 2, H, W) float32 gray in [0, 1] -> (B, ceil(H / 4), ceil(W / 4)) log-odds. Cell (i, j) is centred on
    pixel (4 i, 4 j).
    """

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(*_block(1, BRANCH, 5, stride=2))
        self.joint = nn.Sequential(
            *_block(3 * BRANCH + 2, JOINT, stride=2), *_block(JOINT, JOINT), *_block(JOINT, JOINT, dilation=2)
        )
        self.fusion = nn.Sequential(*_block(LEVELS * JOINT, JOINT, 1), *_block(JOINT, JOINT), nn.Conv2d(JOINT, 1, 1))

    def forward(self, pair: Tensor) -> Tensor:
        """Compare; see the class."""
        height, width = pair.shape[-2:]
        whole = STRIDE * 2 ** (LEVELS - 1)
        pair = functional.pad(pair, (0, -width % whole, 0, -height % whole), mode="replicate")
        seen = [self._compared(pair)]
        for level in range(1, LEVELS):
            joint = self._compared(functional.avg_pool2d(pair, 2**level))
            seen.append(functional.interpolate(joint, seen[0].shape[-2:], mode="bilinear", align_corners=False))
        odds: Tensor = self.fusion(torch.cat(seen, 1))[:, 0]
        return odds[:, : -(-height // STRIDE), : -(-width // STRIDE)]

    def _compared(self, pair: Tensor) -> Tensor:
        """(B, 2, H, W) -> (B, JOINT, H / 4, W / 4), on the images' own level."""
        pattern, contrast = _normalised(pair.flatten(0, 1)[:, None])
        patterns, contrasts = self.branch(pattern), functional.avg_pool2d(contrast, 2)
        first, second, one, other = patterns[::2], patterns[1::2], contrasts[::2], contrasts[1::2]
        symmetric = (first - second).abs(), first * second, first + second, (one - other).abs(), one + other
        joint: Tensor = self.joint(torch.cat(symmetric, 1))
        return joint


def _normalised(image: Tensor) -> tuple[Tensor, Tensor]:
    """Images (B, 1, H, W) without local brightness and contrast, and the logarithm of that contrast."""
    above, deviation = about_local_mean(image, CONTRAST_WINDOW)
    return above / (deviation + FLOOR), (deviation + FLOOR).log() + USUAL


def _block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> list[nn.Module]:
    padding = kernel // 2 * dilation
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
