"""rerank_topk's scores in Triton: the rows of a query's candidates are gathered and multiplied, and never stored.

score[q, c] = sum over d of query[q, d] * table[candidates[q, c], d]
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

CANDIDATES, WARPS = 32, 4
"""Candidates a program, and launch."""

NONE = tl.constexpr(-(1 << 31))


def score_candidates(query: Tensor, candidates: Tensor, table: Tensor, score: Tensor) -> None:
    """Fill `score` (Q, C)."""
    queries, width = candidates.shape
    if not queries or not width:
        return
    dimension = query.shape[1]
    rerank_kernel[(queries, triton.cdiv(width, CANDIDATES))](
        query, candidates, table, score, width, dimension, triton.next_power_of_2(dimension), CANDIDATES,
        num_warps=WARPS,
    )  # fmt: skip


@triton.jit
def rerank_kernel(query, candidates, table, score, width, dimension, padded: tl.constexpr, block_c: tl.constexpr):
    """Some candidates of one query."""
    q = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * block_c + tl.arange(0, block_c)
    d = tl.arange(0, padded)
    row = tl.load(candidates + q * width + c, c < width, other=-1).to(tl.int64)
    there = row >= 0
    own = tl.load(query + q * dimension + d, d < dimension, other=0).to(tl.int32)
    other = tl.load(table + row[:, None] * dimension + d[None], there[:, None] & (d < dimension)[None], other=0)
    total = tl.sum(other.to(tl.int32) * own[None], 1)
    tl.store(score + q * width + c, tl.where(there, total, NONE), c < width)
