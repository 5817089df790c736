"""vote_topk: votes for (log-scale, shift) in overlapping bins, and the strongest local maxima of each group.

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

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from localmatch.kernels import dispatch, library

RATIO_BIAS = 8
"""Log-scale steps run from -8 to 7 half octaves (1/16 to 11 times); they are stored from 0."""

LEVELS = 16
"""Number of log-scale bins."""

BACKENDS = ("cuda", "cpp", "torch")

WORDS_OF_VOTE = 60
"""What the CUDA form keeps of a vote, in words of 64 bits: see csrc/cuda/vote_table.h."""


class Votes(NamedTuple):
    """The columns of `vote_topk`, contiguous, and the size of the largest group."""

    longest: int
    offsets: Tensor
    query_patch: Tensor
    reference_patch: Tensor
    query_xy: Tensor
    reference_xy: Tensor
    level: Tensor
    weight: Tensor


@cache
def inverse_ratios(device: torch.device | str = "cpu") -> Tensor:
    """(16,) int32, Q16 inverse of each log-scale bin's middle ratio, 2^((j - 8 + 0.5) / 2)."""
    steps = torch.arange(LEVELS, dtype=torch.float64) - RATIO_BIAS + 0.5
    return (65536 / 2 ** (steps / 2)).round().int().to(device)


