"""match_topk in Triton: a tile of queries stays, the rows of one reference pass by.

acc[q, r] = query[q] . reference[r]        int8 x int8 -> int32 on tensor cores
best, row, second of each q are kept in registers, so that acc is never written
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

QUERIES, ROWS, WARPS, STAGES = 128, 64, 8, 3
"""Tile and launch; on sm_90 the accumulators of this tile stay in registers."""

NONE = tl.constexpr(-(1 << 31))


def best_rows(
    query: Tensor, reference: Tensor, offsets: Tensor, best: Tensor, row: Tensor, second: Tensor, packed: Tensor
) -> None:
    """Fill the outputs of `match_topk`; `second` and `packed` only where they are not empty."""
    queries, dimension = query.shape
    segments = len(offsets) - 1
    if not queries or not segments:
        return
    # Tensor cores multiply at least 32 bytes at a time; what is beyond the dimension is masked.
    padded = max(32, triton.next_power_of_2(dimension))
    match_kernel[(triton.cdiv(queries, QUERIES), segments)](
        query, reference, offsets, best, row, second, packed, queries, dimension,
        second.numel() > 0, packed.numel() > 0, padded, QUERIES, ROWS, num_warps=WARPS, num_stages=STAGES,
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
    dimension,
    with_second: tl.constexpr,
    with_mutual: tl.constexpr,
    padded: tl.constexpr,
    block_q: tl.constexpr,
    block_r: tl.constexpr,
):
    """One tile of queries against one reference."""
    # 64-bit: queries * segments may exceed 2^31.
    segment = tl.program_id(1).to(tl.int64)
    q = tl.program_id(0).to(tl.int64) * block_q + tl.arange(0, block_q)
    d = tl.arange(0, padded)
    real = q < queries
    own = tl.load(query + q[:, None] * dimension + d[None], real[:, None] & (d < dimension)[None], other=0)
    start, stop = tl.load(offsets + segment), tl.load(offsets + segment + 1)
    high = tl.full([block_q], NONE, tl.int32)
    low = tl.full([block_q], NONE, tl.int32)
    where = tl.full([block_q], -1, tl.int32)
    for first in range(start, stop, block_r):
        r = first + tl.arange(0, block_r)
        there = r < stop
        rows = tl.load(
            reference + r[None].to(tl.int64) * dimension + d[:, None], there[None] & (d < dimension)[:, None], other=0
        )
        score = tl.dot(own, rows, out_dtype=tl.int32)
        score = tl.where(there[None], score, NONE)
        top = tl.max(score, 1)
        # The first row that reaches the maximum: a custom reduction of pairs is slower.
        at = tl.min(tl.where(score == top[:, None], r[None].to(tl.int32), 0x7FFFFFFF), 1)
        if with_second:
            rest = tl.max(tl.where(r[None].to(tl.int32) == at[:, None], NONE, score), 1)
            low = tl.maximum(tl.maximum(low, rest), tl.minimum(high, top))
        where = tl.where(top > high, at, where)
        high = tl.maximum(high, top)
        if with_mutual:
            score = tl.where(real[:, None], score, NONE)
            reach = tl.max(score, 0)
            who = tl.min(tl.where(score == reach[None], q[:, None].to(tl.int32), 0x7FFFFFFF), 0)
            offer = (reach.to(tl.int64) << 32) | (0xFFFFFFFF - who.to(tl.int64))
            tl.atomic_max(packed + r, offer, there)
    out = segment * queries + q
    tl.store(best + out, high, real)
    tl.store(row + out, where, real)
    if with_second:
        tl.store(second + out, low, real)
