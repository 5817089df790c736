"""A box of the query at all levels: what verification looks at, so that its cost follows the size of the copy."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from localmatch.descriptor.network import STRIDE
from localmatch.geometry import Affine, compose, level_frame
from localmatch.records import Box, Encoded, Level


@dataclass(frozen=True)
class View:
    """A box of the query, of whole pixels.

    Attributes:
        corner: (x, y) query pixel in its corner.
        size: (width, height) in query pixels.
        levels: The pyramid's levels, cut to whole cells around the box.
        maps: Dense (h, w, 64) int8 descriptor maps by level index, cut in the same way.
    """

    corner: tuple[int, int]
    size: tuple[int, int]
    levels: tuple[Level, ...]
    maps: dict[int, NDArray[np.int8]]

    @property
    def slices(self) -> tuple[slice, slice]:
        """Where the view lies in a (H, W) map of the query."""
        (x, y), (width, height) = self.corner, self.size
        return slice(y, y + height), slice(x, x + width)

    def finest(self, first: int, count: int) -> tuple[Level, ...]:
        """The finest levels from an index on; of tiny images, whose levels are all finer, the coarsest."""
        return tuple(one for one in self.levels if one.index >= first)[:count] or self.levels[-1:]

    def pixel_frame(self, level: Level) -> Affine:
        """From pixel indices of a level to pixel indices of the view."""
        matrix = level_frame(level)
        matrix[:, 2] -= np.array(self.corner) + 0.5
        return matrix

    def resample(self, values: NDArray[np.float32], level: Level) -> NDArray[np.float32]:
        """A map of a level's pixels, with or without channels, on the view's pixels, bilinearly."""
        frame = self.pixel_frame(level)
        return np.asarray(cv2.warpAffine(values, frame, self.size, borderMode=cv2.BORDER_REPLICATE), np.float32)

    def on_level(self, values: NDArray[np.float32], level: Level) -> NDArray[np.float32]:
        """A map of the view's pixels on a level's pixels, bilinearly."""
        size, flags = level.gray.shape[::-1], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(values, self.pixel_frame(level), size, flags=flags), np.float32)

    def to_pixels(self, cells: NDArray[np.float32], level: Level) -> NDArray[np.float32]:
        """A map of cells on the view's pixels, bilinearly."""
        matrix = compose(self.pixel_frame(level), np.array([[STRIDE, 0, 0], [0, STRIDE, 0]], np.float64))
        return np.asarray(cv2.warpAffine(cells, matrix, self.size, borderMode=cv2.BORDER_REPLICATE), np.float32)


def view_of(encoded: Encoded, box: Box) -> View:
    """The part of an encoded query that a box covers; boxes over the edge are cut off."""
    width, height = encoded.size
    x0, y0 = min(max(int(box[0]), 0), width - 1), min(max(int(box[1]), 0), height - 1)
    x1, y1 = max(min(int(np.ceil(box[2])), width), x0 + 1), max(min(int(np.ceil(box[3])), height), y0 + 1)
    levels, maps = [], {}
    for level in encoded.levels:
        (sx, sy), dense = level.scale, encoded.maps[level.index]
        left, right = _cells(x0 / sx, x1 / sx, dense.shape[1])
        top, bottom = _cells(y0 / sy, y1 / sy, dense.shape[0])
        gray = level.gray[top * STRIDE : bottom * STRIDE, left * STRIDE : right * STRIDE]
        levels.append(Level(level.index, level.scale, gray, (left * STRIDE * sx, top * STRIDE * sy)))
        maps[level.index] = dense[top:bottom, left:right]
    return View((x0, y0), (x1 - x0, y1 - y0), tuple(levels), maps)


def _cells(first: float, last: float, count: int) -> tuple[int, int]:
    """The cells that cover a range of level pixels, one at least."""
    start = min(max(int(first // STRIDE), 0), count - 1)
    return start, max(min(int(last // STRIDE) + 1, count), start + 1)
