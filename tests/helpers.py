"""Photos that scikit-image bundles, and small helpers that tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

TRAIN = ("chelsea", "coffee", "rocket", "camera", "coins", "page")
CLEAN = ("brick", "gravel", "grass", "immunohistochemistry")


def photo(name: str) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(np.asarray(getattr(data, name)())).convert("RGB"))


def save(image: NDArray[np.uint8], path: Path) -> Path:
    Image.fromarray(image).save(path)
    return path


def box_iou(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (first, second))
    return shared / (areas - shared)
