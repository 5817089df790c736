"""rerank_topk in Triton: candidates of a query are gathered, multiplied and sorted out, and only the best are stored.

score[q, c] = sum over d of query[q, d] * table[candidates[q, c], d]

Runs are not gathered, as each is wanted by many queries: a program multiplies a run with the queries that want it and
keeps the highest score of every `PART` rows. The k best rows of a query lie in its k highest parts (of equal ones the
first), so that only the rows of those have to be gathered.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from localmatch.kernels.rerank import pairs_of_runs
from localmatch.kernels.triton.match import padded_of

ROWS, BYTES = 256, 1 << 15
"""Most rows a program, and bytes of them."""

ROWS_OF_WARP, BYTES_OF_WARP = 128, 1 << 14
"""More spill registers; with fewer, more warps wait for each other at every maximum."""

PART = 8
"""Rows of a run of which only the highest score is kept, a power of 2 below 128."""

RUN_QUERIES, RUN_ROWS, RUN_DEPTH, RUN_WARPS = 32, 32, 64, 2
"""Tile of a run: queries, rows and, at once, components; and warps of a program."""

RUN_STAGES, RUN_STAGES_OF_AMD = 3, 1
"""Tiles whose loads are under way at once; more spill registers on AMD's."""

PARTS, PARTS_WARPS = 1024, 1
"""Most parts of which a program chooses, and its warps."""

SCRATCH_BYTES = 1 << 28
"""Bytes that the scores of parts may take, were each run as long as the longest; else queries are taken in turns."""

NONE = tl.constexpr(-(1 << 31))
NOTHING = tl.constexpr(-(1 << 63))
COLUMNS = tl.constexpr(16)


