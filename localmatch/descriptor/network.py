"""The dense descriptor network: one fully convolutional pass a pyramid level.

Every output cell describes the 32 x 32 level pixels around it, so all patches of a level share one pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 4
"""Level pixels between neighbouring cells of the descriptor map."""

DIMENSION = 64
"""Length of a descriptor."""

CONTRAST_WINDOW = 13
"""Side of the windows in which contrast is normalised. With 21, more of the host reaches into small pieces."""


class LocalContrastNorm(nn.Module):
    """Subtract the local mean and divide by the local standard deviation (Jarrett et al., ICCV 2009).

    Blind to brightness and contrast. `FLOOR` keeps the noise of flat areas small.

    Shape: (B, 1, H, W) float32 in [0, 1] -> the same shape, about zero mean and unit variance.
    """

    FLOOR = 0.02

    def __init__(self, window: int) -> None:
        """Normalise in square windows of this odd side."""
        super().__init__()
        self.window = window

    def forward(self, image: Tensor) -> Tensor:
        """Normalise; see the class."""
        above, deviation = about_local_mean(image, self.window)
        return above / (deviation + self.FLOOR)


def about_local_mean(image: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """How far pixels (B, 1, H, W) are above the mean of a square window around them, and its standard deviation."""
    # The shift by 0.5 keeps E[x^2] - E[x]^2 well conditioned in float32.
    shifted = image - 0.5
    mean, square = box_mean(shifted, window), box_mean(shifted * shifted, window)
    return shifted - mean, (square - mean * mean).clamp_min_(0).sqrt_()


def box_mean(maps: Tensor, window: int) -> Tensor:
    """`local_mean` of each map; (B, C, H, W) -> the same shape."""
    means = np.stack([local_mean(plane, window) for plane in maps.flatten(0, 1).cpu().numpy()])
    return torch.from_numpy(means).to(maps.device).view_as(maps)


def local_mean(image: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Mean over an odd window around each pixel, edges replicated; (H, W) -> the same shape.

    Running sums cost the same at every window. OpenCV's, in double precision, normalise 1024 x 1024 pixels in a quarter
    of the time that `torch.cumsum` takes.
    """
    return np.asarray(cv2.blur(image, (window, window), borderType=cv2.BORDER_REPLICATE), np.float32)


class DescriptorNet(nn.Module):
    """Seven convolutions, stride 4, receptive field 37 level pixels, unit vectors of 64 dimensions.

    Shape: (B, 1, H, W) float32 gray in [0, 1] -> (B, 64, ceil(H / 4), ceil(W / 4)). Cell (i, j) is centred on level
    pixel (4 i, 4 j).
    """

    def __init__(self) -> None:
        super().__init__()
        self.contrast = LocalContrastNorm(CONTRAST_WINDOW)
        self.features = nn.Sequential(
            *_block(1, 16, kernel=5, stride=2),
            *_block(16, 32),
            *_block(32, 64, stride=2),
            *_block(64, 96),
            *_block(96, 96),
            *_block(96, 96),
            nn.Conv2d(96, DIMENSION, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Describe; see the class."""
        return functional.normalize(self.features(self.contrast(image)).float(), dim=1)


def _block(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs, affine=False),
        nn.ReLU(inplace=True),
    ]


def read_at(descriptor_map: Tensor, xy: Tensor) -> Tensor:
    """Read descriptors off a map at level positions, bilinearly.

    Args:
        descriptor_map: (B, C, h, w) output of `DescriptorNet`.
        xy: (B, N, 2) positions in level pixels; (0, 0) is the image's top-left corner, so that the centre of the first
            pixel is at (0.5, 0.5).

    Returns:
        (B, N, C) unit vectors.
    """
    height, width = descriptor_map.shape[-2:]
    cells = (xy - 0.5) / STRIDE
    extent = torch.tensor([max(width - 1, 1), max(height - 1, 1)], dtype=xy.dtype, device=xy.device)
    grid = (2 * cells / extent - 1).unsqueeze(1)
    read = functional.grid_sample(descriptor_map, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return functional.normalize(read.squeeze(2).transpose(1, 2), dim=-1)


def cells_around(xy: Tensor, shape: Sequence[int]) -> Tensor:
    """Cells of a map of a shape (h, w, ...) that `read_at` reads for (N, 2) positions: (h, w) bool."""
    height, width = shape[:2]
    first = ((xy - 0.5) / STRIDE).floor().long()
    wanted = torch.zeros(height, width, dtype=torch.bool)
    for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = (first + torch.tensor([right, below])).unbind(1)
        wanted[row.clamp(0, height - 1), column.clamp(0, width - 1)] = True
    return wanted
