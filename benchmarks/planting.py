"""Queries with exact ground truth: one region of a reference, changed, pasted into a host that is in no index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.pictures import jpeg, limited, load, shows_something

CHANGES = ("plain", "mirror", "crop", "rescale", "rotate", "recompress", "recolour")
"""`crop` hangs over the query's edge, so that a part of the region is cut off; the others say what they do."""

AREAS = (0.02, 0.30)
"""Share of the query that the region covers, drawn log-uniformly."""

MAX_SIDE = 1024
"""Hosts and references are scaled down to this side, so that areas mean the same in every source."""


@dataclass(frozen=True)
class Planted:
    """A query and what was planted in it.

    Attributes:
        image: (H, W, 3) uint8.
        reference: Index of the reference.
        change: One of `CHANGES`.
        area: Share of the query that the region covers.
        query_box: (x0, y0, x1, y1) of the region.
        mask: (H, W) bool.
        affine: (2, 3) query -> reference, in pixels of the reference file.
    """

    image: NDArray[np.uint8]
    reference: int
    change: str
    area: float
    query_box: tuple[int, int, int, int]
    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]


def plant(references: Sequence[Path], hosts: Sequence[Path], change: str, seed: int) -> Planted:
    """Make one query; the same arguments give the same query."""
    rng = np.random.default_rng([seed, CHANGES.index(change)])
    host = limited(load(hosts[int(rng.integers(len(hosts)))]), MAX_SIDE)[0]
    while True:
        number = int(rng.integers(len(references)))
        reference, shrink = limited(load(references[number]), MAX_SIDE)
        area = float(np.exp(rng.uniform(*np.log(AREAS))))
        planted = _try(rng, host, reference, area, change)
        if planted is not None:
            image, mask, affine = planted
            ys, xs = np.nonzero(mask)
            box = int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1
            return Planted(image, number, change, float(mask.mean()), box, mask, affine / shrink)


def _try(
    rng: np.random.Generator, host: NDArray[np.uint8], reference: NDArray[np.uint8], area: float, change: str
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float64]] | None:
    """One draw of place, size and change; None where the region does not fit or shows nothing."""
    height, width = host.shape[:2]
    side, aspect = np.sqrt(area * width * height), np.exp(rng.uniform(-0.4, 0.4))
    w, h = int(side * aspect), int(side / aspect)
    scale = 2 ** rng.uniform(-1, 1) if change == "rescale" else 1.0  # query pixels per reference pixel
    angle = np.radians(rng.uniform(-15, 15)) if change == "rotate" else 0.0
    reach = np.array([w, h]) / 2 @ np.abs([[np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    size = np.array(reference.shape[1::-1])
    if w > width - 2 or h > height - 2 or (2 * reach + 2 > size).any():
        return None
    over = rng.uniform(0.15, 0.4) * w if change == "crop" else 0
    x = -over if change == "crop" else rng.integers(1, width - w)
    y = rng.integers(1, height - h)
    centre = np.array([x + w / 2, y + h / 2])
    target = rng.uniform(reach + 1, size - reach - 1)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    if change == "mirror":
        linear = linear * [-1, 1]
    affine = np.column_stack([linear, target - linear @ centre])
    if change not in ("rescale", "rotate"):
        affine[:, 2] = np.round(affine[:, 2])  # pasted pixel by pixel, without resampling
    mask = np.zeros((height, width), bool)
    mask[max(int(y), 0) : int(y + h), max(int(x), 0) : int(x + w)] = True
    piece = warp(reference, affine, (width, height))
    if not shows_something(piece, mask):
        return None
    if change == "recolour":
        piece = _recolour(rng, piece)
    image = np.where(mask[..., None], piece, host)
    if change == "recompress":
        image = jpeg(image, int(rng.integers(30, 80)))
    return image, mask, affine


def warp(reference: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The reference seen through a query -> reference map, (H, W, 3) of `size` (width, height)."""
    shrink = np.sqrt(abs(np.linalg.det(affine[:, :2])))
    if shrink > 1:
        sigma = 0.5 * np.sqrt(shrink**2 - 1)
        reference = np.asarray(cv2.GaussianBlur(reference, (0, 0), sigma), np.uint8)
    # The map is between corners of pixels, OpenCV's between their centres.
    centred = affine.copy()
    centred[:, 2] += affine[:, :2] @ [0.5, 0.5] - 0.5
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(reference, centred, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _recolour(rng: np.random.Generator, piece: NDArray[np.uint8]) -> NDArray[np.uint8]:
    hsv = cv2.cvtColor(piece, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(20, 160)) % 180
    hsv[..., 1] *= rng.uniform(0.4, 1.4)
    colour = cv2.cvtColor(hsv.clip(0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32) / 255
    colour = colour ** rng.uniform(0.6, 1.6) * rng.uniform(0.7, 1.2) + rng.uniform(-0.1, 0.1)
    return np.asarray((colour.clip(0, 1) * 255).round(), np.uint8)
