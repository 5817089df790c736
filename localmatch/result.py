"""`Audit`, what a user gets for one image, and the kinds of image that a user may hold."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from localmatch import overlay
from localmatch.errors import ImageError
from localmatch.images import Source, read, to_rgb
from localmatch.records import Region

PathLike = str | os.PathLike[str]
ImageLike = PathLike | Image.Image | NDArray[np.uint8] | Any
"""A path, a PIL image, a (H, W, 3) uint8 array, or a (3, H, W) tensor of uint8 or of floats in [0, 1]."""


@dataclass(frozen=True)
class Audit:
    """What was found in one image.

    Attributes:
        query: Its path, or "<array>".
        image: (H, W, 3) uint8, the pixels that were audited.
        heatmap: (H, W) float32 in [0, 1]; absolute, so clean images stay dark.
        regions: Strongest first.
        score: That of the strongest region; 0 without one.
        p_value: Share of clean images that score as high; None until the index is calibrated.
        flagged: Whether p_value <= alpha; None until the index is calibrated.
        alpha: The false-alarm rate.
    """

    query: str
    image: NDArray[np.uint8] = field(repr=False)
    heatmap: NDArray[np.float32] = field(repr=False)
    regions: tuple[Region, ...]
    score: float
    p_value: float | None
    flagged: bool | None
    alpha: float

    def overlay(self) -> Image.Image:
        """Heatmap and numbered outlines on the query: red where the pixels are the same, blue where structure is."""
        return overlay.overlay(self.image, self.heatmap, self.regions)

    def side_by_side(self, number: int = 1) -> Image.Image:
        """The query and the reference of region `number` (from 1), outlined on both.

        Raises:
            ImageError: There is no such region, or its reference cannot be read any more.
        """
        if not 1 <= number <= len(self.regions):
            raise ImageError(f"{self.query} has {len(self.regions)} regions, no region {number}")
        region = self.regions[number - 1]
        return overlay.side_by_side(self.image, read(Source(region.reference)), region)


def pixels_of(image: ImageLike) -> tuple[str, NDArray[np.uint8]]:
    """Name and (H, W, 3) uint8 pixels of whatever a user may hold."""
    if isinstance(image, str | os.PathLike):
        name = os.path.abspath(os.fspath(image))
        return name, read(Source(name))
    if isinstance(image, Image.Image):
        return "<image>", to_rgb(image)
    array = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    if hasattr(image, "detach") and array.ndim == 3 and array.shape[0] == 3:
        array = array.transpose(1, 2, 0)
        if array.dtype.kind == "f":
            if array.size and not 0 <= array.min() <= array.max() <= 1:
                raise ImageError(f"expected floats in [0, 1], got {array.min():.3g} to {array.max():.3g}")
            array = (array * 255).round().astype(np.uint8)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ImageError(
            f"expected a path, a PIL image, a (H, W, 3) uint8 array or a (3, H, W) tensor, "
            f"got {array.dtype} {array.shape}"
        )
    return "<array>", np.ascontiguousarray(array)
