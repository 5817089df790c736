"""The classical baseline: local features of all references in one FLANN index, and RANSAC; plain and mirrored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from benchmarks.pictures import Pixels, limited, load

NEIGHBOURS, CHECKS, TRIED, REPROJECTION = 8, 64, 10, 5.0
"""Neighbours a point; FLANN's leaf checks; references fitted; RANSAC threshold in pixels."""

RATIO = 0.85
"""Lowe's ratio, against the NEIGHBOURS-th neighbour, so that references which share a piece do not hide each other."""

KD_TREES = {"algorithm": 1, "trees": 4}
HASH_TABLES = {"algorithm": 6, "table_number": 12, "key_size": 20, "multi_probe_level": 1}
"""FLANN's indexes for real and for binary descriptors, as OpenCV's tutorial sets them."""

EUCLIDEAN, HAMMING = 1, 9
"""FLANN's numbers of distances."""

Describe = Callable[[Pixels], tuple[NDArray[np.float32], NDArray[Any]]]
"""An image -> positions (N, 2) in its pixels and descriptors (N, D), float32 or packed bits in uint8."""

console: Console = Console(stderr=True)


@dataclass(frozen=True)
class FeatureMatch:
    """A reference that RANSAC agreed with: its number, its inliers, and their boxes on the query and on it."""

    reference: int
    inliers: int
    box: tuple[float, float, float, float]
    reference_box: tuple[float, float, float, float]


class FeatureIndex:
    """Local features of all references in one FLANN index."""

    def __init__(self, references: Sequence[Path], describe: Describe, side: int) -> None:
        """Read and index the references, each scaled down to at most `side`."""
        self._describe, self._side = describe, side
        points, descriptors, owner = [], [], []
        for number, path in enumerate(track(references, "indexing", console=console)):
            xy, described = self._features(load(path))
            points.append(xy)
            descriptors.append(described)
            owner.append(np.full(len(xy), number, np.int32))
        self.xy, self.owner = np.concatenate(points), np.concatenate(owner)
        self._descriptors = np.concatenate(descriptors)
        self._binary = self._descriptors.dtype == np.uint8
        kind, distance = (HASH_TABLES, HAMMING) if self._binary else (KD_TREES, EUCLIDEAN)
        self._flann = cv2.flann_Index(self._descriptors, kind, distance)  # type: ignore[attr-defined]

    def search(self, image: Pixels) -> list[FeatureMatch]:
        """References that agree with the query, most inliers first."""
        found = self._search(image, mirrored=False)
        found += self._search(np.ascontiguousarray(image[:, ::-1]), mirrored=True)
        return sorted(found, key=lambda m: -m.inliers)

    def _search(self, image: Pixels, mirrored: bool) -> list[FeatureMatch]:
        xy, descriptors = self._features(image)
        if len(xy) < NEIGHBOURS:
            return []
        index, distance = self._flann.knnSearch(descriptors, NEIGHBOURS, params={"checks": CHECKS})
        # Hash tables may hold fewer neighbours: those that are missing have index -1.
        far = distance if self._binary else np.sqrt(distance.clip(0))
        row, rank = np.nonzero((far < RATIO * far[:, -1:]) & (index >= 0))
        reference_point = index[row, rank]
        owner = self.owner[reference_point]
        numbers, counts = np.unique(owner, return_counts=True)
        found = []
        for number in numbers[np.argsort(-counts, kind="stable")][:TRIED]:
            mine = owner == number
            source, target = xy[row[mine]], self.xy[reference_point[mine]]
            if len(source) < 4:
                continue
            affine, inliers = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=REPROJECTION)
            if affine is None:
                continue
            agreed, there = source[inliers.ravel() > 0], target[inliers.ravel() > 0]
            (x0, y0), (x1, y1) = agreed.min(0), agreed.max(0)
            if mirrored:
                x0, x1 = image.shape[1] - x1, image.shape[1] - x0
            distinct = len(np.unique(agreed, axis=0))
            reference_box = (*map(float, there.min(0)), *map(float, there.max(0)))
            box = float(x0), float(y0), float(x1), float(y1)
            found.append(FeatureMatch(int(number), distinct, box, reference_box))  # type: ignore[arg-type]
        return found

    def _features(self, image: Pixels) -> tuple[NDArray[np.float32], NDArray[Any]]:
        small, shrink = limited(image, self._side)
        xy, descriptors = self._describe(small)
        return (xy / np.float32(shrink)).astype(np.float32), descriptors
