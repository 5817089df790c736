"""Images of the benchmarks: finding them, reading them at a common size, and what both benchmarks do to them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from localmatch.images import Source, expand, read
from localmatch.records import Box

Pixels = NDArray[np.uint8]
"""(H, W, 3) RGB."""


def images_in(folders: Iterable[Path]) -> list[Path]:
    """All images below folders."""
    return [Path(item.name) for item in expand(list(folders)) if isinstance(item, Source)]


def load(path: Path) -> Pixels:
    """An image as (H, W, 3) uint8 RGB."""
    return read(Source(str(path)))


def size_of(path: Path) -> tuple[int, int]:
    """(width, height) of an image as it is shown, from its head alone."""
    with Image.open(path) as image:
        width, height = image.size
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) > 4
    return (height, width) if turned else (width, height)


def limited(image: Pixels, side: int) -> tuple[Pixels, float]:
    """The image scaled down to at most `side`, and the scale."""
    shrink = min(1.0, side / max(image.shape[:2]))
    if shrink < 1:
        image = np.asarray(cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8)
    return image, shrink


def jpeg(image: Pixels, quality: int) -> Pixels:
    """The image after JPEG."""
    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=quality)
    return np.asarray(Image.open(data), np.uint8)


DIFFERENT, LARGEST_DIFFERENT = 16, 0.01
"""Pixels are different that are so many gray levels apart; images show the same where at most this share is."""


def shows_the_same(first: Path, second: Path, box: Box) -> bool:
    """Whether two images of one size show the same in a box, as drawings of one series do outside of what changes."""
    one, other = (cv2.cvtColor(load(path), cv2.COLOR_RGB2GRAY) for path in (first, second))
    if one.shape != other.shape:
        return False
    left, top, right, bottom = (max(0, round(value)) for value in box)
    apart = cv2.absdiff(one, other)[top:bottom, left:right] > DIFFERENT
    return bool(apart.mean() <= LARGEST_DIFFERENT)


CORNERS, CORNER_SPACING, CORNER_CONTRAST, EDGE_RATIO = 5, 13, 8 / 255, 10.0
"""A region must show so many corners, at most one in a window of so many pixels, of this contrast at least; where the
eigenvalues of the structure tensor have a greater ratio, it is an edge (Lowe, IJCV 2004): the steps of a strong slanted
edge have the response of weak corners."""


def shows_something(piece: Pixels, mask: NDArray[np.bool_]) -> bool:
    """Whether a region has what anyone could recognise: flat paper, sky, and a few straight edges have not.

    An affine map brings any three corners into register with any three others, so a region with hardly more could come
    from anywhere.
    """
    gray = cv2.cvtColor(piece, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    variance = cv2.sqrBoxFilter(gray, -1, (16, 16)) - cv2.boxFilter(gray, -1, (16, 16)) ** 2
    if (variance[mask] > (5 / 255) ** 2).mean() <= 0.25:
        return False
    return count_corners(piece, mask) >= CORNERS


def count_corners(image: Pixels, mask: NDArray[np.bool_]) -> int:
    """How many corners of some contrast an image has within a mask; what lies along an edge is none."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    larger, response = cv2.split(cv2.cornerEigenValsAndVecs(gray, 5, ksize=3))[:2]
    highest = cv2.dilate(response, np.ones((CORNER_SPACING, CORNER_SPACING), np.uint8))
    corner = (response == highest) & (response > _least_response()) & (larger < EDGE_RATIO * response)
    return int((corner & mask).sum())


@cache
def _least_response() -> float:
    """Shi-Tomasi response of the corner of a square of the least contrast."""
    square = np.zeros((64, 64), np.float32)
    square[32:, 32:] = CORNER_CONTRAST
    return float(cv2.cornerMinEigenVal(square, 5, ksize=3).max())
