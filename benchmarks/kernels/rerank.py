"""rerank_topk: exact scores of candidates that lie all over a large table, and of the inverted lists of an index."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.kernels.runner import Case
from localmatch.kernels import rerank_topk
from localmatch.kernels.rerank import BACKENDS, on_torch


def cases(small: bool) -> Iterator[Case]:
    """Candidates of an index of a million patches, few and many, and lists of one."""
    yield from _runs(small)
    for queries, width, rows, dimension in [(200, 40, 5000, 64)] if small else [
        (8000, 40, 1_500_000, 64), (8000, 200, 1_500_000, 64), (8000, 40, 1_000_000, 128),
    ]:  # fmt: skip
        generator = torch.Generator().manual_seed(0)
        query, table = (
            torch.randint(-60, 61, (count, dimension), generator=generator, dtype=torch.int8)
            for count in (queries, rows)
        )
        # No candidate comes twice.
        step = rows // width
        candidates = torch.randint(0, step, (queries, width), generator=generator) + step * torch.arange(width)
        yield Case(
            "rerank_topk",
            {"queries": queries, "candidates": width, "dimension": dimension, "k": 10},
            "int8",
            (query, candidates.int(), table),
            partial(rerank_topk, k=10),
            BACKENDS,
            {
                "eager: gather + bmm + topk": _bmm,
                "eager: gather + einsum + topk": _einsum,
                "compiled: gather + bmm + topk": torch.compile(_bmm),
            },
            lambda own, other: bool((own[0].float() == other).all()),
            {"eager: gather + bmm + topk": _bmm, "compiled: gather + bmm + topk": torch.compile(_bmm)},
        )


RUN = 128
"""Rows of a list."""


def _runs(small: bool) -> Iterator[Case]:
    for queries, probes, lists, dimension in [(100, 8, 40, 64)] if small else [
        (8000, 64, 10_000, 64), (8000, 16, 10_000, 64),
    ]:  # fmt: skip
        generator = torch.Generator().manual_seed(0)
        query, table = (
            torch.randint(-60, 61, (count, dimension), generator=generator, dtype=torch.int8)
            for count in (queries, lists * RUN)
        )
        runs = torch.rand(queries, lists, generator=generator).topk(probes, dim=1).indices.int()
        offsets = torch.arange(0, lists * RUN + 1, RUN)
        sizes = {"candidates": probes * RUN, "runs": probes, "rows": lists * RUN}
        yield Case(
            "rerank_topk",
            {"queries": queries, **sizes, "dimension": dimension, "k": 16},
            "int8",
            (query, runs, table, offsets),
            lambda q, r, t, o, backend: rerank_topk(q, r, t, 16, o, backend),
            BACKENDS,
            {
                "eager: list by list, mm + topk": lambda q, r, t, o: on_torch(q, r, t, 16, o)[0],
                "eager: gather in blocks + bmm + topk": _gathered_runs,
            },
            lambda own, other: bool((own[0].float() == other.float()).all()),
            {
                "eager: gather in blocks + bmm + topk": partial(_gathered_runs, block=1000),
                "compiled: gather in blocks + bmm + topk": partial(torch.compile(_gathered_runs), block=1000),
            },
        )


def _gathered_runs(query: Tensor, runs: Tensor, table: Tensor, _: Tensor, block: int = 64) -> Tensor:
    lists = table.view(-1, RUN, table.shape[1])
    blocks = zip(torch.split(query.float(), block), torch.split(runs, block), strict=True)
    return torch.cat(
        [torch.bmm(lists[r.long()].flatten(1, 2).float(), q[:, :, None])[:, :, 0].topk(16).values for q, r in blocks]
    )


def _bmm(query: Tensor, candidates: Tensor, table: Tensor) -> Tensor:
    return torch.bmm(table[candidates.long()].float(), query.float()[:, :, None])[:, :, 0].topk(10).values


def _einsum(query: Tensor, candidates: Tensor, table: Tensor) -> Tensor:
    return torch.einsum("qcd,qd->qc", table[candidates.long()].float(), query.float()).topk(10).values
