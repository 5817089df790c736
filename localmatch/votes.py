"""Neighbours -> peaks: every neighbour votes for (reference, pose, log-scale, shift) with its evidence."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from itertools import zip_longest
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from localmatch.descriptor.encode import QUANTISATION, TURNED
from localmatch.geometry import POSES, pose_frame
from localmatch.kernels import vote_topk
from localmatch.kernels.vote import LEVELS, RATIO_BIAS
from localmatch.records import Neighbours, Peaks

HALF_BIN = 20.0
"""Half the side of a shift bin, in query pixels; bins overlap by half."""

PEAKS = 8
"""Peaks a reference and pose: one query may copy several pieces of one reference, and each of them makes a peak in both
log-scale bins that hold its scale. With half as many, 3 of 29 pieces of development were lost, each the third of its
reference; with these none."""

SUBPIXEL = 16
"""Positions vote in 1/16 px."""

One = TypeVar("One", bound=Hashable)


def find_peaks(neighbours: Neighbours, most: int, most_turned: int) -> Peaks:
    """The strongest peaks over all references, at most so many in poses that are not turned, and in those that are.

    They are counted apart, as chance agreements in eight poses would crowd out copies in two; and taken in turn from
    two votes, with evidence and with `squared` evidence: copies of drawings have many neighbours of little evidence,
    and small pieces of photographs one or two of much.
    """
    group = neighbours.reference.astype(np.int64) * POSES + neighbours.pose
    first = np.flatnonzero(np.diff(group, prepend=-1))
    offsets = np.r_[first, len(group)].astype(np.int64)
    # The map is a similarity of the query in its pose.
    linear = np.stack([pose_frame(pose)[:, :2] for pose in range(POSES)])
    posed = np.einsum("nij,nj->ni", linear[neighbours.pose], neighbours.query_xy)
    step = neighbours.reference_level.astype(np.int32) - neighbours.query_level + RATIO_BIAS
    vote = partial(
        vote_topk,
        torch.from_numpy(offsets),
        torch.from_numpy(neighbours.query_patch),
        torch.from_numpy(neighbours.reference_patch),
        torch.from_numpy(np.round(posed * SUBPIXEL).astype(np.int32)),
        torch.from_numpy(np.round(neighbours.reference_xy * SUBPIXEL).astype(np.int32)),
        torch.from_numpy(step.clip(0, LEVELS - 1)),
        half_bin=round(HALF_BIN * SUBPIXEL),
        peaks=PEAKS,
    )
    votes = [vote(torch.from_numpy(one)) for one in (neighbours.evidence, squared(neighbours.evidence))]
    turned = neighbours.pose[first] >= TURNED
    chosen: list[tuple[int, ...]] = []
    for wanted, limit in ((~turned, most), (turned, most_turned)):
        chosen += in_turn([_strongest(score.numpy(), bins.numpy(), wanted, limit) for score, bins in votes])[:limit]
    group, bin_ = np.split(np.array(chosen, np.int64).reshape(-1, 4), [1], axis=1)
    return Peaks(offsets[group[:, 0]], offsets[group[:, 0] + 1], bin_.astype(np.int32))


def _strongest(
    score: NDArray[np.int64], bins: NDArray[np.int32], wanted: NDArray[np.bool_], most: int
) -> list[tuple[int, ...]]:
    """Group and bin of the strongest peaks (G, PEAKS) of the wanted groups (G,), `most` at most."""
    score = np.where(wanted[:, None], score, 0).ravel()
    order = np.argsort(-score, kind="stable")[:most]
    order = order[score[order] > 0]
    return list(map(tuple, np.column_stack([order // PEAKS, bins.reshape(-1, 3)[order]]).tolist()))


def squared(evidence: NDArray[np.int32]) -> NDArray[np.int32]:
    """The square of evidence, on the scale of evidence."""
    return np.asarray(evidence.astype(np.int64) ** 2 // QUANTISATION**2, np.int32)


def in_turn(orders: Sequence[Sequence[One]]) -> list[One]:
    """All that is in some orders: the first of each, then the second of each, and so on, each once."""
    ranks = zip_longest(*([(one,) for one in order] for order in orders), fillvalue=())
    return list(dict.fromkeys(one for rank in ranks for held in rank for one in held))
