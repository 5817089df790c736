"""Neighbours -> peaks: every neighbour votes for (reference, pose, log-scale, shift) with its evidence."""

from __future__ import annotations

import numpy as np
import torch

from localmatch.geometry import POSES, pose_frame
from localmatch.kernels import vote_topk
from localmatch.kernels.vote import LEVELS, RATIO_BIAS
from localmatch.records import Neighbours, Peaks

HALF_BIN = 20.0
"""Half the side of a shift bin, in query pixels; bins overlap by half."""

PEAKS = 4
"""Peaks a reference and pose; several, because one query may copy several pieces of one reference."""

SUBPIXEL = 16
"""Positions vote in 1/16 px."""


def find_peaks(neighbours: Neighbours, most: int) -> Peaks:
    """The `most` strongest peaks over all references."""
    group = neighbours.reference.astype(np.int64) * POSES + neighbours.pose
    first = np.flatnonzero(np.diff(group, prepend=-1))
    offsets = np.r_[first, len(group)].astype(np.int64)
    # The map is a similarity of the query in its pose.
    linear = np.stack([pose_frame(pose)[:, :2] for pose in range(POSES)])
    posed = np.einsum("nij,nj->ni", linear[neighbours.pose], neighbours.query_xy)
    step = neighbours.reference_level.astype(np.int32) - neighbours.query_level + RATIO_BIAS
    found = vote_topk(
        torch.from_numpy(offsets),
        torch.from_numpy(neighbours.query_patch),
        torch.from_numpy(neighbours.reference_patch),
        torch.from_numpy(np.round(posed * SUBPIXEL).astype(np.int32)),
        torch.from_numpy(np.round(neighbours.reference_xy * SUBPIXEL).astype(np.int32)),
        torch.from_numpy(step.clip(0, LEVELS - 1)),
        torch.from_numpy(neighbours.evidence),
        half_bin=round(HALF_BIN * SUBPIXEL),
        peaks=PEAKS,
    )
    score, bins = (one.numpy() for one in found)
    order = np.argsort(-score.ravel(), kind="stable")[:most]
    order = order[score.ravel()[order] > 0]
    at = order // PEAKS
    return Peaks(offsets[at], offsets[at + 1], score.ravel()[order], bins.reshape(-1, 3)[order])
