"""match_topk: the best row of each reference for each query descriptor, without the matrix of similarities.

    score[q, r] = sum over d of query[q, d] * reference[r, d]
    best[s, q] = max of score[q, r] over the rows r of reference s, row[s, q] = the lowest r that reaches it
    second[s, q] = the second highest, mutual[r] = the lowest query q that reaches max of score[:, r]

A pair is mutual when `mutual[row[s, q]] == q`. Products of int8 are exact integers, so every backend gives the same
bits; sums of float32 round in the order in which they are added. (Fused search: KeOps' argKmin, Charlier et al., JMLR
2021; the two nearest neighbours of Lowe's ratio, IJCV 2004.)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from localmatch.kernels import dispatch, library

NONE = torch.iinfo(torch.int32).min
"""Score where there is nothing to compare with."""

NOTHING = {torch.int8: NONE, torch.float32: float("-inf")}
"""The same by type of the descriptors."""

MAX_DIMENSION = 1024
"""Sums of more products of int8 are not exact in float32, which the reference multiplies in."""

BACKENDS, FLOAT_BACKENDS = ("triton", "cpp", "torch"), ("cpp", "torch")


class Matches(NamedTuple):
    """What each query descriptor finds in each reference.

    Attributes:
        best: (S, Q) highest score, int32 (float32 of float32); `NONE` (-inf) where the reference has no rows.
        row: (S, Q) int32 its row in the table; -1 where there are none.
        second: (S, Q) second highest score, `NONE` (-inf) where there are fewer than two rows; (0, 0) if not asked for.
        mutual: (R,) int32 best query of each row, -1 without queries; (0,) if not asked for.
    """

    best: Tensor
    row: Tensor
    second: Tensor
    mutual: Tensor


def match_topk(
    query: Tensor,
    reference: Tensor,
    offsets: Tensor,
    *,
    second: bool = False,
    mutual: bool = False,
    backend: str | None = None,
) -> Matches:
    """Match query descriptors against the descriptors of some references.

    Args:
        query: (Q, D) int8 or float32; D a multiple of 4, at most 1024.
        reference: (R, D) of the same type, reference after reference.
        offsets: (S + 1,) int64 rising from 0 to R; reference s is rows offsets[s] to offsets[s + 1].
        second: Whether to find second highest scores.
        mutual: Whether to find the best query of each row.
        backend: "triton", "cpp", "torch" or None to choose.

    Raises:
        ValueError: Shapes, types or offsets do not fit.
        BackendError: The named backend cannot serve.
    """
    if query.ndim != 2 or reference.ndim != 2 or query.shape[1] != reference.shape[1]:
        raise ValueError(f"expected (Q, D) and (R, D), got {tuple(query.shape)} and {tuple(reference.shape)}")
    if query.dtype not in NOTHING or reference.dtype != query.dtype or offsets.dtype != torch.int64:
        raise ValueError(
            f"expected int8 or float32 twice and int64, got {query.dtype}, {reference.dtype}, {offsets.dtype}"
        )
    if query.shape[1] % 4 or not 4 <= query.shape[1] <= MAX_DIMENSION:
        raise ValueError(f"expected a dimension that is a multiple of 4 up to {MAX_DIMENSION}, got {query.shape[1]}")
    return Matches(*torch.ops.localmatch.match_topk(query, reference, offsets, second, mutual, backend))


def _match(
    query: Tensor, reference: Tensor, offsets: Tensor, second: bool, mutual: bool, backend: str | None
) -> tuple[Tensor, ...]:
    """`match_topk` as torch sees it."""
    dispatch.check_offsets(offsets, len(reference))
    form = {"triton": on_triton, "cpp": on_cpp, "torch": on_torch}
    serving = BACKENDS if query.dtype == torch.int8 else FLOAT_BACKENDS
    chosen = form[dispatch.choose(backend, query.device, serving)]
    return chosen(query.contiguous(), reference.contiguous(), offsets.contiguous(), second, mutual)


def _empty(
    query: Tensor, reference: Tensor, offsets: Tensor, second: bool, mutual: bool, backend: str | None = None
) -> tuple[Tensor, ...]:
    """Outputs to be filled."""
    shape = (offsets.shape[0] - 1, query.shape[0])
    kind = torch.int32 if query.dtype == torch.int8 else query.dtype
    best, row = query.new_empty(shape, dtype=kind), query.new_empty(shape, dtype=torch.int32)
    third = query.new_empty(shape if second else (0, 0), dtype=kind)
    fourth = query.new_empty(reference.shape[0] if mutual else 0, dtype=torch.int32)
    return best, row, third, fourth


def on_torch(query: Tensor, reference: Tensor, offsets: Tensor, second: bool, mutual: bool) -> tuple[Tensor, ...]:
    """The definition, reference by reference; arguments as in `match_topk`."""
    best, row, runner_up, of_row = _empty(query, reference, offsets, second, mutual)
    of_row.fill_(-1)
    nothing = NOTHING[query.dtype]
    for number, (start, stop) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        score = (query.float() @ reference[start:stop].float().T).to(best.dtype)  # (Q, rows); of int8 exact below 2^24
        if start == stop or not len(query):
            best[number], row[number] = nothing, -1
            if second:
                runner_up[number] = nothing
            continue
        best[number] = score.amax(1)
        first = _first_maximum(score, best[number][:, None], 1)
        row[number] = first + start
        if mutual:
            of_row[start:stop] = _first_maximum(score, score.amax(0), 0)
        if second:
            score[torch.arange(len(query), device=query.device), first] = nothing
            runner_up[number] = score.amax(1)
    return best, row, runner_up, of_row


def _first_maximum(score: Tensor, maximum: Tensor, dim: int) -> Tensor:
    """Position of the first element along `dim` that equals the maximum; argmax promises no order."""
    shape = [1, 1]
    shape[dim] = score.shape[dim]
    position = torch.arange(score.shape[dim], device=score.device, dtype=torch.int32).view(shape)
    return torch.where(score == maximum, position, score.shape[dim]).amin(dim).long()


def on_cpp(query: Tensor, reference: Tensor, offsets: Tensor, second: bool, mutual: bool) -> tuple[Tensor, ...]:
    """The C++ form: csrc/match_topk.cpp; arguments as in `match_topk`, contiguous."""
    best, row, runner_up, of_row = _empty(query, reference, offsets, second, mutual)
    function = "match_topk" if query.dtype == torch.int8 else "match_topk_float"
    library.call(
        "cpp", function, query, len(query), reference, query.shape[1], offsets, len(offsets) - 1, library.isa(),
        library.thread_count(), best, row, runner_up if second else None, of_row if mutual else None,
    )  # fmt: skip
    return best, row, runner_up, of_row


def on_triton(query: Tensor, reference: Tensor, offsets: Tensor, second: bool, mutual: bool) -> tuple[Tensor, ...]:
    """The Triton form: kernels/triton/match.py; arguments as in `match_topk`, contiguous."""
    from localmatch.kernels.triton.match import best_rows

    best, row, runner_up, of_row = _empty(query, reference, offsets, second, False)
    packed = offsets.new_full((len(reference) if mutual else 0,), torch.iinfo(torch.int64).min)
    best_rows(query, reference, offsets, best, row, runner_up, packed)
    if not mutual:
        return best, row, runner_up, of_row
    # Score in the upper half; in the lower one the query, counted from above so that the lowest of equal ones wins.
    nothing = packed == torch.iinfo(torch.int64).min
    return best, row, runner_up, torch.where(nothing, -1, 0xFFFFFFFF - (packed & 0xFFFFFFFF)).int()


dispatch.register(
    "match_topk",
    "(Tensor query, Tensor reference, Tensor offsets, bool second, bool mutual, str? backend)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    _match,
    _empty,
)
