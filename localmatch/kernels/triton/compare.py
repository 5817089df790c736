"""compare_maps in Triton: a block of query cells stays in registers, the places of the window pass by.

score = max over (dv, du) of query[y, x] . reference[centre + (dv, du)]
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

CELLS, WARPS = 32, 4
"""Query cells a program, and launch."""

NONE = tl.constexpr(-(1 << 31))


def best_in_window(
    query: Tensor, reference: Tensor, affine: Tensor, radius: int, score: Tensor, offset: Tensor
) -> None:
    """Fill `score` and `offset` (A, h, w)."""
    height, width, dimension = query.shape
    if not score.numel():
        return
    compare_kernel[(triton.cdiv(height * width, CELLS), len(affine))](
        query, reference, affine, score, offset, height, width, dimension, *reference.shape[:2], radius,
        triton.next_power_of_2(dimension), CELLS, num_warps=WARPS,
    )  # fmt: skip


@triton.jit
def compare_kernel(
    query,
    reference,
    affine,
    score,
    offset,
    height,
    width,
    dimension,
    reference_height,
    reference_width,
    radius,
    padded: tl.constexpr,
    block: tl.constexpr,
):
    """Some query cells under one alignment."""
    alignment = tl.program_id(1).to(tl.int64)
    cell = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    d = tl.arange(0, padded)
    real = cell < height * width
    y, x = cell // width, cell % width
    m = affine + alignment * 6
    # 64-bit: Q16 positions of large maps exceed 2^31.
    cx = (tl.load(m).to(tl.int64) * x + tl.load(m + 1).to(tl.int64) * y + tl.load(m + 2) + 32768) >> 16
    cy = (tl.load(m + 3).to(tl.int64) * x + tl.load(m + 4).to(tl.int64) * y + tl.load(m + 5) + 32768) >> 16
    own = tl.load(query + cell[:, None] * dimension + d[None], real[:, None] & (d < dimension)[None], other=0)
    own = own.to(tl.int32)
    best = tl.full([block], NONE, tl.int32)
    where = tl.full([block], -1, tl.int32)
    side = 2 * radius + 1
    for number in range(side * side):
        v = cy + number // side - radius
        u = cx + number % side - radius
        there = real & (u >= 0) & (u < reference_width) & (v >= 0) & (v < reference_height)
        at = (v * reference_width + u)[:, None] * dimension + d[None]
        other = tl.load(reference + at, there[:, None] & (d < dimension)[None], other=0).to(tl.int32)
        found = tl.where(there, tl.sum(own * other, 1), NONE)
        where = tl.where(found > best, number, where)
        best = tl.maximum(best, found)
    out = alignment * height * width + cell
    tl.store(score + out, best, real)
    tl.store(offset + out, where, real)
