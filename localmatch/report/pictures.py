"""The pictures of one query: heat, overlay, and for each region the crops to compare."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from localmatch.errors import ImageError
from localmatch.geometry import scale_of
from localmatch.images import Source, read
from localmatch.overlay import heat_rgba, side_by_side
from localmatch.records import Box, Region
from localmatch.result import Audit

PAGE_SIDE = 1024
"""Longest side of pictures on the page, in pixels; the heatmap file keeps the query's size."""

CONTEXT = 0.15
"""What a crop shows around a region, as a share of the region's side."""

PICTURED = 6
"""Regions of a query with pictures; all are in results.jsonl."""


def write_pictures(folder: Path, audit: Audit) -> None:
    """Write all pictures of one audit into a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    _save(audit.image, folder / "query.jpg")
    heat16 = (audit.heatmap * 65535).round().astype(np.uint16)
    Image.fromarray(heat16).save(folder / "heatmap.png")
    Image.fromarray(_shrunk(heat_rgba(audit.heatmap))).save(folder / "heat.png")
    audit.overlay().save(folder / "overlay.png")
    for number, region in enumerate(audit.regions[:PICTURED], 1):
        _write_region(folder, audit, region, number)


def _write_region(folder: Path, audit: Audit, region: Region, number: int) -> None:
    """Query crop, the reference aligned to it, the reference's own crop, and the pair."""
    box = _around(region.query_box, audit.image.shape)
    _save(audit.image[box[1] : box[3], box[0] : box[2]], folder / f"region-{number}-query.jpg")
    try:
        reference = read(Source(region.reference))
    except ImageError:
        side_by_side(audit.image, None, region).save(folder / f"pair-{number}.png")
        return
    aligned = _aligned(reference, region, (audit.image.shape[1], audit.image.shape[0]))
    _save(aligned[box[1] : box[3], box[0] : box[2]], folder / f"region-{number}-aligned.jpg")
    place = _around(region.reference_box, reference.shape)
    _save(reference[place[1] : place[3], place[0] : place[2]], folder / f"region-{number}-reference.jpg")
    side_by_side(audit.image, reference, region).save(folder / f"pair-{number}.png")


def _aligned(reference: NDArray[np.uint8], region: Region, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The reference warped onto the query."""
    shrink = scale_of(region.affine)
    if shrink > 1:
        reference = np.asarray(cv2.GaussianBlur(reference, (0, 0), 0.5 * shrink), np.uint8)
    matrix = region.affine.copy()
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5  # OpenCV counts from pixel centres
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(reference, matrix, size, flags=flags, borderValue=(128, 128, 128)), np.uint8)


def _around(box: Box, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """A box with some context, within the image."""
    x0, y0, x1, y1 = box
    margin_x, margin_y = CONTEXT * (x1 - x0), CONTEXT * (y1 - y0)
    left, top = max(int(x0 - margin_x), 0), max(int(y0 - margin_y), 0)
    right, bottom = min(int(x1 + margin_x) + 1, shape[1]), min(int(y1 + margin_y) + 1, shape[0])
    return min(left, shape[1] - 1), min(top, shape[0] - 1), max(right, left + 1), max(bottom, top + 1)


def _shrunk(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    shrink = PAGE_SIDE / max(image.shape[:2])
    if shrink >= 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8)


def _save(image: NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(_shrunk(np.ascontiguousarray(image))).save(path, quality=90)
