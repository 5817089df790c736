"""Regions -> pictures: the heatmap and outlines on the query, and query and reference side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from localmatch.geometry import project
from localmatch.records import Region

COLOURS = {"pixel": (230, 57, 70), "structure": (0, 114, 178)}
"""Outline colours of regions by kind; red and blue stay apart for colour-blind eyes."""

COLORMAP = "inferno"
"""Matplotlib's table for heat."""

OPACITY = 0.5
"""Of the hottest pixel."""

PAIR_HEIGHT = 512
"""Height of a side-by-side picture, in pixels."""


def heat_rgba(heatmap: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W, 4) uint8: the heat's colour, and the heat itself as opacity; nothing is stretched."""
    rgba = (colormaps[COLORMAP](0.2 + 0.6 * heatmap) * 255).round().astype(np.uint8)
    rgba[..., 3] = (heatmap * 255).round()
    return np.asarray(rgba, np.uint8)


def overlay(image: NDArray[np.uint8], heatmap: NDArray[np.float32], regions: Sequence[Region]) -> Image.Image:
    """Heatmap and numbered outlines, coloured by kind of copy, on the query at its own size."""
    heat = heat_rgba(heatmap).astype(np.float32)
    opacity = heat[..., 3:] / 255 * OPACITY
    picture = (image * (1 - opacity) + heat[..., :3] * opacity).round().astype(np.uint8)
    for region in regions:
        cv2.drawContours(picture, outlines(region.mask), -1, COLOURS[region.kind], _width(picture), cv2.LINE_AA)
    labelled = Image.fromarray(picture)
    for number, region in enumerate(regions, 1):
        _label(labelled, region, number)
    return labelled


def side_by_side(image: NDArray[np.uint8], reference: NDArray[np.uint8] | None, region: Region) -> Image.Image:
    """Query and reference at one height with the region outlined on both; gray where the reference is gone."""
    contours = outlines(region.mask)
    left = _outlined(image, [c.reshape(-1, 2) for c in contours], region.kind)
    if reference is None:
        right = Image.new("RGB", left.size, (128, 128, 128))
    else:
        right = _outlined(
            reference, [project(region.affine, c.reshape(-1, 2) + 0.5) - 0.5 for c in contours], region.kind
        )
    pair = Image.new("RGB", (left.width + right.width + 8, PAIR_HEIGHT), "white")
    pair.paste(left, (0, 0))
    pair.paste(right, (left.width + 8, 0))
    return pair


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    """Outer contours of a mask as OpenCV draws them, each (K, 1, 2) int32."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [np.asarray(contour, np.int32) for contour in contours]


def _outlined(image: NDArray[np.uint8], contours: Sequence[NDArray[Any]], kind: str) -> Image.Image:
    scale = PAIR_HEIGHT / image.shape[0]
    width = max(1, min(2 * PAIR_HEIGHT, round(image.shape[1] * scale)))
    picture = Image.fromarray(image).resize((width, PAIR_HEIGHT), Image.Resampling.LANCZOS)
    array = np.array(picture)
    scaled = [np.round(c * [width / image.shape[1], scale]).astype(np.int32) for c in contours]
    cv2.polylines(array, scaled, True, COLOURS[kind], _width(array), cv2.LINE_AA)
    return Image.fromarray(array)


def _width(picture: NDArray[np.uint8]) -> int:
    return max(2, round(int(max(picture.shape[:2])) / 250))


def _label(picture: Image.Image, region: Region, number: int) -> None:
    """A numbered tag at the corner of a region, inside the picture."""
    draw = ImageDraw.Draw(picture)
    size = max(12, max(picture.size) // 30)
    x = min(max(region.query_box[0], 0), picture.width - 1.4 * size)
    y = min(max(region.query_box[1], 0), picture.height - 1.4 * size)
    draw.rectangle((x, y, x + 1.4 * size, y + 1.4 * size), fill=COLOURS[region.kind])
    font = ImageFont.load_default(size)
    draw.text((x + 0.7 * size, y + 0.7 * size), str(number), fill="white", font=font, anchor="mm")
