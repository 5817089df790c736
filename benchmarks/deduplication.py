"""Thorn's `perception` as a peer: local descriptors that find duplicates of whole images, by its own default settings.

It needs OpenCV below 5, and so an environment of its own: `pip install 'perception[approximate-deduplication]'`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from perception import local_descriptor_deduplication as perception
from PIL import Image

from benchmarks.pictures import Pixels, size_of
from localmatch.records import Box


class Duplicates:
    """SIFT on images of 256 px, a coarse search by faiss, then mutual matches and a homography for each pair.

    Attributes:
        references: Images that are searched.
    """

    def __init__(self, references: Sequence[Path]) -> None:
        """Describe the references."""
        self.references = references
        self._folder = TemporaryDirectory()
        self._described = perception.build_reference_df([str(path) for path in references])
        self._numbers = {str(path): number for number, path in enumerate(references)}

    def search(self, image: Pixels) -> list[tuple[int, int, Box, Box]]:
        """Duplicates of an image or of its mirror.

        Returns:
            Of each its number, how many matches fit the homography, and the boxes of those in both images, in pixels.
        """
        paths = [str(Path(self._folder.name) / f"{name}.png") for name in ("plain", "mirrored")]
        for path, pixels in zip(paths, (image, image[:, ::-1]), strict=True):
            Image.fromarray(pixels).save(path)
        described = perception.build_reference_df(paths).dropna(subset=["descriptors"])
        if not len(described):  # too few features for it
            return []
        pairs = perception.deduplicate(
            self._described,
            described,
            use_gpu=False,
            verbose=True,
            faiss_cache_path=str(Path(self._folder.name) / "references.faiss"),
        )
        found = []
        for query, name, stats in pairs:
            number, width = self._numbers[name], image.shape[1]
            x0, y0, x1, y1 = _box(stats["final_matched_a_pts"], (width, image.shape[0]))
            here = (x0, y0, x1, y1) if query == paths[0] else (width - x1, y0, width - x0, y1)
            there = _box(stats["final_matched_b_pts"], size_of(self.references[number]))
            found.append((number, int(stats["inliers"]), here, there))
        return found


def _box(points: Sequence[NDArray[np.float32]], size: tuple[int, int]) -> Box:
    """The box of points of an image that was brought to 256 px, in pixels of its (width, height)."""
    scale = max(*size, perception.DEFAULT_MAX_SIZE) / perception.DEFAULT_MAX_SIZE
    x0, y0 = np.min(points, 0) * scale
    x1, y1 = np.max(points, 0) * scale
    return float(x0), float(y0), float(x1), float(y1)
