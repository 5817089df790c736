"""How a whole part of a query looks from afar, beside the reference: in a band of coarse detail.

Noise, blur, recompression and what was smoothed or drawn anew change fine detail, and leave coarse detail, which then
correlates at 0.999 and more. A second photograph, from a step aside or in another light, correlates at less than 0.998.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from localmatch.geometry import Affine, box_around
from localmatch.records import Level, Mapping
from localmatch.views import View
from localmatch.warping import warp

COARSE_LEVEL, STEP = 4, 4
"""Images are taken from the finest level from this index on, which shows every fourth pixel."""

BAND, EDGE = 2.5, 2
"""In such steps: standard deviation of the finer of the two Gaussians whose difference is the band, the other's is
twice as large; and what is left out along the edge of a part, where the windows are cut. Finer bands see more noise,
coarser ones hold too few waves to tell."""

LEAST_AREA = 16
"""Where fewer steps are left, nothing can be told."""


def coarse(view: View) -> NDArray[np.float32]:
    """A view as it looks from afar, (h, w) gray in [0, 1]."""
    (level,) = view.finest(COARSE_LEVEL, 1)
    return view.resample(level.gray.numpy(), level)


def coarse_reference(view: View, reference: list[Level], mapping: Mapping) -> NDArray[np.float32]:
    """The reference as it would look on a view from afar, (h, w) gray in [0, 1]."""
    (level,) = view.finest(COARSE_LEVEL, 1)
    warped, _ = warp(reference, level, mapping)
    return view.resample(warped, level)


def look_from_afar(view: View, reference: list[Level], affine: Affine) -> float:
    """Band correlation of a whole view with the aligned reference; 0 where it is too small to tell."""
    everything = np.ones(view.size[::-1], bool)
    return band_correlation(coarse(view), coarse_reference(view, reference, Mapping(affine)), everything) or 0.0


def band_correlation(own: NDArray[np.float32], other: NDArray[np.float32], area: NDArray[np.bool_]) -> float | None:
    """Correlation of two images over a whole area, in a band of coarse detail.

    Unlike the mean of local correlations, it weighs strong detail more, which noise hides less.

    Args:
        own, other: (H, W) float32 images, from `coarse` and `coarse_reference`.
        area: (H, W) bool, what is compared; beyond it, nothing is looked at.

    Returns:
        In [-1, 1]; 0 where an image is flat, None where the area is too small to tell.
    """
    rows, columns = box_around(area)
    box = np.s_[rows.start : rows.stop : STEP, columns.start : columns.stop : STEP]
    within = np.pad(area[box], 1).astype(np.uint8)
    side = 2 * EDGE + 1
    core = cv2.erode(within, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))[1:-1, 1:-1] > 0
    if core.sum() < LEAST_AREA:
        return None
    weight = within[1:-1, 1:-1].astype(np.float32)
    a, b = (_band(image[box], weight)[core].astype(np.float64) for image in (own, other))
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-12))


def _band(image: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The band of an image (h, w), from what has weight only (normalised convolution, Knutsson 1993)."""

    def around(sigma: float) -> NDArray[np.float32]:
        total = cv2.GaussianBlur(weight, (0, 0), sigma)
        return np.asarray(cv2.GaussianBlur(image * weight, (0, 0), sigma) / np.maximum(total, 1e-3), np.float32)

    return around(BAND) - around(2 * BAND)
