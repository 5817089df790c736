"""vote_peaks: votes for (log-scale, shift) in overlapping bins, and the strongest local maxima of each group.

A pair of patches at query place q and reference place r whose scales differ by l half octaves says that the map is
r = ratio * (q + shift) with ratio = 2^(l / 2): it votes for the shift r / ratio - q, in query pixels. Bins overlap by
half in all three dimensions: log-scale bin j holds steps j and j + 1, shift bin (y, x) holds [y, y + 2) half bins. In a
bin each query patch counts once, and each reference patch once:

    score = min( sum over query patches of their heaviest vote, sum over reference patches of their heaviest vote )

so that a repeated texture, whose patches all match each other, does not flood a bin. A peak is a bin that no neighbour
of its 3 x 3 x 3 exceeds. All integer: results are equal bit by bit on every backend. (Generalised Hough transform:
Ballard 1981; bins and one vote a feature: Lowe, IJCV 2004.)
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localmatch.kernels import dispatch, library

RATIO_BIAS = 8
"""Log-scale steps run from -8 to 7 half octaves (1/16 to 11 times); they are stored from 0."""

LEVELS = 16
"""Number of log-scale bins."""


def inverse_ratios() -> NDArray[np.int32]:
    """(16,) Q16 inverse of each log-scale bin's middle ratio, 2^((j - 8 + 0.5) / 2)."""
    steps = np.arange(LEVELS) - RATIO_BIAS + 0.5
    return np.round(65536 / 2 ** (steps / 2)).astype(np.int32)


