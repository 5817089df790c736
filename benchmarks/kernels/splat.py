"""splat_evidence: evidence of patches at all levels on the pixels of many maps, and the winner of each pixel."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.kernels.runner import Case
from localmatch.kernels import splat_evidence
from localmatch.kernels.splat import BACKENDS, tents


def cases(small: bool) -> Iterator[Case]:
    """Agreeing patches of the alignments of a query, few and many a map."""
    for maps, each, side in [(3, 20, 64)] if small else [(32, 150, 512), (8, 150, 512), (32, 40, 512), (8, 600, 1024)]:
        generator = torch.Generator().manual_seed(0)
        count = maps * each
        xy = torch.randint(0, 16 * side, (count, 2), generator=generator, dtype=torch.int32)
        level = torch.randint(-2, 5, (count,), generator=generator)
        radius = (16 * 2 ** (level / 2)).int()
        evidence = torch.randint(1, 256, (count,), generator=generator, dtype=torch.int32)
        offsets = torch.arange(0, count + 1, each)
        window = round(float((2 * radius.float()).pow(2).mean().sqrt()))
        forms = {
            "eager: two banded matmuls": partial(_matmuls, side=side, maps=maps),
            "compiled: two banded matmuls": partial(torch.compile(_matmuls), side=side, maps=maps),
            "eager: exact matmuls": partial(_exact, side=side),
        }
        yield Case(
            "splat_evidence",
            {"maps": maps, "patches": count, "height": side, "width": side, "side": window},
            "int32",
            (offsets, xy, radius, evidence),
            partial(splat_evidence, size=(side, side)),
            BACKENDS,
            forms,
            lambda own, other: bool(torch.allclose(own[0].float(), other.float(), rtol=1e-4, atol=1.0)),
        )


def _exact(offsets: Tensor, xy: Tensor, radius: Tensor, evidence: Tensor, side: int) -> Tensor:
    return splat_evidence(offsets, xy, radius, evidence, (side, side), backend="torch")[0]


def _matmuls(_: Tensor, xy: Tensor, radius: Tensor, evidence: Tensor, side: int, maps: int) -> Tensor:
    """All maps at once in float32, as their patches are equally many; and the winner."""
    across, down = (tents(xy[:, axis], radius, side).float() for axis in (0, 1))
    down = down * evidence[:, None]
    heat = torch.bmm(down.view(maps, -1, side).transpose(1, 2), across.view(maps, -1, side))
    heat.max(0)
    return heat
