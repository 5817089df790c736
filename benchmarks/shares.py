"""Numbers that both quality benchmarks tell: shares with their intervals, and how well a mask was drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest


def share(hits: Sequence[bool]) -> dict[str, float]:
    """A share with its 95% Wilson interval; only the count where there is nothing to share."""
    if not hits:
        return {"n": 0}
    interval = binomtest(sum(hits), len(hits)).proportion_ci(0.95, "wilson")
    return {"share": sum(hits) / len(hits), "n": len(hits), "low": float(interval.low), "high": float(interval.high)}


def mask_iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks."""
    return float((first & second).sum() / (first | second).sum())
