"""Multiscale patches: a pyramid of half-octave levels, and on each level patches at the locally strongest corners.

The centre of a patch is a corner (Shi-Tomasi), not a grid point, so that the same scene point gives the same centre
however the copy was cropped or shifted. A budget bounds the patches of an image, spread over levels and over the image.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional

from localmatch.records import Level, Patches

PATCH = 32
"""Side of a patch, in level pixels."""

FINEST_SCALE = 0.5
"""Query pixels per level pixel of the finest level: a patch there sees 16 px, which regions of 60 px need."""

MAX_LEVEL_PIXELS = 1_100_000
"""Levels larger than this are left out, which bounds time and memory: 512 x 512 images still have their 0.5 level."""

MIN_SHORT_SIDE = 48
"""Levels whose short side is shorter, in level pixels, are left out."""

REFERENCE_SPACING, QUERY_SPACING = 16, 6
"""Side, in level pixels, of the window in which a patch centre is the strongest corner. Queries are denser, so that a
reference patch nearly always has a query patch at its place. Windows around each corner, and not the cells of a grid:
of the strongest third of reference corners, a crop shows 83 to 100% again at level 0, with grid cells 63 to 88%."""

MARGIN = 10
"""Level pixels between a patch centre and the image's edge; nearer, the patch would be mostly padding."""

MIN_DEVIATION = 3 / 255
"""Places whose 32 x 32 surrounding varies less than this (flat sky, paper) give no patch."""

CROWDING = 1.0
"""How much each further patch in a block of 4 x 4 spacings loses in log-saliency: spreads the budget over the image."""

QUERY_CONTRAST = 0.25
"""What log-saliency of queries is multiplied by before: with 1, as in references, pieces of less contrast than what is
around them, such as wood or denim, get no patches."""

LEVEL_SHARE = 0.75
"""A level's share of the budget grows with this power of the number of its corners. With 1, coarse levels, which find
copies that were scaled down, would have next to nothing; small regions need the finest."""


def pyramid(image: NDArray[np.uint8]) -> list[Level]:
    """The half-octave pyramid of an image, finest level first; empty for images too small or too thin.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    levels: list[Level] = []
    index = round(2 * np.log2(FINEST_SCALE))
    while True:
        w, h = map(int, on_level((width, height), index))
        if min(h, w) < MIN_SHORT_SIDE:
            return levels
        if h * w <= MAX_LEVEL_PIXELS:
            levels.append(Level(index, (width / w, height / h), torch.from_numpy(_resized(gray, h, w))))
        index += 1


def on_level(sides: ArrayLike, level: ArrayLike) -> NDArray[np.float64]:
    """Whole level pixels that sides of images, in pixels, have on levels; shapes broadcast."""
    return np.round(np.asarray(sides) / 2.0 ** (np.asarray(level) / 2))


def _resized(gray: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """An image at another size, through a triangle filter as wide as its pixels or the new ones, the larger."""
    if height >= gray.shape[0] and width >= gray.shape[1]:
        # The same filter, in an eighth of the time; where images shrink, OpenCV has none.
        return np.asarray(cv2.resize(gray, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    tensor = torch.from_numpy(gray)[None, None]
    size = (height, width)
    resized = functional.interpolate(tensor, size, mode="bilinear", antialias=True, align_corners=False)
    return np.asarray(resized[0, 0].numpy(), np.float32)


def find_patches(levels: list[Level], spacing: int, budget: int, contrast: float = 1.0) -> Patches:
    """Choose at most `budget` patches by saliency, spread over levels and over the image.

    Args:
        levels: From `pyramid`.
        spacing: Level pixels within which there is one patch.
        budget: The most patches, shared among levels as `LEVEL_SHARE` says.
        contrast: How much saliency counts, see `QUERY_CONTRAST`.
    """
    found = [_corners(level, spacing) for level in levels]
    weights = np.power([len(saliency) for _, saliency, _ in found], LEVEL_SHARE)
    parts = []
    remaining, weight_left = float(budget), float(weights.sum())
    # Coarsest first: what a small level cannot use of its share goes to the finer ones.
    for level, weight, (xy, saliency, block) in zip(levels[::-1], weights[::-1], found[::-1], strict=True):
        share = int(remaining * weight / weight_left) if weight_left > 0 else 0
        keep = _spread(contrast * np.log(saliency + 1e-12), block, share)
        remaining -= len(keep)
        weight_left -= weight
        parts.append(
            ((xy[keep] * level.scale).astype(np.float32), np.full(len(keep), level.index, np.int8), saliency[keep])
        )
    if not parts:
        return Patches(np.zeros((0, 2), np.float32), np.zeros(0, np.int8), np.zeros(0, np.float32))
    return Patches(*(np.concatenate(column) for column in zip(*parts[::-1], strict=True)))


def _corners(level: Level, spacing: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Corners that no other within half a spacing exceeds: level xy (N, 2), response (N,), block number (N,)."""
    gray = level.gray.numpy()
    response = cv2.cornerMinEigenVal(gray, blockSize=5, ksize=3)
    highest = cv2.dilate(response, np.ones((spacing | 1, spacing | 1), np.uint8))
    mean = cv2.boxFilter(gray, -1, (PATCH, PATCH))
    variance = cv2.sqrBoxFilter(gray, -1, (PATCH, PATCH)) - mean * mean
    found = (response == highest) & (response > 0) & (variance >= MIN_DEVIATION**2)
    found[:MARGIN] = found[-MARGIN:] = found[:, :MARGIN] = found[:, -MARGIN:] = False
    y, x = np.nonzero(found)
    block = (y // (4 * spacing)) * gray.shape[1] + x // (4 * spacing)
    return np.stack([x + 0.5, y + 0.5], 1).astype(np.float32), response[y, x], block


def _spread(worth: NDArray[np.float32], block: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Indices of `count` patches, best first: the k-th best of its block is worth k * CROWDING less."""
    order = np.lexsort((-worth, block))
    starts = np.r_[0, np.flatnonzero(np.diff(block[order])) + 1] if len(order) else np.zeros(0, int)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    return np.argsort(CROWDING * rank - worth, kind="stable")[:count]
