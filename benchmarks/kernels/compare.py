"""compare_maps: the dense comparison of a query's descriptor map with an aligned reference's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.kernels.runner import Case
from localmatch.kernels import compare_maps
from localmatch.kernels.compare import BACKENDS, ONE


def cases(small: bool) -> Iterator[Case]:
    """The finest levels of a 512 x 512 image, as verification compares them: aligned, with a margin around."""
    for side, radius, dimension in (
        [(20, 1, 64)] if small else [(256, 1, 64), (128, 2, 64), (256, 2, 64), (256, 1, 128)]
    ):
        generator = torch.Generator().manual_seed(0)
        margin = 4
        query = torch.randint(-60, 61, (side, side, dimension), generator=generator, dtype=torch.int8)
        around = side + 2 * margin
        reference = torch.randint(-60, 61, (around, around, dimension), generator=generator, dtype=torch.int8)
        affine = torch.tensor([[[ONE, 0, margin * ONE], [0, ONE, margin * ONE]]], dtype=torch.int32)
        shape = {"height": side, "width": side, "alignments": 1, "radius": radius, "dimension": dimension}
        forms = {
            "eager: shift, multiply, sum by planes": _planar,
            "compiled: the same by planes": torch.compile(_planar),
            "eager: shift, multiply, sum by cells": _cells,
            "eager: unfold + einsum": _unfold,
        }
        yield Case(
            "compare_maps",
            shape,
            "int8",
            # Baselines get floats, and planes of components, which suit their sums best.
            (query, reference, affine, *(one.float().permute(2, 0, 1).contiguous() for one in (query, reference))),
            partial(_ours, radius=radius),
            BACKENDS,
            {name: partial(form, radius=radius) for name, form in forms.items()},
            lambda own, other: bool((own[0][0].float() == other).all()),
        )


def _ours(
    query: Tensor, reference: Tensor, affine: Tensor, _q: Tensor, _r: Tensor, radius: int, backend: str
) -> tuple[Tensor, Tensor]:
    return compare_maps(query, reference, affine, radius, backend=backend)


def _planar(_q: Tensor, _r: Tensor, _a: Tensor, query: Tensor, reference: Tensor, radius: int) -> Tensor:
    height, width = query.shape[1:]
    best = torch.full((height, width), -torch.inf, device=query.device)
    for dy in range(4 - radius, 5 + radius):
        for dx in range(4 - radius, 5 + radius):
            best = torch.maximum(best, (query * reference[:, dy : dy + height, dx : dx + width]).sum(0))
    return best


def _cells(query: Tensor, reference: Tensor, _a: Tensor, _q: Tensor, _r: Tensor, radius: int) -> Tensor:
    own, other = query.float(), reference.float()
    height, width = query.shape[:2]
    best = torch.full((height, width), -torch.inf, device=query.device)
    for dy in range(4 - radius, 5 + radius):
        for dx in range(4 - radius, 5 + radius):
            best = torch.maximum(best, (own * other[dy : dy + height, dx : dx + width]).sum(-1))
    return best


def _unfold(query: Tensor, reference: Tensor, _a: Tensor, _q: Tensor, _r: Tensor, radius: int) -> Tensor:
    side = 2 * radius + 1
    inner = reference[4 - radius : reference.shape[0] - 4 + radius, 4 - radius : reference.shape[1] - 4 + radius]
    windows = inner.float().unfold(0, side, 1).unfold(1, side, 1).flatten(-2)  # (h, w, D, side * side)
    return torch.einsum("hwd,hwdk->hwk", query.float(), windows).amax(-1)
