"""References as they would look on a query: warped by an affine map and, where there is one, by a flow before it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from localmatch.descriptor.network import LocalContrastNorm, local_mean
from localmatch.geometry import Affine, compose, fit_affine, invert, level_frame, project, scale_of
from localmatch.records import Level, Mapping

CONTRAST_WINDOW = 21
"""Side of the windows, in level pixels, in which images are normalised before they are brought into register."""


def warp(
    reference: list[Level], level: Level, mapping: Mapping, around: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The reference as it would look on a query level, (h, w) gray, and whether each pixel lies on the reference.

    Args:
        reference: Pyramid of the reference.
        level: Level of the query, or a part of it.
        mapping: Query -> reference.
        around: Level pixels by which the result is larger on each side.
    """
    wanted = level.index + 2 * np.log2(scale_of(mapping.affine))
    # Rather a source a little too fine than one too coarse.
    source = min(reference, key=lambda one: abs(one.index + 0.25 - wanted))
    onto = compose(invert(level_frame(source)), mapping.affine)
    frame = level_frame(level, -around, -around)
    size = level.gray.shape[1] + 2 * around, level.gray.shape[0] + 2 * around
    gray = source.gray.numpy()
    if mapping.flow is None:
        matrix, flags = compose(onto, frame), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(gray, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        inside = _inside(matrix, size, gray.shape)
    else:
        places = cv2.transform(_moved(mapping, frame, size), onto)
        warped = cv2.remap(gray, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        inside = cv2.remap(np.ones_like(gray), places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) > 0.5
    return np.asarray(warped, np.float32), inside


def _inside(matrix: Affine, size: tuple[int, int], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which pixels of a (width, height) image come from within a source (h, w), to whose pixels the matrix leads."""
    corners = project(matrix, np.array([[x, y] for x in (0, size[0] - 1) for y in (0, size[1] - 1)]))
    if (corners >= 0).all() and (corners <= np.array(shape[::-1]) - 1).all():
        return np.ones(size[::-1], bool)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(np.ones(shape, np.float32), matrix, size, flags=flags) > 0.5)


def normalised(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """An image (h, w) without local brightness and contrast, like `LocalContrastNorm` without its tensors."""
    shifted = image - np.float32(0.5)
    mean, square = (local_mean(one, CONTRAST_WINDOW) for one in (shifted, shifted * shifted))
    deviation = np.sqrt(np.maximum(square - mean * mean, 0))
    return np.asarray((shifted - mean) / (deviation + LocalContrastNorm.FLOOR), np.float32)


def slopes(own: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Derivatives by x and y, per pixel, of the mean of two images (h, w) that nearly show the same."""
    both = (own + other) / 2
    dx, dy = (cv2.Sobel(both, cv2.CV_32F, *order, ksize=3) / 8 for order in ((1, 0), (0, 1)))
    return dx, dy


def _moved(mapping: Mapping, frame: Affine, size: tuple[int, int]) -> NDArray[np.float32]:
    """Query positions of the pixels of a (width, height) image, (h, w, 2), after the flow.

    Args:
        mapping: One with a flow.
        frame: From pixel indices of the image to query positions.
        size: Of the image.
    """
    to_flow = frame.copy()
    to_flow[:, 2] -= np.array(mapping.corner) + 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    flow = cv2.warpAffine(mapping.flow, to_flow, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    rows, columns = np.indices(size[::-1], np.float32)
    return np.asarray(flow + cv2.transform(np.dstack([columns, rows]), frame), np.float32)


def affine_within(mask: NDArray[np.bool_], mapping: Mapping) -> Affine:
    """The affine map that is nearest to a mapping over a (H, W) mask of the query."""
    if mapping.flow is None:
        return mapping.affine
    rows, columns = np.nonzero(mask)
    (height, width), (x, y) = mapping.flow.shape[:2], mapping.corner
    moved = mapping.flow[(rows - y).clip(0, height - 1), (columns - x).clip(0, width - 1)]
    xy = np.stack([columns, rows], 1) + 0.5
    return fit_affine(xy.astype(np.float64), project(mapping.affine, xy + moved), np.ones(len(xy)))
