"""vote_topk: votes of neighbours into bins of scale and shift, and their peaks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.kernels.runner import Case
from localmatch.kernels import vote_topk
from localmatch.kernels.vote import BACKENDS


def cases(small: bool) -> Iterator[Case]:
    """What a query hands on, and ten times as much."""
    for votes, groups in [(500, 20)] if small else [(12_000, 1500), (100_000, 300), (100_000, 3000)]:
        generator = torch.Generator().manual_seed(0)

        def integers(low: int, high: int, *shape: int, g: torch.Generator = generator) -> torch.Tensor:
            return torch.randint(low, high, shape, generator=g, dtype=torch.int32)

        cuts = torch.randint(0, votes + 1, (groups - 1,), generator=generator).sort().values
        offsets = torch.cat([torch.tensor([0]), cuts, torch.tensor([votes])])
        columns = (
            integers(0, 4000, votes), integers(0, 1_500_000, votes).long(), integers(0, 8192, votes, 2),
            integers(0, 8192, votes, 2), integers(5, 11, votes), integers(0, 40_000, votes),
        )  # fmt: skip
        yield Case(
            "vote_topk",
            {"votes": votes, "groups": groups, "peaks": 4},
            "int32",
            (offsets, *columns),
            partial(vote_topk, half_bin=320, peaks=4),
            BACKENDS,
            {"eager: sort and scatter": partial(vote_topk, half_bin=320, peaks=4, backend="torch")},
            lambda own, other: all(torch.equal(a, b) for a, b in zip(own, other, strict=True)),
        )
