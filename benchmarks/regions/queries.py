"""Queries with exact ground truth: regions of references, changed, pasted into hosts that are in no index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.pictures import Pixels, jpeg, limited, load, shows_something
from benchmarks.regions.changes import (
    GEOMETRIC,
    PHOTOMETRIC,
    SINGLE,
    Random,
    combination,
    displacement,
    geometry,
)
from localmatch.geometry import Affine, fit_affine
from localmatch.records import Box

AREAS = (0.005, 0.01, 0.02, 0.05, 0.10, 0.25, 0.50, 1.0)
"""Shares of the query that a region covers."""

FAMILIES = ("plain", *SINGLE, "combined", "several")
"""`several`: two or three unchanged regions, of one or several references, up to a tenth of the query each."""

SHAPES = ("rectangle", "ellipse", "free", "object")
HOST_SIDE, REFERENCE_SIDE, SMALLEST_SIDE = 640, 1024, 160
"""Hosts and references are scaled down to these sides; hosts are cut to no less than the last so that a large region
of a small reference fits."""

EVALUATION = 1000
"""The first seed that evaluates."""

SAMPLES = 2000
"""Pixels at most to which the affine map of a copy is fitted."""

DRAWS = 60
"""Places tried with one reference before another is drawn."""


@dataclass(frozen=True)
class Copy:
    """One planted region.

    Attributes:
        reference: Number of the reference.
        query_box: (x0, y0, x1, y1) in query pixels.
        reference_box: Box of the same on the reference, in pixels of its file.
        mask: (H, W) bool, what can be seen of it.
        affine: (2, 3) float64 query -> reference, the nearest to how it was changed.
    """

    reference: int
    query_box: Box
    reference_box: Box
    mask: NDArray[np.bool_]
    affine: Affine

    def shows(self, xy: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether query positions (N, 2) are on what can be seen of it: (N,)."""
        x, y = xy.astype(int).T
        height, width = self.mask.shape
        return np.asarray(self.mask[y.clip(0, height - 1), x.clip(0, width - 1)])


@dataclass(frozen=True)
class Query:
    """An image with planted regions; `copies` is empty for clean ones."""

    image: Pixels
    copies: tuple[Copy, ...]
    family: str
    area: float


def make_query(
    references: Sequence[Path], hosts: Sequence[Path], overlays: Sequence[Path], family: str, area: float, seed: int
) -> Query:
    """Make one query; the same arguments give the same query.

    Args:
        references: Image files. Seeds that evaluate take regions from every second one, the others from those between.
        hosts: Image files.
        overlays: Images with alpha, whose outlines serve as object shapes; may be empty.
        family: One of `FAMILIES`.
        area: Share of the query.
        seed: From `EVALUATION` on it evaluates; those below are for development.
    """
    sources = range(int(seed >= EVALUATION), len(references), 2)
    rng = np.random.default_rng([seed, FAMILIES.index(family), AREAS.index(area)])
    changes = combination(rng) if family == "combined" else () if family in ("plain", "several") else (family,)
    count = int(rng.integers(2, 4)) if family == "several" else 1
    same = bool(rng.integers(2))
    while True:
        host = limited(load(hosts[int(rng.integers(len(hosts)))]), HOST_SIDE)[0]
        first = sources[int(rng.integers(len(sources)))]
        canvas = host
        copies: list[Copy] = []
        taken = np.zeros(host.shape[:2], bool)
        for _ in range(count):
            number = first if same or not copies else sources[int(rng.integers(len(sources)))]
            planted = _plant(rng, references[number], number, canvas, area, changes, overlays, taken)
            if planted is None:
                break
            canvas, copy = planted
            taken = _grown(copy.mask | (taken if taken.shape == copy.mask.shape else False))
            copies.append(copy)
        if len(copies) == count:
            image = jpeg(canvas, int(rng.integers(20, 96))) if "jpeg" in changes else canvas
            return Query(image, tuple(copies), family, area)


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((17, 17), np.uint8)) > 0, bool)


