"""Verified alignments -> heatmaps: evidence on the query's own pixels, absolute, smoothed over what is flat."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SMOOTHING = 5.0
"""Standard deviation, in query pixels, over which evidence is averaged; weighted by structure."""

FLAT_WEIGHT = 0.02
"""Weight of a pixel without structure: flat areas take the evidence of what surrounds them."""


def smooth_evidence(evidence: NDArray[np.float32], support: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average evidence over its surrounding, each pixel by its structure (normalised convolution, Knutsson 1993).

    Args:
        evidence: (H, W) float32 in [0, 1].
        support: (H, W) float32 in [0, 1].

    Returns:
        (H, W) float32 in [0, 1].
    """
    weight = support + np.float32(FLAT_WEIGHT)
    total = cv2.GaussianBlur(weight, (0, 0), SMOOTHING)
    return np.asarray(cv2.GaussianBlur(evidence * weight, (0, 0), SMOOTHING) / total, np.float32)
