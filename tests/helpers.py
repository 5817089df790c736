"""Photos that scikit-image bundles, and small helpers that tests share."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from localmatch.descriptor.encode import encode_query
from localmatch.descriptor.weights import load_descriptor
from localmatch.records import Encoded

TRAIN = ("chelsea", "coffee", "rocket", "camera", "coins", "page")
CLEAN = ("brick", "gravel", "grass", "immunohistochemistry")


def photo(name: str) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(np.asarray(getattr(data, name)())).convert("RGB"))


def save(image: NDArray[np.uint8], path: Path) -> Path:
    Image.fromarray(image).save(path)
    return path


def encoded(image: NDArray[np.uint8], budget: int = 500) -> Encoded:
    return encode_query(load_descriptor().network, image, budget)


def noisy(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).normal(0, 25, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


def bent(image: NDArray[np.uint8], amount: float, down: float, across: float) -> NDArray[np.uint8]:
    """The image after a smooth displacement of at most `amount` pixels, in waves of these lengths / 2 pi."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    shift = amount * np.dstack([np.sin(y / down), np.cos(x / across)])
    return cv2.remap(image, np.dstack([x, y]) + shift, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def box_iou(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0) * max(height, 0)
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (first, second))
    return shared / (areas - shared)
