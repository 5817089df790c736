"""rerank_topk: exact scores of candidates that lie all over a large table."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.kernels.runner import Case
from localmatch.kernels import rerank_topk
from localmatch.kernels.rerank import BACKENDS


def cases(small: bool) -> Iterator[Case]:
    """Candidates of an index of a million patches, few and many."""
    for queries, width, rows, dimension in [(200, 40, 5000, 64)] if small else [
        (8000, 40, 1_500_000, 64), (8000, 200, 1_500_000, 64), (8000, 40, 1_000_000, 128),
    ]:  # fmt: skip
        generator = torch.Generator().manual_seed(0)
        query, table = (
            torch.randint(-60, 61, (count, dimension), generator=generator, dtype=torch.int8)
            for count in (queries, rows)
        )
        candidates = torch.randint(0, rows, (queries, width), generator=generator, dtype=torch.int32)
        yield Case(
            "rerank_topk",
            {"queries": queries, "candidates": width, "dimension": dimension, "k": 10},
            "int8",
            (query, candidates, table),
            partial(rerank_topk, k=10),
            BACKENDS,
            {
                "eager: gather + bmm + topk": _bmm,
                "eager: gather + einsum + topk": _einsum,
                "compiled: gather + bmm + topk": torch.compile(_bmm),
            },
            lambda own, other: bool((own[0].float() == other).all()),
        )


def _bmm(query: Tensor, candidates: Tensor, table: Tensor) -> Tensor:
    return torch.bmm(table[candidates.long()].float(), query.float()[:, :, None])[:, :, 0].topk(10).values


def _einsum(query: Tensor, candidates: Tensor, table: Tensor) -> Tensor:
    return torch.einsum("qcd,qd->qc", table[candidates.long()].float(), query.float()).topk(10).values
