"""What there is to compare at each pixel: contrast, and the part of it that is no straight edge."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from localmatch.descriptor.network import local_mean

HALF_CONTRAST = 4 / 255
"""Local standard deviation at which there is half as much to compare as there can be."""

CONTRAST_WINDOW, ROUNDNESS_WINDOW = 15, 3.0
"""Side of the window of contrast, and standard deviation of the Gaussian one of the structure tensor, in pixels."""

TEXTURE_WINDOW, TEXTURE_FROM, TEXTURE_TO = 12.0, 0.2, 0.4
"""Standard deviation in pixels of the Gaussian window in which texture is looked for, and the mean of what is distinct
there at which it begins and is full. Single corners, as of logos, are no texture."""


def structure(gray: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What there is to compare in an image, (h, w) float32 in [0, 1].

    Returns:
        support: (h, w) float32 in [0, 1), local contrast: 0 on flat paper or sky.
        distinct: (h, w) float32 in [0, 1), the part of it that is no straight edge or smooth outline, which all
            drawings share: support times the roundness of the structure tensor, 4 det / trace^2 (Foerstner and
            Guelch, 1987).
    """
    support = contrast(gray, CONTRAST_WINDOW)
    dx, dy = (cv2.Sobel(gray, cv2.CV_32F, *order, ksize=3) / 8 for order in ((1, 0), (0, 1)))
    xx, yy, xy = (cv2.GaussianBlur(one, (0, 0), ROUNDNESS_WINDOW) for one in (dx * dx, dy * dy, dx * dy))
    roundness = 4 * (xx * yy - xy * xy) / (np.square(xx + yy) + 1e-12)
    return support, np.asarray(support * roundness.clip(0), np.float32)


def contrast(gray: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Local contrast of an image (h, w), 0 where it is flat to nearly 1, in square windows of this odd side."""
    shifted = gray - np.float32(0.5)
    mean, square = (local_mean(one, window) for one in (shifted, shifted * shifted))
    variance = (square - mean * mean).clip(0)
    return np.asarray(variance / (variance + HALF_CONTRAST**2), np.float32)


def texture(distinct: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is distinct among much that is, (h, w) float32 in [0, 1): a flow can bring any outline onto any other.

    Args:
        distinct: (h, w), from `structure`.
    """
    around = cv2.GaussianBlur(distinct, (0, 0), TEXTURE_WINDOW)
    return np.asarray(distinct * ((around - TEXTURE_FROM) / (TEXTURE_TO - TEXTURE_FROM)).clip(0, 1), np.float32)
