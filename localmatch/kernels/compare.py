"""compare_maps: how well each cell of a query's descriptor map fits the reference cells where an alignment puts it.

    centre = round(affine applied to (x, y))
    score[y, x] = max over (v, u) within radius of centre, on the reference, of query[y, x] . reference[v, u]
    offset[y, x] = the first place of the window that reaches it, row-major from (-radius, -radius)

This is what makes the dense similarity map of verification. Affine maps are Q16 and products of int8 exact integers, so
every backend gives the same bits. (Local search windows: PatchMatch, Barnes et al. 2009; here exhaustive.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from localmatch.kernels import dispatch, library
from localmatch.kernels.match import MAX_DIMENSION, NONE

BACKENDS = ("cuda", "triton", "cpp", "torch")

ONE = 1 << 16
"""1 in Q16."""

LARGEST = 1 << 13
"""Cells a side, so that Q16 positions of maps that scale by up to two stay below 2^31."""


def compare_maps(
    query: Tensor, reference: Tensor, affine: Tensor, radius: int, backend: str | None = None
) -> tuple[Tensor, Tensor]:
    """Compare a query's map with a reference's under some alignments.

    Args:
        query: (h, w, D) int8; D a multiple of 4, at most 1024.
        reference: (H, W, D) int8.
        affine: (A, 2, 3) int32 Q16, query cell (x, y, 1) -> reference cell (x, y).
        radius: Of the search window, in cells.
        backend: "cuda", "triton", "cpp", "torch" or None to choose.

    Returns:
        score (A, h, w) int32, `NONE` where the window lies outside; offset (A, h, w) int32, -1 there.

    Raises:
        ValueError: Shapes or types do not fit.
        BackendError: The named backend cannot serve.
    """
    if query.ndim != 3 or reference.ndim != 3 or query.shape[2] != reference.shape[2] or affine.shape[1:] != (2, 3):
        shapes = [tuple(one.shape) for one in (query, reference, affine)]
        raise ValueError(f"expected (h, w, D), (H, W, D) and (A, 2, 3), got {shapes}")
    if (query.dtype, reference.dtype, affine.dtype) != (torch.int8, torch.int8, torch.int32):
        raise ValueError(f"expected int8, int8, int32, got {query.dtype}, {reference.dtype}, {affine.dtype}")
    if query.shape[2] % 4 or not 4 <= query.shape[2] <= MAX_DIMENSION or radius < 0:
        raise ValueError(f"expected D a multiple of 4 and radius >= 0, got {query.shape[2]} and {radius}")
    if max(*query.shape[:2], *reference.shape[:2]) > LARGEST:
        raise ValueError(f"expected at most {LARGEST} cells a side, got {tuple(query.shape)}, {tuple(reference.shape)}")
    score, offset = torch.ops.localmatch.compare_maps(query, reference, affine, radius, backend)
    return score, offset


def _compare(
    query: Tensor, reference: Tensor, affine: Tensor, radius: int, backend: str | None
) -> tuple[Tensor, Tensor]:
    """`compare_maps` as torch sees it."""
    form = {"cuda": on_cuda, "triton": on_triton, "cpp": on_cpp, "torch": on_torch}
    chosen = form[dispatch.choose(backend, query.device, BACKENDS)]
    return chosen(query.contiguous(), reference.contiguous(), affine.contiguous(), radius)


def _empty(
    query: Tensor, reference: Tensor, affine: Tensor, radius: int, backend: str | None = None
) -> tuple[Tensor, Tensor]:
    """Outputs to be filled."""
    shape = (affine.shape[0], query.shape[0], query.shape[1])
    return query.new_empty(shape, dtype=torch.int32), query.new_empty(shape, dtype=torch.int32)


def on_torch(query: Tensor, reference: Tensor, affine: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The definition, place by place of the window; arguments as in `compare_maps`."""
    score, offset = _empty(query, reference, affine, radius)
    score.fill_(NONE)
    offset.fill_(-1)
    height, width = reference.shape[:2]
    if not reference.numel():
        return score, offset
    y, x = torch.meshgrid(*(torch.arange(side, device=query.device) for side in query.shape[:2]), indexing="ij")
    position = torch.stack([x, y, torch.ones_like(x)], -1).long()  # (h, w, 3)
    centre = (torch.einsum("aij,hwj->aihw", affine.long(), position) + ONE // 2) >> 16
    own = query.float()
    for number in range((2 * radius + 1) ** 2):
        dy, dx = divmod(number, 2 * radius + 1)
        u, v = centre[:, 0] + dx - radius, centre[:, 1] + dy - radius  # (A, h, w)
        there = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        cell = reference[v.clamp(0, height - 1), u.clamp(0, width - 1)].float()
        found = torch.where(there, (own * cell).sum(-1).int(), NONE)
        offset = torch.where(found > score, number, offset)
        score = torch.maximum(found, score)
    return score, offset


def on_cpp(query: Tensor, reference: Tensor, affine: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The C++ form: csrc/compare_maps.cpp; arguments as in `compare_maps`, contiguous."""
    score, offset = _empty(query, reference, affine, radius)
    library.call(
        "cpp", "compare_maps", query, *query.shape, reference, *reference.shape[:2], affine, len(affine), radius,
        library.isa(), library.thread_count(), score, offset,
    )  # fmt: skip
    return score, offset


def on_cuda(query: Tensor, reference: Tensor, affine: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The CUDA form: csrc/cuda/compare_maps.cu; arguments as in `compare_maps`, contiguous."""
    score, offset = _empty(query, reference, affine, radius)
    library.call(
        "cuda", "cuda_compare_maps", query, *query.shape, reference, *reference.shape[:2], affine, len(affine), radius,
        score, offset, library.stream(),
    )  # fmt: skip
    return score, offset


def on_triton(query: Tensor, reference: Tensor, affine: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The Triton form: kernels/triton/compare.py; arguments as in `compare_maps`, contiguous."""
    from localmatch.kernels.triton.compare import best_in_window

    score, offset = _empty(query, reference, affine, radius)
    best_in_window(query, reference, affine, radius, score, offset)
    return score, offset


dispatch.register(
    "compare_maps",
    "(Tensor query, Tensor reference, Tensor affine, int radius, str? backend) -> (Tensor, Tensor)",
    _compare,
    _empty,
)
