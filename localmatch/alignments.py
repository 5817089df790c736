"""Peaks -> alignments: affine maps fitted robustly to the neighbours that voted, the strongest of each place kept."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from localmatch.geometry import Affine, box_iou, compose, fit_affine, pose_frame, project, scale_of
from localmatch.kernels.vote import RATIO_BIAS
from localmatch.records import Alignment, Box, Candidate, Neighbours, Peaks
from localmatch.votes import HALF_BIN, in_turn, squared

AFFINE_INLIERS = 4
"""Fewer agreeing query patches make no affine map. One has a pose, a scale and a place, and any two fit a similarity:
only the pixels themselves can tell whether those few are a copy."""

TOLERANCE = 5.0
"""Query pixels by which an agreeing neighbour may miss; patches of coarse levels may miss by TOLERANCE_LEVEL more."""

TOLERANCE_LEVEL = 2.5
"""Level pixels added to the tolerance, for the error of a patch centre."""

TIGHTENING = (1.0, 0.6, 0.4)
"""Share of the tolerance in each round of fitting: chance agreements of coarse patches bend the map of the first."""

SAME_PART = 0.4
"""Alignments whose inlier boxes have a higher intersection over union show the same part of the query."""

RANSAC_ROUNDS = 300


def find_alignments(neighbours: Neighbours, peaks: Peaks) -> list[Alignment]:
    """Fit an alignment to each peak, each once though several peaks lead to it.

    Returns:
        In turn those of most evidence and of most `squared` evidence, as in `find_peaks`. Those of a neighbour that
        agrees with others elsewhere are left out.
    """
    found: dict[bytes, Alignment] = {}
    for first, last, bin_ in zip(peaks.first, peaks.last, peaks.bin, strict=True):
        voters = _voters(neighbours, int(first), int(last), bin_)
        alignment = _fit(neighbours, np.arange(first, last), voters)
        if alignment is not None:
            found.setdefault(alignment.inliers.tobytes(), alignment)
    agreeing = {one for alignment in found.values() if len(alignment.inliers) > 1 for one in alignment.inliers.tolist()}
    left = [one for one in found.values() if len(one.inliers) > 1 or one.inliers[0] not in agreeing]
    squares = [int(squared(neighbours.evidence[one.inliers]).sum()) for one in left]
    by_evidence = sorted(range(len(left)), key=lambda one: (-left[one].evidence, left[one].reference, left[one].box))
    by_squares = sorted(by_evidence, key=lambda one: -squares[one])
    return [left[one] for one in in_turn([by_evidence, by_squares])]


def choose_candidates(alignments: list[Alignment], most: int, most_tilted: int, each: int) -> list[Candidate]:
    """The alignments worth verifying, first ones first: `each` for every part of the query, at most so many in all.

    Near-identical references align with the same part of the query; they are counted and not all verified. Tilted and
    turned ones are chosen apart, as chance agreements in all poses would crowd out those that are upright.
    """
    chosen: dict[int, Candidate] = {}
    for tilted, limit in ((False, most), (True, most_tilted)):
        ranks = [rank for rank, one in enumerate(alignments) if one.tilted == tilted]
        candidates = _of_each_part(alignments, ranks, each)
        chosen |= {rank: candidates[rank] for rank in sorted(candidates)[:limit]}
    return [chosen[rank] for rank in sorted(chosen)]


def _of_each_part(alignments: list[Alignment], ranks: list[int], each: int) -> dict[int, Candidate]:
    """The first ones for each part of the query, of some alignments, by rank."""
    parts: list[list[int]] = []
    for rank in ranks:
        for part in parts:
            if box_iou(alignments[part[0]].box, alignments[rank].box) > SAME_PART:
                part.append(rank)
                break
        else:
            parts.append([rank])
    candidates: dict[int, Candidate] = {}
    for part in parts:
        first: dict[int, int] = {}
        for rank in part:
            first.setdefault(alignments[rank].reference, rank)
        most_evidence = max(alignments[rank].evidence for rank in first.values())
        sharing = frozenset(one for one, rank in first.items() if 2 * alignments[rank].evidence >= most_evidence)
        candidates |= {rank: Candidate(alignments[rank], sharing) for rank in list(first.values())[:each]}
    return candidates


def _voters(neighbours: Neighbours, first: int, last: int, bin_: NDArray[np.int32]) -> NDArray[np.int64]:
    """Neighbours whose vote falls into a bin or beside it."""
    group = slice(first, last)
    ratio = 2 ** ((int(bin_[0]) - RATIO_BIAS + 0.5) / 2)
    posed = project(pose_frame(neighbours.pose[first]), neighbours.query_xy[group])
    shift = neighbours.reference_xy[group] / ratio - posed
    step = neighbours.reference_level[group].astype(int) - neighbours.query_level[group] + RATIO_BIAS
    centre = (bin_[:0:-1] + 1) * HALF_BIN
    near = (np.abs(shift - centre) <= 1.5 * HALF_BIN).all(1) & (step >= bin_[0] - 1) & (step <= bin_[0] + 2)
    return first + np.flatnonzero(near)


def _fit(neighbours: Neighbours, group: NDArray[np.int64], voters: NDArray[np.int64]) -> Alignment | None:
    """The map from all of the group that agree with the voters or, where these do not fit one, with the strongest."""
    if not len(voters):
        return None
    frame = pose_frame(neighbours.pose[group[0]])
    strongest = _alone(neighbours, frame, int(voters[np.argmax(neighbours.evidence[voters])]))
    affine = _together(neighbours, group, frame, voters)
    if affine is None:
        affine = strongest
    inliers = _agreeing(neighbours, group, affine, TIGHTENING[-1])
    if not len(inliers):
        return None
    xy = neighbours.query_xy[inliers]
    box: Box = (*map(float, xy.min(0)), *map(float, xy.max(0)))  # type: ignore[assignment]
    reference, evidence = int(neighbours.reference[group[0]]), int(neighbours.evidence[inliers].sum())
    return Alignment(reference, affine, evidence, inliers, box, strongest)


def _alone(neighbours: Neighbours, frame: Affine, one: int) -> Affine:
    """The map of a neighbour in a pose: places are exact, scales to a half-octave."""
    step = float(neighbours.reference_level[one]) - float(neighbours.query_level[one])
    linear = 2 ** (step / 2) * frame[:, :2]
    return np.column_stack([linear, neighbours.reference_xy[one] - linear @ neighbours.query_xy[one]])


def _together(
    neighbours: Neighbours, group: NDArray[np.int64], frame: Affine, voters: NDArray[np.int64]
) -> Affine | None:
    """A similarity from the voters, then an affine map from all of the group that agree with it, if there is one."""
    if len(np.unique(neighbours.query_patch[voters])) < 2:
        return None
    mirrored = np.linalg.det(frame[:, :2]) < 0
    source = project(frame, neighbours.query_xy[voters])
    target = neighbours.reference_xy[voters].astype(np.float64)
    ratio = 2 ** (np.median(neighbours.reference_level[voters] - neighbours.query_level[voters].astype(float)) / 2)
    similarity, _ = cv2.estimateAffinePartial2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=1.5 * TOLERANCE * ratio, maxIters=RANSAC_ROUNDS
    )
    if similarity is None or not 0.5 < scale_of(similarity) / ratio < 2:
        return None
    affine = compose(similarity, frame)
    for share in TIGHTENING:
        inliers = _agreeing(neighbours, group, affine, share)
        if len(inliers) < AFFINE_INLIERS:
            break
        source, target = neighbours.query_xy[inliers].astype(float), neighbours.reference_xy[inliers].astype(float)
        weight = neighbours.evidence[inliers] / 2.0 ** neighbours.query_level[inliers]
        affine = fit_affine(source, target, weight.astype(np.float64))
        stretch = np.linalg.svd(affine[:, :2], compute_uv=False)
        if stretch[0] > 1.7 * stretch[1] or (np.linalg.det(affine[:, :2]) < 0) != mirrored:
            return None
    return affine


def _agreeing(
    neighbours: Neighbours, group: NDArray[np.int64], affine: NDArray[np.float64], share: float
) -> NDArray[np.int64]:
    """Neighbours of a group that a map explains within a share of the tolerance, each patch once on both sides."""
    ratio = scale_of(affine)
    miss = np.linalg.norm(project(affine, neighbours.query_xy[group]) - neighbours.reference_xy[group], axis=1)
    level_px = 2 ** (neighbours.query_level[group] / 2)
    step = neighbours.reference_level[group].astype(float) - neighbours.query_level[group]
    close = miss <= share * ratio * (TOLERANCE + TOLERANCE_LEVEL * level_px)
    inliers = group[close & (np.abs(step - 2 * np.log2(ratio)) <= 1.3)]
    order = inliers[np.argsort(-neighbours.evidence[inliers], kind="stable")]
    order = order[np.sort(np.unique(neighbours.query_patch[order], return_index=True)[1])]
    return np.sort(order[np.unique(neighbours.reference_patch[order], return_index=True)[1]])
