"""rerank_topk in Triton: candidates of a query are gathered, multiplied and sorted out, and only the best are stored.

score[q, c] = sum over d of query[q, d] * table[candidates[q, c], d]

A program takes a block of rows of one query: of its candidates or, with offsets, of one of its runs.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from localmatch.kernels.triton.match import padded_of

ROWS, BYTES = 256, 1 << 15
"""Most rows a program, and bytes of them."""

ROWS_OF_WARP, BYTES_OF_WARP = 128, 1 << 14
"""More spill registers; with fewer, more warps wait for each other at every maximum."""

NONE = tl.constexpr(-(1 << 31))
COLUMNS = tl.constexpr(16)


def block_of(rows: int, dimension: int) -> int:
    """How many of so many rows a program takes."""
    return min(ROWS, BYTES // padded_of(dimension), max(16, int(triton.next_power_of_2(rows))))


def warps_of(block: int, dimension: int) -> int:
    """Warps of a program of so many rows."""
    return max(1, block // ROWS_OF_WARP, block * padded_of(dimension) // BYTES_OF_WARP)


def best_of_blocks(
    query: Tensor, candidates: Tensor, table: Tensor, offsets: Tensor | None, longest: int, score: Tensor, row: Tensor
) -> None:
    """Fill the best of each block, `score` and `row` (Q, runs, blocks, k), best first.

    Args:
        query, candidates, table, offsets: As in `rerank_topk`.
        longest: Rows of the longest run; without offsets, of all candidates.
        score, row: `NONE` and -1 where a block has fewer rows.
    """
    queries, runs, blocks, k = score.shape
    if not score.numel():
        return
    dimension, block = query.shape[1], block_of(longest, query.shape[1])
    starts, count = (candidates, len(table)) if offsets is None else (offsets, len(offsets) - 1)
    rerank_kernel[(queries, runs, blocks)](
        query, candidates, table, starts, score, row, longest, candidates.shape[1], count, dimension, k,
        offsets is not None, padded_of(dimension), block, num_warps=warps_of(block, dimension),
    )  # fmt: skip


@triton.jit
def rerank_kernel(
    query,
    candidates,
    table,
    offsets,
    score,
    row,
    longest,
    width,
    count,
    dimension: tl.constexpr,
    k: tl.constexpr,
    with_runs: tl.constexpr,
    padded: tl.constexpr,
    block: tl.constexpr,
):
    """A block of rows of one query."""
    q = tl.program_id(0).to(tl.int64)
    step = tl.program_id(2) * block + tl.arange(0, block)
    d = tl.arange(0, padded)
    if with_runs:
        run = tl.load(candidates + q * width + tl.program_id(1)).to(tl.int64)
        known = (run >= 0) & (run < count)
        start, stop = tl.load(offsets + run, known, other=0), tl.load(offsets + run + 1, known, other=0)
        rows = start + step
        there = rows < stop
    else:
        rows = tl.load(candidates + q * width + step, step < longest, other=-1).to(tl.int64)
        there = (rows >= 0) & (rows < count)
    own = tl.load(query + q * dimension + d, d < dimension, other=0)
    other = tl.load(table + rows[:, None] * dimension + d[None], there[:, None] & (d < dimension)[None], other=0)
    # Tensor cores multiply by at least so many columns: all are the query.
    total = tl.max(tl.dot(other, tl.broadcast_to(own[:, None], (padded, COLUMNS)), out_dtype=tl.int32), 1)
    # Score in the upper half; in the lower one the row, counted from above so that the lowest of equal ones wins.
    packed = tl.where(there, (total.to(tl.int64) << 32) | (0x7FFFFFFF - rows), -(1 << 63))
    out = ((q * tl.num_programs(1) + tl.program_id(1)) * tl.num_programs(2) + tl.program_id(2)) * k
    for rank in range(k):
        top = tl.max(packed, 0)
        found = (top >> 32).to(tl.int32)
        tl.store(score + out + rank, found)
        tl.store(row + out + rank, tl.where(found == NONE, -1, 0x7FFFFFFF - (top & 0xFFFFFFFF)).to(tl.int32))
        packed = tl.where(packed == top, -(1 << 63), packed)
