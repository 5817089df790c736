"""Images of the benchmarks: finding them, reading them at a common size, and what both benchmarks do to them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from localmatch.images import Source, expand, read

Pixels = NDArray[np.uint8]
"""(H, W, 3) RGB."""


def images_in(folders: Iterable[Path]) -> list[Path]:
    """All images below folders."""
    return [Path(item.name) for item in expand(list(folders)) if isinstance(item, Source)]


def load(path: Path) -> Pixels:
    """An image as (H, W, 3) uint8 RGB."""
    return read(Source(str(path)))


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


def shows_something(piece: Pixels, mask: NDArray[np.bool_]) -> bool:
    """Whether a region has what anyone could recognise: flat paper or sky has not."""
    gray = cv2.cvtColor(piece, cv2.COLOR_RGB2GRAY).astype(np.float32)
    variance = cv2.sqrBoxFilter(gray, -1, (16, 16)) - cv2.boxFilter(gray, -1, (16, 16)) ** 2
    return bool((variance[mask] > 25).mean() > 0.25)
