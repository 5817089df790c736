"""Maps -> refined maps: the affine map or homography by which the aligned pixels come to be the same.

Steps of Lucas and Kanade for a whole map (Baker and Matthews, "Lucas-Kanade 20 years on", IJCV 2004), on
contrast-normalised pixels. Where the images differ more than elsewhere, they count less (robust estimation of motion:
Odobez and Bouthemy, JVCIR 1995; the weights are those of Geman and McClure): windows at the edge of a copy see the
host, and text on it, what hides it, or another plane would draw the map away from what does fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from localmatch.geometry import Affine, box_around, compose, level_frame
from localmatch.records import Level, Mapping
from localmatch.views import View
from localmatch.warping import normalised, slopes, warp

AFFINE, PLANE = 6, 8
"""How a map may change: the parameters of an affine map, or of a homography."""

NEAR, FAR = (0,), (3, 0)
"""Maps are refined on the finest levels from these indices on, in turn: thin lines that are far off meet on a coarse
level only."""

SHORT_SIDE = 600
"""But on none of a larger short side."""

ROUNDS, STILL = 12, 0.02
"""Steps at most, on each level; and of how many level pixels a step is the last."""

FEWEST, START = 200, 0.1
"""Pixels that tell a map; and their correlation before, below which nothing is tried: of the 3,368 maps that a few
images were looked at with, 40% have less, and none of the 48 that showed a copy."""

WINDOW, AROUND, ENERGY_FLOOR, LEAST_APART = 3.0, 4, 0.1, 0.05
"""Standard deviation, in level pixels, of the Gaussian windows in which images differ; pixels around what takes part
that they see; what is added to their energy, and the share of it by which images differ anyway."""

SLOPE = 1e-4
"""Squared gradient, of contrast-normalised pixels, from which a pixel tells anything."""

SAMPLES = 8000
"""Pixels of which a step is computed, if there are so many."""

RIDGE = 1e-6
"""Share of the mean of what the parameters are told that is added to each, for those of which nothing is."""

MOST_CHANGE = 0.3
"""A refinement that changes the linear part by more has run away; one that found perspective changed it by 0.13."""

Matrix = NDArray[np.float64]
"""Of a homography, (3, 3)."""


def refined(
    view: View,
    reference: list[Level],
    affine: Affine,
    mask: NDArray[np.bool_],
    motion: int,
    from_levels: Sequence[int] = NEAR,
) -> Mapping | None:
    """The map near `affine` by which most of the pixels of a mask are the same as the reference's.

    Args:
        view: Where on the query.
        reference: Pyramid of the reference.
        affine: (2, 3) query -> reference.
        mask: (h, w) which pixels of the view take part.
        motion: `AFFINE` or `PLANE`.
        from_levels: `NEAR` or `FAR`.

    Returns:
        None where there is too little to tell it by, or where it runs away.
    """
    unit, change = _unit(view, mask), np.eye(3)
    mapping = Mapping(affine)
    for level in (_level(view, first) for first in from_levels):
        chosen = view.on_level(mask.astype(np.float32), level)
        box = box_around(chosen, AROUND)
        own, chosen = normalised(level.gray.numpy())[box], chosen[box]
        pixels = _inverse(np.vstack([level_frame(level, box[1].start, box[0].start), [0, 0, 1]])) @ unit
        for number in range(ROUNDS):
            warped, inside = warp(reference, level, mapping)
            other, weight = normalised(warped)[box], chosen * inside[box]
            if number == 0 and not _promising(own, other, weight > 0.5):
                return None
            step = _step(own, other, weight, pixels, motion)
            change = change @ step
            if np.abs(change / change[2, 2] - np.eye(3))[:, :2].max() > MOST_CHANGE:
                return None
            mapping = _changed(view, affine, unit @ change @ _inverse(unit))
            if np.abs(step - np.eye(3)).max() * pixels[0, 0] < STILL:
                break
    return mapping


def _level(view: View, first: int) -> Level:
    small = (one for one in view.finest(first, len(view.levels)) if min(one.gray.shape) <= SHORT_SIDE)
    return next(small, view.levels[-1])


def _unit(view: View, mask: NDArray[np.bool_]) -> Matrix:
    """From coordinates about the middle of a mask of a view, of about -1 to 1, to positions on the query."""
    rows, columns = box_around(mask)
    half = max(rows.stop - rows.start, columns.stop - columns.start, 2) / 2
    (left, top), middle = view.corner, ((columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2)
    return np.array([[half, 0, left + middle[0]], [0, half, top + middle[1]], [0, 0, 1]])


def _changed(view: View, affine: Affine, plane: Matrix) -> Mapping:
    """An affine map after a homography of the query."""
    plane = plane / plane[2, 2]
    if not plane[2, :2].any():
        return Mapping(compose(affine, plane[:2]))
    places = np.indices(view.size[::-1], np.float64)[::-1].transpose(1, 2, 0) + view.corner + 0.5
    flow = cv2.perspectiveTransform(places, plane) - places
    return Mapping(affine, flow.astype(np.float32), view.corner, projective=True)


def _promising(own: NDArray[np.float32], other: NDArray[np.float32], chosen: NDArray[np.bool_]) -> bool:
    """Whether there are enough chosen pixels, and they correlate at all."""
    if chosen.sum() < FEWEST:
        return False
    one, two = own[chosen] - own[chosen].mean(), other[chosen] - other[chosen].mean()
    return bool((one * two).sum() > START * np.sqrt((one * one).sum() * (two * two).sum()))


def _step(
    own: NDArray[np.float32], other: NDArray[np.float32], weight: NDArray[np.float32], pixels: Matrix, motion: int
) -> Matrix:
    """The change of the map by which `other` comes nearer to `own`.

    Args:
        own, other: (h, w) contrast-normalised images.
        weight: (h, w) of the pixels.
        pixels: From the coordinates in which the change is told to pixels.
        motion: `AFFINE` or `PLANE`.
    """
    difference, (dx, dy) = other - own, slopes(own, other)
    slope = weight * (dx * dx + dy * dy)
    rows, columns = np.nonzero(slope > SLOPE)
    every = len(rows) // SAMPLES + 1
    rows, columns = rows[::every], columns[::every]
    if not len(rows):
        return np.eye(3)
    apart, energy = (cv2.GaussianBlur(one * one, (0, 0), WINDOW)[rows, columns] for one in (difference, own))
    apart = apart / (energy + ENERGY_FLOOR)
    usual = max(LEAST_APART, float(np.average(apart, weights=slope[rows, columns])))
    counts = weight[rows, columns] / (1 + (apart / usual) ** 2) ** 2
    x, y = (columns - pixels[0, 2]) / pixels[0, 0], (rows - pixels[1, 2]) / pixels[1, 1]
    dx, dy = dx[rows, columns] * pixels[0, 0], dy[rows, columns] * pixels[1, 1]
    along = dx * x + dy * y
    equations = np.stack([dx, dy, dx * x, dx * y, dy * x, dy * y, along * x, along * y][:motion])
    normal = (equations * counts) @ equations.T
    normal += np.eye(motion) * (RIDGE * np.trace(normal) / motion)
    found = np.zeros(PLANE)
    found[:motion] = np.linalg.solve(normal, -(equations * counts) @ difference[rows, columns])
    a, b, c, d, e, f, g, h = found
    return np.array([[1 + c, d, a], [e, 1 + f, b], [-g, -h, 1]])


def _inverse(matrix: Matrix) -> Matrix:
    return np.asarray(np.linalg.inv(matrix), np.float64)
