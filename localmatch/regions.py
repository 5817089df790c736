"""Heatmaps -> regions: the connected parts that are more likely copied than not, each with its score."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit

from localmatch.geometry import Affine, box_around, project
from localmatch.heatmap import smooth_evidence
from localmatch.judge import score_of
from localmatch.records import Box, Candidate, Structure, Verified
from localmatch.warping import affine_within

THRESHOLD = 0.5
"""Heat over which a pixel belongs to a region."""

MARGIN = 5
"""Pixels by which a region is grown: patches that straddle the edge of a copy see the host, and fall short of it. The
mask IoU of pieces of 1 to 5% of an image is 0.80 so, and 0.76 with 3 pixels."""

MIN_HEAT, MIN_SCORE = 256.0, 1.5
"""Parts whose heat * support sums to less, in pixels, or of a lower score, are not reported: how rare those are, a few
hundred clean images cannot tell. Of 160 of development, one shows a higher one, and three one over 1."""

LIKELY = 0.2
"""Parts of at least this score are drawn, too, where another part of the same alignment is sure."""

DRAWN_ODDS, MUCH_MORE = 1.0, 1.2
"""Log-odds of the pair network at which a pixel beside a sure part is as likely of the copy as not, and how many times
as large the part must be so: descriptors lose what was changed most, but are sharper at the edge. Of 35 copies of
development the mean mask IoU rises from 0.876 to 0.884, of 22 that are drawn poorly from 0.63 to 0.67."""

HOLE = 1000.0
"""Support, in pixels, from which a hole in the heat is something else that lies on the copy, and no part of it."""

ALREADY = 0.5
"""A part that lies under stronger regions by more than this share is another reference of the same region."""


@dataclass(frozen=True)
class Part:
    """A part of one alignment's heatmap, connected but where the copy is hidden between its pieces.

    Attributes:
        owner: Which alignment.
        mask: (H, W) bool.
        score: See `judge`.
        correlation: With the aligned reference, in the core of the part.
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
    """The connected parts of one alignment's heatmap; those that are sure are pieces of one copy, and so one part.

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
    enough = ndimage.sum_labels(heatmap * query.support, labels, numbers) >= MIN_HEAT
    boxes_of = ndimage.find_objects(labels)
    areas = [_filled(labels, number, boxes_of[number - 1], query.support) for number in numbers[enough].tolist()]
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * MARGIN + 1, 2 * MARGIN + 1))

    def judged(area: NDArray[np.bool_]) -> tuple[float, float, NDArray[np.bool_]]:
        mask = cv2.dilate(area.astype(np.uint8), kernel) > 0
        return *score_of(mask, np.where(area, heatmap, 0), query, verified, candidate), mask

    found = [(area, *judged(area)) for area in areas]
    sure = [one for one in found if one[1] >= MIN_SCORE]
    if not sure:
        return []
    score, correlation = max(one[1] for one in sure), sure[0][2]
    if len(sure) > 1:
        joint, correlation, _ = judged(np.logical_or.reduce([area for area, *_ in sure]))
        score = max(score, joint)
    mask = np.logical_or.reduce([drawn for *_, part_score, _, drawn in found if part_score >= LIKELY])
    mask = _with_likely(mask, query, verified)
    return [Part(owner, mask, score, correlation, affine_within(mask, verified.mapping))]


def _with_likely(mask: NDArray[np.bool_], query: Structure, verified: Verified) -> NDArray[np.bool_]:
    """A mask (H, W) with what the pair network takes for a copy and is connected with it, if that is much more."""
    if verified.odds is None:
        return mask
    likely = smooth_evidence(expit(verified.odds - DRAWN_ODDS), query.support) > THRESHOLD
    labels, _ = ndimage.label(likely)
    more = mask | ndimage.binary_fill_holes(np.isin(labels, labels[mask & likely]))
    return more if more.sum() >= MUCH_MORE * mask.sum() else mask


def _filled(
    labels: NDArray[np.int32], number: int, box: tuple[slice, slice], support: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """One label's area, (H, W) bool, with its holes, but those in which there is much else; the box is the label's."""
    area = np.zeros(labels.shape, bool)
    own = labels[box] == number
    holes, count = ndimage.label(ndimage.binary_fill_holes(own) & ~own)
    seen = ndimage.sum_labels(support[box], holes, np.arange(1, count + 1))
    area[box] = own | np.isin(holes, 1 + np.flatnonzero(seen < HOLE))
    return area


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
    rows, columns = box_around(mask)
    query = float(columns.start), float(rows.start), float(columns.stop), float(rows.stop)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = project(affine, np.concatenate(contours).reshape(-1, 2) + 0.5)
    low, high = outline.min(0).clip(0, reference_size), outline.max(0).clip(0, reference_size)
    return query, (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
