"""rerank_topk: the exact best rows of a table among each query's candidates.

    score[q, c] = sum over d of query[q, d] * table[candidates[q, c], d]

The k highest of each query, highest first, of equal ones the lowest row first. Candidates are rows, or runs of rows
such as the inverted lists of an index; the table may be memory-mapped. (Inverted lists: Sivic and Zisserman, "Video
Google", ICCV 2003; exact distances after an approximate search: Jegou et al., "Searching in one billion vectors:
re-rank with source coding", ICASSP 2011.)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from localmatch.kernels import dispatch, library
from localmatch.kernels.match import MAX_DIMENSION, NONE

BACKENDS = ("triton", "cpp", "torch")


def rerank_topk(
    query: Tensor,
    candidates: Tensor,
    table: Tensor,
    k: int,
    offsets: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Find the best of each query's candidates.

    Args:
        query: (Q, D) int8; D a multiple of 4, at most 1024.
        candidates: (Q, C) int32 rows of the table, or runs; each at most once a query; -1 for none. (On
            a GPU, values are not checked, and those beyond the table are none.)
        table: (R, D) int8.
        k: How many to return.
        offsets: (N + 1,) int64; run n is the rows offsets[n] to offsets[n + 1], all runs are the whole table. None:
            candidates are rows.
        backend: "triton", "cpp", "torch" or None to choose.

    Returns:
        score (Q, k) int32 and index (Q, k) int32, the row; `NONE` and -1 where there are fewer candidates.

    Raises:
        ValueError: Shapes, types, offsets or candidates do not fit.
        BackendError: The named backend cannot serve.
    """
    if query.ndim != 2 or table.ndim != 2 or candidates.ndim != 2 or query.shape[1] != table.shape[1]:
        shapes = [tuple(one.shape) for one in (query, candidates, table)]
        raise ValueError(f"expected (Q, D), (Q, C) and (R, D), got {shapes}")
    if len(query) != len(candidates):
        raise ValueError(f"expected candidates for {len(query)} queries, got {len(candidates)}")
    if (query.dtype, candidates.dtype, table.dtype) != (torch.int8, torch.int32, torch.int8):
        raise ValueError(f"expected int8, int32, int8, got {query.dtype}, {candidates.dtype}, {table.dtype}")
    if offsets is not None and offsets.dtype != torch.int64:
        raise ValueError(f"expected int64 offsets, got {offsets.dtype}")
    if query.shape[1] % 4 or not 4 <= query.shape[1] <= MAX_DIMENSION or k < 0:
        raise ValueError(f"expected a dimension that is a multiple of 4 and k >= 0, got {query.shape[1]} and {k}")
    score, index = torch.ops.localmatch.rerank_topk(query, candidates, table, k, offsets, backend)
    return score, index


def _rerank(
    query: Tensor, candidates: Tensor, table: Tensor, k: int, offsets: Tensor | None, backend: str | None
) -> tuple[Tensor, Tensor]:
    """`rerank_topk` as torch sees it."""
    longest = candidates.shape[1] if offsets is None else dispatch.check_offsets(offsets, len(table))
    count = len(table) if offsets is None else len(offsets) - 1
    checked = dispatch.checks_values(candidates) and candidates.numel()
    if checked and (candidates.max() >= count or candidates.min() < -1):
        raise ValueError(
            f"expected candidates from -1 to {count - 1}, got {int(candidates.min())} to {int(candidates.max())}"
        )
    form: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
        "triton": partial(on_triton, longest=longest),
        "cpp": on_cpp,
        "torch": on_torch,
    }
    chosen = form[dispatch.choose(backend, query.device, BACKENDS)]
    offsets = None if offsets is None else offsets.contiguous()
    return chosen(query.contiguous(), candidates.contiguous(), table.contiguous(), k, offsets)


def _empty(
    query: Tensor, candidates: Tensor, table: Tensor, k: int, offsets: Tensor | None, backend: str | None = None
) -> tuple[Tensor, Tensor]:
    """Outputs to be filled."""
    shape = (query.shape[0], k)
    return query.new_empty(shape, dtype=torch.int32), query.new_empty(shape, dtype=torch.int32)


