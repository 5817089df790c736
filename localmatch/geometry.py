"""Affine maps between images, as (2, 3) float64 arrays."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from localmatch.records import Box, Level

Affine = NDArray[np.float64]

SQUARE, TILT = 8, np.radians(30)
POSES = SQUARE + 2
"""The symmetries of the square: as it is, in a mirror, and both turned by one to three right angles. After them, as it
is but tilted by an angle, to either side: descriptors take 15 degrees more or less."""


def project(affine: Affine, xy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Map (N, 2) positions."""
    return np.asarray(xy @ affine[:, :2].T + affine[:, 2], np.float64)


def box_around(mask: NDArray[np.generic], by: int = 0) -> tuple[slice, slice]:
    """Rows and columns of what is not 0 in a mask (H, W), and so many more on each side; none where all is 0."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(max(rows[0] - by, 0), rows[-1] + 1 + by), slice(max(columns[0] - by, 0), columns[-1] + 1 + by)


def scale_of(affine: Affine) -> float:
    """Target pixels per source pixel."""
    return float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))


def compose(second: Affine, first: Affine) -> Affine:
    """The map that applies `first`, then `second`."""
    linear = second[:, :2] @ first[:, :2]
    return np.column_stack([linear, second[:, :2] @ first[:, 2] + second[:, 2]])


def invert(affine: Affine) -> Affine:
    """The inverse map."""
    return np.asarray(cv2.invertAffineTransform(affine), np.float64)


def level_frame(level: Level, x: int = 0, y: int = 0) -> Affine:
    """From pixel indices of a level to image positions.

    Args:
        level: The level.
        x, y: Level pixel from which indices count.
    """
    # Indices have their whole numbers at the centres of pixels, positions at the corners.
    (sx, sy), (left, top) = level.scale, level.corner
    return np.array([[sx, 0, left + (x + 0.5) * sx], [0, sy, top + (y + 0.5) * sy]])


def pose_frame(pose: int, size: tuple[int, int] = (0, 0)) -> Affine:
    """From positions in an image of (width, height) to those in the image in a pose.

    Args:
        pose: One of `POSES`: in a mirror where it is odd, and turned by `pose // 2` times `numpy.rot90` then; from
            `SQUARE` on tilted, on an image that is as much larger as that takes.
        size: (width, height) before.
    """
    if pose >= SQUARE:
        sine, cosine = (-1) ** pose * np.sin(TILT), np.cos(TILT)
        linear = np.array([[cosine, sine], [-sine, cosine]])
        return np.column_stack([linear, -np.minimum(linear * size, 0).sum(1)])
    frame = np.array([[-1.0, 0, size[0]], [0, 1, 0]]) if pose % 2 else np.eye(2, 3)
    for turn in range(pose // 2):
        frame = compose(np.array([[0.0, 1, 0], [-1, 0, size[turn % 2]]]), frame)
    return frame


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes; 0 for boxes without area."""
    width = max(min(first[2], second[2]) - max(first[0], second[0]), 0.0)
    height = max(min(first[3], second[3]) - max(first[1], second[1]), 0.0)
    union = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (first, second)) - width * height
    return width * height / union if union > 0 else 0.0


def fit_affine(source: NDArray[np.float64], target: NDArray[np.float64], weight: NDArray[np.float64]) -> Affine:
    """Weighted least-squares affine map, drawn to a similarity where the points decide little.

    Args:
        source, target: (N, 2) positions.
        weight: (N,) positive weights.
    """
    centre = np.average(source, axis=0, weights=weight)
    x, y = (source - centre).T
    spread = np.sqrt(np.average(x * x + y * y, weights=weight)) + 1e-9
    root = np.sqrt(weight / weight.sum())
    zero, one = np.zeros_like(x), np.ones_like(x)
    # target = (a x + b y + tx, c x + d y + ty)
    equations = np.concatenate([np.stack([x, y, zero, zero, one, zero], 1), np.stack([zero, zero, x, y, zero, one], 1)])
    values = target.T.ravel()
    moved = (target - np.average(target, axis=0, weights=weight)) * weight[:, None]
    sign = -1.0 if np.linalg.det((source - centre).T @ moved) < 0 else 1.0
    # A similarity has a = d and b = -c, a mirrored one a = -d and b = c: two soft equations worth one point.
    prior = spread / np.sqrt(len(source)) * np.array([[1, 0, 0, -sign, 0, 0], [0, 1, sign, 0, 0, 0]])
    rows = np.vstack([equations * np.tile(root, 2)[:, None], prior])
    a, b, c, d, tx, ty = np.linalg.lstsq(rows, np.r_[values * np.tile(root, 2), 0, 0], rcond=None)[0]
    linear = np.array([[a, b], [c, d]])
    return np.column_stack([linear, np.array([tx, ty]) - linear @ centre])