def _plant(
    rng: Random,
    path: Path,
    number: int,
    host: Pixels,
    area: float,
    changes: tuple[str, ...],
    overlays: Sequence[Path],
    taken: NDArray[np.bool_],
) -> tuple[Pixels, Copy] | None:
    """Paste one region; None where none fits or shows anything."""
    reference, shrink = limited(load(path), REFERENCE_SIDE)
    for _ in range(DRAWS):
        shape = _shape(rng, overlays) if area < 0.5 else np.ones((64, 64), bool)
        matrix = geometry(rng, next((one for one in changes if one in GEOMETRIC), "none"))
        canvas = host if taken.any() else _fitting(host, reference, area, matrix)
        if canvas is None:
            return None
        mask = _placed(rng, shape, area, canvas.shape[:2])
        if mask is None or (taken.any() and (mask & taken).any()):
            continue
        found = _source(rng, reference, mask, matrix, "local_warp" in changes)
        if found is None:
            continue
        piece, reference_box, affine = found
        if shows_something(piece, mask):
            image, seen = _blend(rng, canvas, piece, mask, changes)
            box = tuple(v / shrink for v in reference_box)
            return image, Copy(number, _box(mask), box, seen, affine / shrink)  # type: ignore[arg-type]
    return None


def _shape(rng: Random, overlays: Sequence[Path]) -> NDArray[np.bool_]:
    """A (128, 128) outline."""
    kind = SHAPES[int(rng.integers(len(SHAPES) if overlays else len(SHAPES) - 1))]
    y, x = (np.mgrid[:128, :128] + 0.5) / 64 - 1
    if kind == "rectangle":
        return np.ones((128, 128), bool)
    if kind == "ellipse":
        return np.asarray(x * x + y * y <= 1, bool)
    if kind == "free":
        angle, radius = np.arctan2(y, x), np.full_like(x, 0.75)
        for wave in range(2, 6):
            radius += rng.normal(0, 0.16 / wave) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
        return np.asarray(np.hypot(x, y) <= radius, bool)
    with Image.open(overlays[int(rng.integers(len(overlays)))]) as overlay:
        alpha = overlay.convert("RGBA").getchannel("A").resize((128, 128))
    return np.asarray(alpha) > 127


def _fitting(host: Pixels, reference: Pixels, area: float, matrix: NDArray[np.float64]) -> Pixels | None:
    """The host, cut so that a region of this area fits on the reference; None where too little would be left."""
    zoom = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    across = np.abs(matrix[:2, :2]) @ [1, 1] * np.sqrt(area) * 1.06
    height, width = host.shape[:2]
    if area == 1:
        turned = abs(matrix[0, 1]) > abs(matrix[0, 0])
        limit = np.array(reference.shape[:2] if turned else reference.shape[1::-1]) / across
        width, height = int(min(width, limit[0])), int(min(height, limit[1]))
    else:
        room = 0.9 * min(reference.shape[:2]) / (np.sqrt(width * height) * np.sqrt(area) * zoom)
        width, height = (int(side * min(1.0, room)) for side in (width, height))
    return host[:height, :width] if min(width, height) >= SMALLEST_SIDE else None


