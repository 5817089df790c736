"""Heatmaps -> regions: the connected parts that are more likely copied than not, each with its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from localmatch.geometry import Affine, project
from localmatch.matching import COHORT
from localmatch.neighbours import STANDS_OUT
from localmatch.records import Box, Candidate, Structure, Verified
from localmatch.warping import affine_within

THRESHOLD = 0.5
"""Heat over which a pixel belongs to a region."""

MARGIN = 3
"""Pixels by which a region is grown: patches that straddle the edge of a copy see the host, and fall short of it."""

SCORE_PIXELS = 256.0
"""A score of 1 is what 16 x 16 px of full evidence, distinct all over and in exact register, are worth."""

REGISTER_POWER = 3
"""How steeply the score falls with the share of a part that is not in exact register, once of what is distinct and once
of all that there is to compare: letters on another ground are in register, what is between them is not. Second
photographs of a floor have a low share, and so have noisy and recompressed copies, but not as low: see
`registration.REGISTER_LEVELS`."""

INNER = 8
"""Pixels from its edge where a part's register is judged; nearer, windows reach into the host."""

FREE_CORNERS, CORNER_RADIUS = 5, 12
"""An affine map brings any three corners into register with any three others, and any rectangle with any other: the
five strongest of a part, with what is within the radius in pixels, are no evidence; only what agrees beyond them. Of
clean logos the highest score is 0.49 with three, 0.19 with four, 0.14 with five; copies lose a tenth."""

FREE_CORNERS_OF_FLOW = 16
"""The same where a flow bends the affine map."""

RARITY_POWER = 2
"""How steeply the score falls where an alignment's patches hardly stand out: the discs, stars and letters of one logo
are in exact register with those of any other."""

MIN_EVIDENCE, MIN_SCORE = 1.0, 0.1
"""Parts whose heat * support sums to less (in units of score), or of a lower score, are not reported: how rare those
are, a few hundred clean images cannot tell. Of 600 of development, 1% show a higher one, and 2% one over 0.04."""

ALREADY = 0.5
"""A part that lies under stronger regions by more than this share is another reference of the same region."""


@dataclass(frozen=True)
class Part:
    """A connected part of one alignment's heatmap.

    Attributes:
        owner: Which alignment.
        mask: (H, W) bool.
        score: See `SCORE_PIXELS`.
        correlation: Mean over the part, weighted by support.
        affine: (2, 3) float64 query -> reference, of the part.
    """

    owner: int
    mask: NDArray[np.bool_]
    score: float
    correlation: float
    affine: Affine


def find_parts(
    owner: int, candidate: Candidate, heatmap: NDArray[np.float32], query: Structure, verified: Verified
) -> list[Part]:
    """The connected parts of one alignment's heatmap.

    score = sum of heat * distinct beyond five corners / 256 * (share in exact register, of distinct * of support) ^ 3
        * rarity ^ 2, where rarity is the mean evidence of the alignment's patches over `STANDS_OUT`, at most 1

    Args:
        owner: Number of the alignment.
        candidate: The alignment, and how many references show the same.
        heatmap: (H, W) float32 in [0, 1].
        query: What there is to compare.
        verified: The alignment's dense comparison.
    """
    labels, count = ndimage.label(heatmap > THRESHOLD)
    if not count:
        return []
    numbers = np.arange(1, count + 1)
    enough = ndimage.sum_labels(heatmap * query.support, labels, numbers) >= MIN_EVIDENCE * SCORE_PIXELS
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * MARGIN + 1, 2 * MARGIN + 1))
    corners, distinct = FREE_CORNERS, query.distinct
    if verified.mapping.flow is not None:
        corners, distinct = FREE_CORNERS_OF_FLOW, query.texture
    weighted = heatmap * distinct
    rarity = _rarity(candidate) ** RARITY_POWER
    parts = []
    for number in numbers[enough]:
        filled = ndimage.binary_fill_holes(labels == number)
        mask = cv2.dilate(filled.astype(np.uint8), kernel) > 0
        evidence = _without_corners(np.where(filled, weighted, 0), corners) / SCORE_PIXELS
        score = evidence * _register(mask, (distinct, query.support), verified.registered) ** REGISTER_POWER * rarity
        if score >= MIN_SCORE:
            correlation = float(np.average(verified.correlation, weights=query.support * mask + 1e-9))
            parts.append(Part(owner, mask, score, correlation, affine_within(mask, verified.mapping)))
    return parts


def _rarity(candidate: Candidate) -> float:
    """How far an alignment's patches stand out, at most 1; what is in the training set many times need not."""
    if len(candidate.sharing) > COHORT:
        return 1.0
    alignment = candidate.alignment
    return min(1.0, alignment.evidence / len(alignment.inliers) / STANDS_OUT)


def _without_corners(evidence: NDArray[np.float32], count: int) -> float:
    """Sum of the evidence (H, W) without its strongest corners, see `FREE_CORNERS`."""
    rest = evidence.copy()
    for _ in range(count):
        _, _, _, (x, y) = cv2.minMaxLoc(cv2.GaussianBlur(rest, (0, 0), CORNER_RADIUS / 3))
        cv2.circle(rest, (x, y), CORNER_RADIUS, 0, -1)
    return float(rest.sum())


def _register(
    mask: NDArray[np.bool_], weights: Sequence[NDArray[np.float32]], registered: NDArray[np.float32]
) -> float:
    """Share of a part that is in exact register, on the level (L, H, W) where it is highest.

    Judged off the part's edge where it is large enough; the product of the shares by each of the weights (H, W).
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * INNER + 1, 2 * INNER + 1))
    inner = cv2.erode(mask.astype(np.uint8), kernel) > 0
    judged = inner if inner.sum() >= SCORE_PIXELS else mask
    exact = registered[:, judged]
    shares = [(exact * one[judged]).sum(1) / max(float(one[judged].sum()), 1e-6) for one in weights]
    return float(np.prod(shares, axis=0).max())


def keep_strongest(parts: list[Part]) -> list[tuple[Part, list[int]]]:
    """Parts that are not under stronger ones, strongest first, each with the other owners that showed the same."""
    kept: list[tuple[Part, list[int]]] = []
    for part in sorted(parts, key=lambda p: (-p.score, p.owner)):
        covered = [(float((part.mask & other.mask).sum() / part.mask.sum()), owners) for other, owners in kept]
        share, owners = max(covered, key=lambda c: c[0], default=(0.0, []))
        if share > ALREADY:
            owners.append(part.owner)
        elif sum(c for c, _ in covered) <= ALREADY:
            kept.append((part, []))
    return kept


def boxes(mask: NDArray[np.bool_], affine: Affine, reference_size: tuple[int, int]) -> tuple[Box, Box]:
    """Bounding boxes of a mask on the query, and of its image on the reference (clipped to it)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    query = float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = project(affine, np.concatenate(contours).reshape(-1, 2) + 0.5)
    low, high = outline.min(0).clip(0, reference_size), outline.max(0).clip(0, reference_size)
    return query, (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