def vote_topk(
    offsets: Tensor,
    query_patch: Tensor,
    reference_patch: Tensor,
    query_xy: Tensor,
    reference_xy: Tensor,
    level: Tensor,
    weight: Tensor,
    half_bin: int,
    peaks: int,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Find the strongest peaks of every group of votes.

    Args:
        offsets: (G + 1,) int64; votes of group g are offsets[g] to offsets[g + 1].
        query_patch: (N,) int32 number of the query patch.
        reference_patch: (N,) int64 number of the reference patch.
        query_xy, reference_xy: (N, 2) int32 in 1/16 px, below 2^22 in size.
        level: (N,) int32 half-octave steps of the scale ratio, plus `RATIO_BIAS`, in [0, 16).
        weight: (N,) int32 evidence, not negative. (On a GPU, values of columns are not checked.)
        half_bin: Half the side of a shift bin, in 1/16 query px.
        peaks: How many peaks a group.
        backend: "cuda", "cpp", "torch" or None to choose.

    Returns:
        score (G, peaks) int64, strongest first, ties to the lowest bin, 0 where there are fewer peaks; bin
        (G, peaks, 3) int32 (log-scale, y, x).

    Raises:
        ValueError: Shapes or ranges do not fit.
        BackendError: The named backend cannot serve.
    """
    columns = (query_patch, reference_patch, query_xy, reference_xy, level, weight)
    count = len(query_patch)
    if any(len(column) != count for column in columns) or query_xy.shape[1:] != (2,) or reference_xy.shape[1:] != (2,):
        raise ValueError(f"expected {count} votes in every column, got shapes {[tuple(c.shape) for c in columns]}")
    types = [column.dtype for column in (offsets, *columns)]
    if types != [torch.int64, torch.int32, torch.int64, *[torch.int32] * 4]:
        raise ValueError(f"expected int32, offsets and reference_patch int64, got {types}")
    if half_bin < 1 or peaks < 0:
        raise ValueError(f"expected half_bin >= 1 and peaks >= 0, got {half_bin} and {peaks}")
    score, bins = torch.ops.localmatch.vote_topk(offsets, *columns, half_bin, peaks, backend)
    return score, bins


def _vote(
    offsets: Tensor,
    query_patch: Tensor,
    reference_patch: Tensor,
    query_xy: Tensor,
    reference_xy: Tensor,
    level: Tensor,
    weight: Tensor,
    half_bin: int,
    peaks: int,
    backend: str | None,
) -> tuple[Tensor, Tensor]:
    """`vote_topk` as torch sees it."""
    count = len(query_patch)
    longest = dispatch.check_offsets(offsets, count)
    if dispatch.checks_values(level) and count and (level.min() < 0 or level.max() >= LEVELS or weight.min() < 0):
        raise ValueError(f"expected level in [0, {LEVELS}) and weight >= 0")
    columns = offsets, query_patch, reference_patch, query_xy, reference_xy, level, weight
    form: Callable[..., tuple[Tensor, Tensor]] = {"cuda": on_cuda, "cpp": on_cpp, "torch": on_torch}[
        dispatch.choose(backend, query_patch.device, BACKENDS)
    ]
    return form(Votes(longest, *(column.contiguous() for column in columns)), half_bin, peaks)


def _empty(offsets: Tensor, peaks: int) -> tuple[Tensor, Tensor]:
    """Outputs to be filled."""
    shape = (offsets.shape[0] - 1, peaks)
    return offsets.new_empty(shape), offsets.new_empty((*shape, 3), dtype=torch.int32)


def on_cpp(votes: Votes, half_bin: int, peaks: int) -> tuple[Tensor, Tensor]:
    """The C++ form: csrc/vote_topk.cpp."""
    _, offsets, *columns = votes
    score, bins = _empty(offsets, peaks)
    library.call(
        "cpp", "vote_topk", offsets, len(offsets) - 1, *columns, inverse_ratios(), LEVELS, half_bin, peaks,
        library.thread_count(), score, bins,
    )  # fmt: skip
    return score, bins


def on_cuda(votes: Votes, half_bin: int, peaks: int) -> tuple[Tensor, Tensor]:
    """The CUDA form: csrc/cuda/vote_topk.cu."""
    longest, offsets, *columns = votes
    score, bins = _empty(offsets, peaks)
    scratch = offsets.new_empty(WORDS_OF_VOTE * len(votes.query_patch))
    library.call(
        "cuda", "cuda_vote_topk", offsets, len(offsets) - 1, *columns, inverse_ratios(offsets.device), half_bin,
        peaks, longest, scratch, score, bins, library.stream(),
    )  # fmt: skip
    return score, bins


def on_torch(votes: Votes, half_bin: int, peaks: int) -> tuple[Tensor, Tensor]:
    """The definition."""
    _, offsets, query_patch, reference_patch, query_xy, reference_xy, level, weight = votes
    groups, device = len(offsets) - 1, offsets.device
    group = torch.repeat_interleave(torch.arange(groups, device=device), offsets.diff())
    inverse = inverse_ratios(device).long()
    places, voters = [], []
    for bin_level in (level.long() - 1, level.long()):
        vote = (bin_level >= 0).nonzero()[:, 0]
        scaled = reference_xy[vote].long() * inverse[bin_level[vote], None]
        shift = ((scaled + 32768) >> 16) - query_xy[vote].long()  # (n, 2) 1/16 query px
        x, y = torch.div(shift, half_bin, rounding_mode="floor").unbind(1)
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
            places.append(torch.stack([group[vote], bin_level[vote], y - dy, x - dx], 1))
            voters.append(vote)
    place, vote = torch.cat(places), torch.cat(voters)
    if not len(place) or not peaks:
        return _no_peaks(offsets, peaks)
    # A bin's key counts through (group, level, y, x) with a margin of one on all sides, so that neighbours are sums.
    low, high = place.amin(0) - 1, place.amax(0) + 1
    rows, columns = (high - low + 1)[2:].tolist()
    strides = torch.tensor([(LEVELS + 2) * rows * columns, rows * columns, columns, 1], device=device)
    origin = torch.tensor([0, -1, int(low[2]), int(low[3])], device=device)
    bins, of_bin = torch.unique(((place - origin) * strides).sum(1), return_inverse=True)
    score = torch.minimum(
        _sum_once(of_bin, query_patch.long()[vote], weight.long()[vote], len(bins)),
        _sum_once(of_bin, reference_patch[vote], weight.long()[vote], len(bins)),
    )
    score = torch.where(_is_peak(bins, score, strides), score, 0)
    sizes = torch.tensor([groups, LEVELS + 2, rows, columns], device=device)
    return _strongest(bins[:, None] // strides % sizes + origin, score, offsets, peaks)


def _no_peaks(offsets: Tensor, peaks: int) -> tuple[Tensor, Tensor]:
    """What groups without votes have."""
    score, bins = _empty(offsets, peaks)
    return score.zero_(), bins.zero_()


def _sum_once(of_bin: Tensor, patch: Tensor, weight: Tensor, bins: int) -> Tensor:
    """(B,) sum over patches of each patch's heaviest vote in the bin."""
    numbers, patch = torch.unique(patch, return_inverse=True)
    pairs, of_pair = torch.unique(of_bin * len(numbers) + patch, return_inverse=True)
    heaviest = weight.new_zeros(len(pairs)).scatter_reduce_(0, of_pair, weight, "amax")
    return weight.new_zeros(bins).index_add_(0, pairs // len(numbers), heaviest)


def _is_peak(bins: Tensor, score: Tensor, strides: Tensor) -> Tensor:
    """(B,) whether no bin of the 3 x 3 x 3 around scores more; of equal neighbours the lowest key is the peak."""
    peak = score > 0
    steps = torch.tensor([-1, 0, 1], device=bins.device)
    for offset in (torch.cartesian_prod(steps, steps, steps) * strides[1:]).sum(1).tolist():
        if offset == 0:
            continue
        at = torch.searchsorted(bins, bins + offset).clamp_max(len(bins) - 1)
        other = torch.where(bins[at] == bins + offset, score[at], 0)
        peak &= score > other if offset < 0 else score >= other
    return peak


def _strongest(bins: Tensor, score: Tensor, offsets: Tensor, peaks: int) -> tuple[Tensor, Tensor]:
    """The first `peaks` of each group by falling score; `bins` (B, 4) of (group, level, y, x) in rising order."""
    order = torch.argsort(score, descending=True, stable=True)
    order = order[torch.argsort(bins[order, 0], stable=True)]
    group, score = bins[order, 0], score[order]
    rank = torch.arange(len(group), device=group.device) - torch.searchsorted(group, group)
    keep = (rank < peaks) & (score > 0)
    top_score, top_bin = _no_peaks(offsets, peaks)
    top_score[group[keep], rank[keep]] = score[keep]
    top_bin[group[keep], rank[keep]] = bins[order, 1:][keep].int()
    return top_score, top_bin


dispatch.register(
    "vote_topk",
    "(Tensor offsets, Tensor query_patch, Tensor reference_patch, Tensor query_xy, Tensor reference_xy, Tensor level,"
    " Tensor weight, int half_bin, int peaks, str? backend) -> (Tensor, Tensor)",
    _vote,
    lambda offsets, _qp, _rp, _qxy, _rxy, _level, _weight, _half_bin, peaks, _backend: _empty(offsets, peaks),
)
