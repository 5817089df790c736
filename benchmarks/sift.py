"""The baseline: OpenCV SIFT (RootSIFT) + FLANN over all references + RANSAC, plain and mirrored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.pictures import load
from benchmarks.planting import MAX_SIDE

POINTS, NEIGHBOURS, CHECKS, TRIED, REPROJECTION = 1500, 8, 64, 10, 5.0
"""Keypoints an image; neighbours a point; FLANN's leaf checks; references fitted; RANSAC threshold in pixels."""

RATIO = 0.85
"""Lowe's ratio, against the NEIGHBOURS-th neighbour, so that references which share a piece do not hide each other."""


@dataclass(frozen=True)
class SiftMatch:
    """A reference that RANSAC agreed with: its number, its inliers, and their boxes on the query and on it."""

    reference: int
    inliers: int
    box: tuple[float, float, float, float]
    reference_box: tuple[float, float, float, float]


class SiftIndex:
    """RootSIFT descriptors of all references in one FLANN index (Arandjelovic and Zisserman, CVPR 2012)."""

    def __init__(self, references: Sequence[Path]) -> None:
        """Read and index the references."""
        self._sift = cv2.SIFT_create(POINTS)  # type: ignore[attr-defined]
        points, descriptors, owner = [], [], []
        for number, path in enumerate(references):
            xy, described = self._describe(load(path))
            points.append(xy)
            descriptors.append(described)
            owner.append(np.full(len(xy), number, np.int32))
        self.xy, self.owner = np.concatenate(points), np.concatenate(owner)
        self._descriptors = np.concatenate(descriptors)
        self._flann = cv2.flann_Index(self._descriptors, {"algorithm": 1, "trees": 4})  # type: ignore[attr-defined]

    def search(self, image: NDArray[np.uint8]) -> list[SiftMatch]:
        """References that agree with the query, most inliers first."""
        found = self._search(image, mirrored=False)
        found += self._search(np.ascontiguousarray(image[:, ::-1]), mirrored=True)
        return sorted(found, key=lambda m: -m.inliers)

    def _search(self, image: NDArray[np.uint8], mirrored: bool) -> list[SiftMatch]:
        xy, descriptors = self._describe(image)
        if len(xy) < NEIGHBOURS:
            return []
        index, distance = self._flann.knnSearch(descriptors, NEIGHBOURS, params={"checks": CHECKS})
        distance = np.sqrt(distance.clip(0))
        row, rank = np.nonzero(distance < RATIO * distance[:, -1:])
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
            found.append(SiftMatch(int(number), distinct, box, reference_box))  # type: ignore[arg-type]
        return found

    def _describe(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        shrink = min(1.0, MAX_SIDE / max(image.shape[:2]))
        gray = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None, fx=shrink, fy=shrink)
        points, descriptors = self._sift.detectAndCompute(gray, None)
        if descriptors is None:
            return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
        descriptors = np.sqrt(descriptors / (descriptors.sum(1, keepdims=True) + 1e-7))
        return np.array([p.pt for p in points], np.float32) / np.float32(shrink), np.asarray(descriptors, np.float32)