def vote_peaks(
    offsets: NDArray[np.int64],
    query_patch: NDArray[np.int32],
    reference_patch: NDArray[np.int64],
    query_xy: NDArray[np.int32],
    reference_xy: NDArray[np.int32],
    level: NDArray[np.int32],
    weight: NDArray[np.int32],
    half_bin: int,
    peaks: int,
    backend: str | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Find the strongest peaks of every group of votes.

    Args:
        offsets: (G + 1,) votes of group g are offsets[g] to offsets[g + 1].
        query_patch: (N,) number of the query patch.
        reference_patch: (N,) number of the reference patch.
        query_xy, reference_xy: (N, 2) in 1/16 px, below 2^22 in size.
        level: (N,) half-octave steps of the scale ratio, plus `RATIO_BIAS`, in [0, 16).
        weight: (N,) evidence, not negative.
        half_bin: Half the side of a shift bin, in 1/16 query px.
        peaks: How many peaks a group.
        backend: "cpp", "torch" or None to choose.

    Returns:
        score (G, peaks) int64, strongest first, ties to the lowest bin, 0 where there are fewer peaks; bin
        (G, peaks, 3) int32 (log-scale, y, x).

    Raises:
        ValueError: Shapes or ranges do not fit.
        BackendError: The named backend cannot serve.
    """
    count = len(query_patch)
    columns = (reference_patch, query_xy, reference_xy, level, weight)
    if any(len(column) != count for column in columns) or query_xy.shape[1:] != (2,) or reference_xy.shape[1:] != (2,):
        raise ValueError(f"expected {count} votes in every column, got shapes {[c.shape for c in columns]}")
    if len(offsets) < 1 or offsets[0] != 0 or offsets[-1] != count or (np.diff(offsets) < 0).any():
        raise ValueError(f"expected offsets rising from 0 to {count}, got {offsets[:3]} ... {offsets[-1:]}")
    if count and (level.min() < 0 or level.max() >= LEVELS or weight.min() < 0 or half_bin < 1):
        raise ValueError(f"expected level in [0, {LEVELS}), weight >= 0 and half_bin >= 1")
    offsets, reference_patch = np.ascontiguousarray(offsets, np.int64), np.ascontiguousarray(reference_patch, np.int64)
    query_patch, query_xy, reference_xy, level, weight = (
        np.ascontiguousarray(column, np.int32) for column in (query_patch, query_xy, reference_xy, level, weight)
    )
    votes = (offsets, query_patch, reference_patch, query_xy, reference_xy, level, weight)
    if dispatch.choose(backend) == "cpp":
        return on_cpp(*votes, half_bin, peaks)
    o, qp, rp, qxy, rxy, lv, w = (torch.from_numpy(column) for column in votes)
    score, bins = on_torch(o, qp, rp, qxy, rxy, lv, w, half_bin, peaks)
    return score.numpy(), bins.numpy()


def on_cpp(
    offsets: NDArray[np.int64],
    query_patch: NDArray[np.int32],
    reference_patch: NDArray[np.int64],
    query_xy: NDArray[np.int32],
    reference_xy: NDArray[np.int32],
    level: NDArray[np.int32],
    weight: NDArray[np.int32],
    half_bin: int,
    peaks: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The C++ form: csrc/vote_peaks.cpp; arguments as in `vote_peaks`, contiguous."""
    groups = len(offsets) - 1
    score, bins = np.empty((groups, peaks), np.int64), np.empty((groups, peaks, 3), np.int32)
    library.call(
        "vote_peaks", offsets, groups, query_patch, reference_patch, query_xy, reference_xy, level, weight,
        inverse_ratios(), LEVELS, half_bin, peaks, library.thread_count(), score, bins,
    )  # fmt: skip
    return score, bins


def on_torch(
    offsets: Tensor,
    query_patch: Tensor,
    reference_patch: Tensor,
    query_xy: Tensor,
    reference_xy: Tensor,
    level: Tensor,
    weight: Tensor,
    half_bin: int,
    peaks: int,
) -> tuple[Tensor, Tensor]:
    """The definition; arguments as in `vote_peaks`, as tensors."""
    groups = len(offsets) - 1
    group = torch.repeat_interleave(torch.arange(groups), offsets.diff())
    inverse = torch.from_numpy(inverse_ratios()).long()
    places, votes = [], []
    for bin_level in (level.long() - 1, level.long()):
        vote = (bin_level >= 0).nonzero()[:, 0]
        scaled = reference_xy[vote].long() * inverse[bin_level[vote], None]
        shift = ((scaled + 32768) >> 16) - query_xy[vote].long()  # (n, 2) 1/16 query px
        x, y = torch.div(shift, half_bin, rounding_mode="floor").unbind(1)
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
            places.append(torch.stack([group[vote], bin_level[vote], y - dy, x - dx], 1))
            votes.append(vote)
    place, vote = torch.cat(places), torch.cat(votes)
    if not len(place) or not peaks:
        return torch.zeros(groups, peaks, dtype=torch.int64), torch.zeros(groups, peaks, 3, dtype=torch.int32)
    # A bin's key counts through (group, level, y, x) with a margin of one on all sides, so that neighbours are sums.
    low, high = place.amin(0) - 1, place.amax(0) + 1
    rows, columns = (high - low + 1)[2:].tolist()
    strides = torch.tensor([(LEVELS + 2) * rows * columns, rows * columns, columns, 1])
    origin = torch.tensor([0, -1, int(low[2]), int(low[3])])
    bins, of_bin = torch.unique(((place - origin) * strides).sum(1), return_inverse=True)
    score = torch.minimum(
        _sum_once(of_bin, query_patch.long()[vote], weight.long()[vote], len(bins)),
        _sum_once(of_bin, reference_patch[vote], weight.long()[vote], len(bins)),
    )
    score = torch.where(_is_peak(bins, score, strides), score, 0)
    unpacked = bins[:, None] // strides % torch.tensor([groups, LEVELS + 2, rows, columns]) + origin
    return _strongest(unpacked, score, groups, peaks)


def _sum_once(of_bin: Tensor, patch: Tensor, weight: Tensor, bins: int) -> Tensor:
    """(B,) sum over patches of each patch's heaviest vote in the bin."""
    pairs, of_pair = torch.unique(torch.stack([of_bin, patch], 1), dim=0, return_inverse=True)
    heaviest = torch.zeros(len(pairs), dtype=torch.int64).scatter_reduce_(0, of_pair, weight, "amax")
    return torch.zeros(bins, dtype=torch.int64).index_add_(0, pairs[:, 0], heaviest)


def _is_peak(bins: Tensor, score: Tensor, strides: Tensor) -> Tensor:
    """(B,) whether no bin of the 3 x 3 x 3 around scores more; of equal neighbours the lowest key is the peak."""
    peak = score > 0
    steps = torch.tensor([-1, 0, 1])
    for offset in (torch.cartesian_prod(steps, steps, steps) * strides[1:]).sum(1).tolist():
        if offset == 0:
            continue
        at = torch.searchsorted(bins, bins + offset).clamp_max(len(bins) - 1)
        other = torch.where(bins[at] == bins + offset, score[at], 0)
        peak &= score > other if offset < 0 else score >= other
    return peak


def _strongest(bins: Tensor, score: Tensor, groups: int, peaks: int) -> tuple[Tensor, Tensor]:
    """The first `peaks` of each group by falling score; `bins` (B, 4) of (group, level, y, x) in rising order."""
    order = torch.argsort(score, descending=True, stable=True)
    order = order[torch.argsort(bins[order, 0], stable=True)]
    group, score = bins[order, 0], score[order]
    rank = torch.arange(len(group)) - torch.searchsorted(group, group)
    keep = (rank < peaks) & (score > 0)
    top_score = torch.zeros(groups, peaks, dtype=torch.int64)
    top_bin = torch.zeros(groups, peaks, 3, dtype=torch.int32)
    top_score[group[keep], rank[keep]] = score[keep]
    top_bin[group[keep], rank[keep]] = bins[order, 1:][keep].int()
    return top_score, top_bin