def on_torch(
    query: Tensor, candidates: Tensor, table: Tensor, k: int, offsets: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The definition; arguments as in `rerank_topk`."""
    if offsets is not None:
        return _unpacked(_best_of_runs(query, candidates, table, k, offsets), k)
    rows = table[candidates.clamp_min(0).long()] if len(table) else query.new_zeros(*candidates.shape, query.shape[1])
    score = torch.einsum("qd,qcd->qc", query.float(), rows.float()).int()  # exact below 2^24
    return best_candidates(torch.where(candidates < 0, NONE, score), candidates, k)


def _best_of_runs(query: Tensor, candidates: Tensor, table: Tensor, k: int, offsets: Tensor) -> Tensor:
    """The k best rows (Q, k) of each query's runs, packed; run by run, for the queries that want it."""
    best = _packed(query.new_full((len(query), k), NONE, dtype=torch.int32), query.new_zeros(1, dtype=torch.int32))
    starts, pairs = pairs_of_runs(candidates, len(offsets) - 1)
    of_run = starts.tolist()
    for run, (first, last) in enumerate(pairwise(offsets.tolist())):
        who = pairs[of_run[run] : of_run[run + 1]] // candidates.shape[1]
        if len(who) and first < last:
            score = (query[who].float() @ table[first:last].float().T).int()  # exact below 2^24
            packed = _packed(score, torch.arange(first, last, device=score.device))
            best[who] = torch.cat([best[who], packed], 1).topk(k, dim=1).values
    return best


def pairs_of_runs(candidates: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The pairs of a query and a run that it wants, run by run.

    Returns:
        starts (count + 1,) int64, where the pairs of each run begin, and pairs (Q * C,) int64, places in `candidates`.
    """
    runs, pairs = candidates.flatten().sort(stable=True)
    return torch.searchsorted(runs, torch.arange(count + 1, dtype=torch.int32, device=runs.device)), pairs


def best_candidates(score: Tensor, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k highest scores (Q, C) with their rows; of equal ones the lowest row first."""
    packed = _packed(score, candidates)
    return _unpacked(packed.topk(min(k, packed.shape[1]), dim=1).values, k)


def _packed(score: Tensor, row: Tensor) -> Tensor:
    """A score in the upper half, in the lower one its row counted from above: the maximum is the best."""
    return (score.long() << 32) | (0x7FFFFFFF - row.long())


def _unpacked(best: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Scores and rows (Q, k) of packed ones, of which there may be fewer."""
    found = (best >> 32).int(), (0x7FFFFFFF - (best & 0xFFFFFFFF)).int()
    short = (0, k - best.shape[1])
    pad = torch.nn.functional.pad
    score, index = pad(found[0], short, value=NONE), pad(found[1], short, value=-1)
    return score, torch.where(score == NONE, -1, index)


def on_cpp(
    query: Tensor, candidates: Tensor, table: Tensor, k: int, offsets: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The C++ form: csrc/rerank_topk.cpp; arguments as in `rerank_topk`, contiguous."""
    score, index = _empty(query, candidates, table, k, offsets)
    library.call(
        "cpp", "rerank_topk", query, len(query), query.shape[1], candidates, candidates.shape[1], offsets,
        0 if offsets is None else len(offsets) - 1, table, k, library.isa(), library.thread_count(), score, index,
    )  # fmt: skip
    return score, index


def on_triton(
    query: Tensor, candidates: Tensor, table: Tensor, k: int, offsets: Tensor | None, longest: int
) -> tuple[Tensor, Tensor]:
    """The Triton form: kernels/triton/rerank.py, and a torch sort where a query has several blocks of rows.

    `longest` is how many rows the longest run has or, without offsets, the candidates of a query.
    """
    from localmatch.kernels.triton.rerank import best_of_blocks, block_of, rows_of_runs

    if not candidates.shape[1] or not longest or not k:
        return _unpacked(query.new_empty((len(query), 0), dtype=torch.int64), k)
    if offsets is not None:
        candidates = rows_of_runs(query, candidates, table, offsets, longest, k)
    block = block_of(candidates.shape[1], query.shape[1])
    shape = (len(query), -(-candidates.shape[1] // block), min(k, block))
    score, row = (query.new_empty(shape, dtype=torch.int32) for _ in range(2))
    best_of_blocks(query, candidates, table, score, row)
    if shape[1:] == (1, k):
        return score[:, 0], row[:, 0]
    return best_candidates(score.flatten(1), row.flatten(1), k)


dispatch.register(
    "rerank_topk",
    "(Tensor query, Tensor candidates, Tensor table, int k, Tensor? offsets, str? backend) -> (Tensor, Tensor)",
    _rerank,
    _empty,
)