def _placed(rng: Random, shape: NDArray[np.bool_], area: float, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """The outline on the canvas, at its area; None where it does not fit."""
    height, width = size
    if area == 1:
        return np.ones(size, bool)
    aspect = np.exp(rng.uniform(-0.4, 0.4)) if area < 0.5 else np.sqrt(width / height)
    side = np.sqrt(area * width * height / shape.mean())
    w, h = round(side * aspect), round(side / aspect)
    if w >= width or h >= height:
        return None
    x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    mask = np.zeros(size, bool)
    mask[y : y + h, x : x + w] = cv2.resize(shape.astype(np.uint8), (w, h), interpolation=cv2.INTER_NEAREST) > 0
    return mask


def _source(
    rng: Random, reference: Pixels, mask: NDArray[np.bool_], matrix: NDArray[np.float64], warped: bool
) -> tuple[Pixels, Box, Affine] | None:
    """What a mask shows of the reference, (H, W, 3), the box of it there, and how it came; None over the edge."""
    x0, y0, x1, y1 = _box(mask)
    centre, unit = np.array([x0 + x1, y0 + y1]) / 2, np.hypot(x1 - x0, y1 - y0) / 2
    grid = np.stack(np.meshgrid(np.arange(mask.shape[1]) + 0.5, np.arange(mask.shape[0]) + 0.5), -1)
    local = np.concatenate([(grid - centre) / unit, np.ones((*mask.shape, 1))], -1) @ matrix.T
    source = local[..., :2] / local[..., 2:].clip(0.2) * unit
    if warped:
        source = source + displacement(rng, mask.shape[0], mask.shape[1], 0.012 * unit + 1.0)
    low, high = source[mask].min(0), source[mask].max(0)
    size = np.array(reference.shape[1::-1])
    if (high - low > size - 2).any():
        return None
    shift = rng.uniform(-low + 0.5, size - high - 0.5)
    onto_pixels = np.isin(matrix.round(12), (-1, 0, 1)).all()  # the identity, a mirror, a right angle
    if onto_pixels and not warped:
        shift = np.round(shift + centre) - centre  # pasted pixel by pixel, without resampling
        shift = shift.clip(-low, size - high)
    at = (source + shift).astype(np.float32) - 0.5
    zoom = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    if zoom > 1.05:
        reference = np.asarray(cv2.GaussianBlur(reference, (0, 0), 0.5 * np.sqrt(zoom**2 - 1)), np.uint8)
    piece = cv2.remap(reference, at[..., 0], at[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    box = (*(low + shift - 0.5), *(high + shift + 0.5))
    few = np.flatnonzero(mask)[:: mask.sum() // SAMPLES + 1]
    affine = fit_affine(grid.reshape(-1, 2)[few], (source + shift).reshape(-1, 2)[few], np.ones(len(few)))
    return np.asarray(piece, np.uint8), tuple(float(v) for v in box), affine  # type: ignore[return-value]


def _blend(
    rng: Random, host: Pixels, piece: Pixels, mask: NDArray[np.bool_], changes: tuple[str, ...]
) -> tuple[Pixels, NDArray[np.bool_]]:
    """The canvas with the piece in it, and which of its pixels can be seen."""
    x0, y0, x1, y1 = map(int, _box(mask))
    inside = np.s_[y0:y1, x0:x1]
    piece = piece.copy()
    for name in changes:
        if name in PHOTOMETRIC:
            piece[inside] = PHOTOMETRIC[name](rng, np.ascontiguousarray(piece[inside]), host)
    alpha = mask.astype(np.float32)
    if "feather" in changes:
        sigma = rng.uniform(0.03, 0.08) * min(x1 - x0, y1 - y0)
        alpha *= (2 * cv2.GaussianBlur(alpha, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT) - 1).clip(0)
    if "opacity" in changes:
        alpha *= rng.uniform(0.5, 1.0)
    seen = mask.copy()
    if "occlusion" in changes:
        w, h = int((x1 - x0) * rng.uniform(0.4, 0.65)), int((y1 - y0) * rng.uniform(0.4, 0.65))
        x, y = x0 + int(rng.integers(0, x1 - x0 - w + 1)), y0 + int(rng.integers(0, y1 - y0 - h + 1))
        alpha[y : y + h, x : x + w] = 0
        seen[y : y + h, x : x + w] = False
    mixed = alpha[..., None] * piece + (1 - alpha[..., None]) * host
    return np.asarray(mixed.round().clip(0, 255), np.uint8), seen


def _box(mask: NDArray[np.bool_]) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
