"""match_topk in Triton: a tile of queries stays, the rows of one reference pass by.

acc[q, r] = query[q] . reference[r]        int8 x int8 -> int32 on tensor cores
best, row, second of each q are kept in registers, so that acc is never written

A score and its place in the tile are packed into one number, score * width + (width - 1 - place): its maximum is the
highest score and, of equal ones, the first place, at one multiplication and one maximum an element.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

BEST_ONLY, MORE = (128, 128, 4, 3), (128, 64, 8, 3)
"""Tile (queries, rows) and launch (warps, stages): the fastest of twelve on an H100 for best rows alone; and one that
spills no register where second or mutual ones are asked for, too."""

LONG, LONGEST = (128, 64, 8, 2), (32, 32, 4, 1)
"""The same above 128 and above 256 dimensions, to fit the shared memory of every GPU and, packed, 32 bits."""

NONE = tl.constexpr(-(1 << 31))


def padded_of(dimension: int) -> int:
    """Components that are multiplied: tensor cores take at least 32, and what is beyond the dimension is masked."""
    return max(32, int(triton.next_power_of_2(dimension)))


def tile_of(dimension: int, more: bool) -> tuple[int, int, int, int]:
    """Tile and launch by dimension, and whether second or mutual rows are asked for."""
    if dimension > 128:
        return LONG if dimension <= 256 else LONGEST
    return MORE if more else BEST_ONLY


def best_rows(
    query: Tensor, reference: Tensor, offsets: Tensor, best: Tensor, row: Tensor, second: Tensor, packed: Tensor
) -> None:
    """Fill the outputs of `match_topk`; `second` and `packed` only where they are not empty."""
    queries, dimension = query.shape
    segments = len(offsets) - 1
    if not queries or not segments:
        return
    block_q, block_r, warps, stages = tile_of(dimension, second.numel() > 0 or packed.numel() > 0)
    match_kernel[(triton.cdiv(queries, block_q), segments)](
        query, reference, offsets, best, row, second, packed, queries, dimension,
        second.numel() > 0, packed.numel() > 0, padded_of(dimension), block_q, block_r,
        block_q.bit_length() - 1, block_r.bit_length() - 1, num_warps=warps, num_stages=stages,
    )  # fmt: skip


@triton.jit
def match_kernel(
    query,
    reference,
    offsets,
    best,
    row,
    second,
    packed,
    queries,
    dimension: tl.constexpr,
    with_second: tl.constexpr,
    with_mutual: tl.constexpr,
    padded: tl.constexpr,
    block_q: tl.constexpr,
    block_r: tl.constexpr,
    shift_q: tl.constexpr,
    shift_r: tl.constexpr,
):
    """One tile of queries against one reference."""
    # 64-bit: queries * segments may exceed 2^31.
    segment = tl.program_id(1).to(tl.int64)
    tile = tl.program_id(0).to(tl.int64) * block_q
    q = tile + tl.arange(0, block_q)
    d = tl.arange(0, padded)
    real = q < queries
    own = tl.load(query + q[:, None] * dimension + d[None], real[:, None] & (d < dimension)[None], other=0)
    start, stop = tl.load(offsets + segment), tl.load(offsets + segment + 1)
    high = tl.full([block_q], NONE, tl.int32)
    low = tl.full([block_q], NONE, tl.int32)
    where = tl.full([block_q], -1, tl.int32)
    place_r, place_q = tl.arange(0, block_r), tl.arange(0, block_q)
    for first in range(start, stop, block_r):
        there = first + place_r < stop
        # Beyond the end the last row comes again, which its first place beats: so no score has to be masked.
        r = tl.minimum(first + place_r, stop - 1)
        at = reference + r[None].to(tl.int64) * dimension + d[:, None]
        rows = tl.load(at, (d < dimension)[:, None], other=0)
        score = tl.dot(own, rows, out_dtype=tl.int32)
        along = score * block_r + (block_r - 1 - place_r)[None]
        top = tl.max(along, 1)
        found = top >> shift_r  # without the place
        if with_second:
            along = tl.where(there[None], along, NONE)
            rest = tl.max(tl.where(along == top[:, None], NONE, along), 1)
            rest = tl.where(rest == NONE, NONE, rest >> shift_r)
            low = tl.maximum(tl.maximum(low, rest), tl.minimum(high, found))
        where = tl.where(found > high, (first + (block_r - 1 - (top & (block_r - 1)))).to(tl.int32), where)
        high = tl.maximum(high, found)
        if with_mutual:
            down = tl.where(real[:, None], score * block_q + (block_q - 1 - place_q)[:, None], NONE)
            reach = tl.max(down, 0)
            # Of equal queries the lowest wins: it is counted from above.
            who = 0xFFFFFFFF - (tile + block_q - 1) + (reach & (block_q - 1)).to(tl.int64)
            tl.atomic_max(packed + r, ((reach >> shift_q).to(tl.int64) << 32) | who, there)
    out = segment * queries + q
    tl.store(best + out, high, real)
    tl.store(row + out, where, real)
    if with_second:
        tl.store(second + out, low, real)