def block_of(rows: int, dimension: int) -> int:
    """How many of so many rows a program takes."""
    return min(ROWS, BYTES // padded_of(dimension), max(16, int(triton.next_power_of_2(rows))))


def warps_of(block: int, dimension: int) -> int:
    """Warps of a program of so many rows."""
    return max(1, block // ROWS_OF_WARP, block * padded_of(dimension) // BYTES_OF_WARP)


def stages_of(amd: bool) -> int:
    """Tiles of a run whose loads are under way at once."""
    return RUN_STAGES_OF_AMD if amd else RUN_STAGES


def best_of_blocks(query: Tensor, candidates: Tensor, table: Tensor, score: Tensor, row: Tensor) -> None:
    """Fill the best of each block of candidates, `score` and `row` (Q, blocks, k), best first.

    Args:
        query, candidates, table: As in `rerank_topk`, candidates being rows.
        score, row: `NONE` and -1 where a block has fewer rows.
    """
    queries, blocks, k = score.shape
    if not score.numel():
        return
    dimension, block = query.shape[1], block_of(candidates.shape[1], query.shape[1])
    rerank_kernel[(queries, blocks)](
        query, candidates, table, score, row, candidates.shape[1], len(table), dimension, k, padded_of(dimension),
        block, num_warps=warps_of(block, dimension),
    )  # fmt: skip


def rows_of_runs(query: Tensor, runs: Tensor, table: Tensor, offsets: Tensor, longest: int, k: int) -> Tensor:
    """The rows (Q, n) int32 of each query's runs among which its k best are, -1 for none.

    Args:
        query, table, offsets: As in `rerank_topk`.
        runs: (Q, C) int32, C at least 1.
        longest: Rows of the longest run, at least 1.
        k: At least 1.
    """
    queries, width = runs.shape
    dimension, count, parts = query.shape[1], len(offsets) - 1, triton.cdiv(longest, PART)
    together = max(1, SCRATCH_BYTES // (4 * width * parts))
    if queries > together:
        turns = zip(torch.split(query, together), torch.split(runs, together), strict=True)
        return torch.cat([rows_of_runs(*turn, table, offsets, longest, k) for turn in turns])
    starts, pairs = pairs_of_runs(runs, count)
    highest = query.new_empty((queries, width * parts), dtype=torch.int32)
    parts_kernel[(count,)](
        query, pairs, starts, table, offsets, highest, width, parts, dimension,
        min(padded_of(dimension), RUN_DEPTH), RUN_QUERIES, RUN_ROWS, PART, num_warps=RUN_WARPS,
        num_stages=stages_of(amd=torch.version.hip is not None),
    )  # fmt: skip
    block = min(PARTS, int(triton.next_power_of_2(width * parts)))
    k = min(k, block)
    rows = runs.new_empty((queries, triton.cdiv(width * parts, block) * k * PART))
    choose_kernel[(queries, triton.cdiv(width * parts, block))](
        runs, offsets, highest, rows, width, parts, count, k, PART, block, num_warps=PARTS_WARPS
    )
    return rows


@triton.jit
def rerank_kernel(
    query,
    candidates,
    table,
    score,
    row,
    width,
    count,
    dimension: tl.constexpr,
    k: tl.constexpr,
    padded: tl.constexpr,
    block: tl.constexpr,
):
    """A block of candidates of one query."""
    q = tl.program_id(0).to(tl.int64)
    step = tl.program_id(1) * block + tl.arange(0, block)
    d = tl.arange(0, padded)
    rows = tl.load(candidates + q * width + step, step < width, other=-1).to(tl.int64)
    there = (rows >= 0) & (rows < count)
    own = tl.load(query + q * dimension + d, d < dimension, other=0)
    other = tl.load(table + rows[:, None] * dimension + d[None], there[:, None] & (d < dimension)[None], other=0)
    # Tensor cores multiply by at least so many columns: all are the query.
    total = tl.max(tl.dot(other, tl.broadcast_to(own[:, None], (padded, COLUMNS)), out_dtype=tl.int32), 1)
    # Score in the upper half; in the lower one the row, counted from above so that the lowest of equal ones wins.
    packed = tl.where(there, (total.to(tl.int64) << 32) | (0x7FFFFFFF - rows), NOTHING)
    out = (q * tl.num_programs(1) + tl.program_id(1)) * k
    for rank in range(k):
        top = tl.max(packed, 0)
        found = (top >> 32).to(tl.int32)
        tl.store(score + out + rank, found)
        tl.store(row + out + rank, tl.where(found == NONE, -1, 0x7FFFFFFF - (top & 0xFFFFFFFF)).to(tl.int32))
        packed = tl.where(packed == top, NOTHING, packed)


@triton.jit
def parts_kernel(
    query,
    pairs,
    starts,
    table,
    offsets,
    highest,
    width,
    parts,
    dimension: tl.constexpr,
    depth: tl.constexpr,
    block_q: tl.constexpr,
    block_r: tl.constexpr,
    part: tl.constexpr,
):
    """The highest scores of a run's parts, for some of the queries that want it."""
    run = tl.program_id(0).to(tl.int64)
    first, last = tl.load(starts + run), tl.load(starts + run + 1)
    start, stop = tl.load(offsets + run), tl.load(offsets + run + 1)
    d = tl.arange(0, depth)
    for tile in range(first, last, block_q):
        place = tile + tl.arange(0, block_q)
        pair = tl.load(pairs + place, place < last, other=0)
        own = query + (pair // width)[:, None] * dimension + d[None]
        for begin in range(start, stop, block_r):
            rows = begin + tl.arange(0, block_r)
            other = table + rows[None] * dimension + d[:, None]
            total = tl.zeros((block_q, block_r), tl.int32)
            for done in tl.range(0, dimension, depth, num_stages=1):
                some = d < dimension - done
                a = tl.load(own + done, (place < last)[:, None] & some[None], other=0)
                b = tl.load(other + done, (rows < stop)[None] & some[:, None], other=0)
                total = tl.dot(a, b, total, out_dtype=tl.int32)
            total = tl.where((rows < stop)[None], total, NONE)
            top = tl.max(tl.reshape(total, (block_q, block_r // part, part)), 2)
            number = (begin - start) // part + tl.arange(0, block_r // part)
            out = highest + pair[:, None] * parts + number[None]
            tl.store(out, top, (place < last)[:, None] & (number < parts)[None])


@triton.jit
def choose_kernel(
    runs, offsets, highest, rows, width, parts, count, k: tl.constexpr, part: tl.constexpr, block: tl.constexpr
):
    """The rows of the k highest of a block of one query's parts."""
    q = tl.program_id(0).to(tl.int64)
    step = tl.program_id(1) * block + tl.arange(0, block)
    run = tl.load(runs + q * width + step // parts, step < width * parts, other=-1).to(tl.int64)
    known = (run >= 0) & (run < count)
    first = tl.load(offsets + run, known, other=0) + step % parts * part
    stop = tl.load(offsets + run + 1, known, other=0)
    there = known & (first < stop)
    score = tl.load(highest + q * width * parts + step, there, other=0).to(tl.int64)
    # As scores have 26 bits at most, and rows 31, how many rows a part has fits below them.
    length = tl.minimum(stop - first, part)
    packed = tl.where(there, (score << 38) | ((0x7FFFFFFF - first) << 7) | length, NOTHING)
    number = tl.arange(0, part)
    out = rows + ((q * tl.num_programs(1) + tl.program_id(1)) * k) * part + number
    for rank in range(k):
        top = tl.max(packed, 0)
        row = 0x7FFFFFFF - ((top >> 7) & 0x7FFFFFFF) + number
        tl.store(out + rank * part, tl.where((top != NOTHING) & (number < (top & 127)), row, -1).to(tl.int32))
        packed = tl.where(packed == top, NOTHING, packed)
