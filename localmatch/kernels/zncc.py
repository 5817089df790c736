"""local_zncc: how well two aligned images correlate around each pixel, blind to brightness and contrast.

Over the pixels of a window that are on the image and inside: n of them, with sums a, b, aa, bb, ab of both images,

    zncc = (n ab - a b) / sqrt((n aa - a a) (n bb - b b))

in 1/16384, 0 where either image is flat. All sums are integers, and the one quotient is rounded once in float64: so
every backend gives the same bits. (Lewis, "Fast normalized cross-correlation", 1995.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from localmatch.kernels import dispatch, library

BACKENDS = ("cuda", "cpp", "torch")

ONE = 1 << 14
"""What a correlation of 1 is."""

MAX_RADIUS = 64
"""Sums of larger windows do not fit 32 bits."""


def local_zncc(first: Tensor, second: Tensor, inside: Tensor, radius: int, backend: str | None = None) -> Tensor:
    """Correlate two aligned images locally.

    Args:
        first, second: (h, w) uint8.
        inside: (h, w) bool; pixels that take part.
        radius: Of the square window, in pixels, 0 to 64.
        backend: "cuda", "cpp", "torch" or None to choose.

    Returns:
        (h, w) int32 in [-16384, 16384].

    Raises:
        ValueError: Shapes or types do not fit.
        BackendError: The named backend cannot serve.
    """
    if first.ndim != 2 or first.shape != second.shape or first.shape != inside.shape:
        shapes = [tuple(one.shape) for one in (first, second, inside)]
        raise ValueError(f"expected three times (h, w), got {shapes}")
    if (first.dtype, second.dtype, inside.dtype) != (torch.uint8, torch.uint8, torch.bool):
        raise ValueError(f"expected uint8, uint8, bool, got {first.dtype}, {second.dtype}, {inside.dtype}")
    if not 0 <= radius <= MAX_RADIUS:
        raise ValueError(f"expected a radius from 0 to {MAX_RADIUS}, got {radius}")
    correlation: Tensor = torch.ops.localmatch.local_zncc(first, second, inside, radius, backend)
    return correlation


def _zncc(first: Tensor, second: Tensor, inside: Tensor, radius: int, backend: str | None) -> Tensor:
    """`local_zncc` as torch sees it."""
    form = {"cuda": on_cuda, "cpp": on_cpp, "torch": on_torch}[dispatch.choose(backend, first.device, BACKENDS)]
    return form(first.contiguous(), second.contiguous(), inside.contiguous(), radius)


def _empty(first: Tensor, second: Tensor, inside: Tensor, radius: int, backend: str | None = None) -> Tensor:
    """Output to be filled."""
    return torch.empty_like(first, dtype=torch.int32)


def on_torch(first: Tensor, second: Tensor, inside: Tensor, radius: int) -> Tensor:
    """The definition; arguments as in `local_zncc`."""
    a, b = first.long() * inside, second.long() * inside
    n, a, b, aa, bb, ab = _window_sums(torch.stack([inside.long(), a, b, a * a, b * b, a * b]), radius)
    root = ((n * aa - a * a).double() * (n * bb - b * b).double()).sqrt()
    flat = root == 0
    return torch.where(flat, 0.0, (n * ab - a * b).double() / root.masked_fill(flat, 1) * ONE).round().int()


def _window_sums(values: Tensor, radius: int) -> Tensor:
    """Sums over square windows, cut off at the edges; (k, h, w) int64 -> the same shape."""
    for dim in (1, 2):
        before = torch.nn.functional.pad(values.cumsum(dim), (1, 0) if dim == 2 else (0, 0, 1, 0))
        position = torch.arange(values.shape[dim], device=values.device)
        high = (position + radius + 1).clamp_max(values.shape[dim])
        values = before.index_select(dim, high) - before.index_select(dim, (position - radius).clamp_min(0))
    return values


def on_cpp(first: Tensor, second: Tensor, inside: Tensor, radius: int) -> Tensor:
    """The C++ form: csrc/local_zncc.cpp; arguments as in `local_zncc`, contiguous."""
    correlation = _empty(first, second, inside, radius)
    library.call("cpp", "local_zncc", first, second, inside, *first.shape, radius, library.thread_count(), correlation)
    return correlation


def on_cuda(first: Tensor, second: Tensor, inside: Tensor, radius: int) -> Tensor:
    """The CUDA form: csrc/cuda/local_zncc.cu; arguments as in `local_zncc`, contiguous."""
    correlation = _empty(first, second, inside, radius)
    library.call("cuda", "cuda_local_zncc", first, second, inside, *first.shape, radius, correlation, library.stream())
    return correlation


dispatch.register(
    "local_zncc", "(Tensor first, Tensor second, Tensor inside, int radius, str? backend) -> Tensor", _zncc, _empty
)
