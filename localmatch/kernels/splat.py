"""splat_evidence: evidence of patches at all levels, spread over the pixels of many maps at once.

    tent(t, r) = floor((16 r - t) * floor(2^21 / (16 r)) / 2^16) for t < 16 r, else 0          t in 1/16 px; 0 to 32
    heat[m, y, x] = sum over patches i of map m of evidence[i] * tent(|y - y_i|, r_i) * tent(|x - x_i|, r_i)
    winner[y, x] = the lowest m that reaches max of heat[:, y, x], -1 where that is 0

Windows are separable, so a map is a product of two banded matrices: that is the definition, exact in float64, and the
strongest form in torch. (Splatting: Westover, "Footprint evaluation for volume rendering", 1990.)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from localmatch.kernels import dispatch, library

BACKENDS = ("cuda", "cpp", "torch")

SUBPIXEL = 16
"""Positions are in 1/16 px."""

PEAK = 32 * 32
"""Heat of one patch of evidence 1 at its centre."""

MOST_PATCHES, MOST_EVIDENCE, MOST_RADIUS = 8192, 255, 1 << 14
"""A map, a patch, and px: more does not fit 32 bits."""


def splat_evidence(
    offsets: Tensor,
    xy: Tensor,
    radius: Tensor,
    evidence: Tensor,
    size: tuple[int, int],
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Spread the evidence of patches over pixels.

    Args:
        offsets: (M + 1,) int64; patches of map m are offsets[m] to offsets[m + 1], at most 8192.
        xy: (N, 2) int32 centres in 1/16 px, from 0 to below 2^22.
        radius: (N,) int32 half the side of a patch's window in px, 1 to 2^14.
        evidence: (N,) int32 in [0, 255]. (On a GPU, values are not checked.)
        size: (height, width) of the maps.
        backend: "cuda", "cpp", "torch" or None to choose.

    Returns:
        heat (M, H, W) int32, and winner (H, W) int32.

    Raises:
        ValueError: Shapes, types or ranges do not fit.
        BackendError: The named backend cannot serve.
    """
    if xy.ndim != 2 or xy.shape[1] != 2 or len(radius) != len(xy) or len(evidence) != len(xy):
        shapes = [tuple(one.shape) for one in (xy, radius, evidence)]
        raise ValueError(f"expected (N, 2), (N,) and (N,), got {shapes}")
    types = [one.dtype for one in (offsets, xy, radius, evidence)]
    if types != [torch.int64, torch.int32, torch.int32, torch.int32]:
        raise ValueError(f"expected int64, int32, int32, int32, got {types}")
    heat, winner = torch.ops.localmatch.splat_evidence(offsets, xy, radius, evidence, *size, backend)
    return heat, winner


def _splat(
    offsets: Tensor, xy: Tensor, radius: Tensor, evidence: Tensor, height: int, width: int, backend: str | None
) -> tuple[Tensor, Tensor]:
    """`splat_evidence` as torch sees it."""
    longest = dispatch.check_offsets(offsets, len(xy))
    if longest > MOST_PATCHES:
        raise ValueError(f"expected at most {MOST_PATCHES} patches a map, got {longest}")
    if (
        dispatch.checks_values(xy)
        and len(xy)
        and (
            min(xy.min(), evidence.min(), radius.min() - 1) < 0
            or xy.max() >= 1 << 22
            or evidence.max() > MOST_EVIDENCE
            or radius.max() > MOST_RADIUS
        )
    ):
        raise ValueError("expected xy in [0, 2^22), evidence in [0, 255] and radius in [1, 2^14]")
    form: Callable[..., tuple[Tensor, Tensor]] = {"cuda": on_cuda, "cpp": on_cpp, "torch": on_torch}[
        dispatch.choose(backend, xy.device, BACKENDS)
    ]
    return form(*(one.contiguous() for one in (offsets, xy, radius, evidence)), height, width)


def _empty(
    offsets: Tensor, xy: Tensor, radius: Tensor, evidence: Tensor, height: int, width: int, backend: str | None = None
) -> tuple[Tensor, Tensor]:
    """Outputs to be filled."""
    heat = xy.new_empty((offsets.shape[0] - 1, height, width), dtype=torch.int32)
    return heat, xy.new_empty((height, width), dtype=torch.int32)


def on_torch(
    offsets: Tensor, xy: Tensor, radius: Tensor, evidence: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """The definition, two banded matrices a map; arguments as in `splat_evidence`."""
    heat, winner = _empty(offsets, xy, radius, evidence, height, width)
    across, down = tents(xy[:, 0], radius, width).double(), tents(xy[:, 1], radius, height).double()
    for number, (start, stop) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        weighted = down[start:stop] * evidence[start:stop, None]
        heat[number] = (weighted.T @ across[start:stop]).int()  # exact below 2^53
    best = heat.amax(0) if len(heat) else winner.zero_()
    maps = torch.arange(len(heat), device=xy.device, dtype=torch.int32)[:, None, None]
    lowest = torch.where(heat == best, maps, len(heat)).amin(0) if len(heat) else winner
    return heat, torch.where(best > 0, lowest, -1).int()


def tents(centre: Tensor, radius: Tensor, size: int) -> Tensor:
    """(N, size) int64 window of each patch along one axis."""
    pixel = SUBPIXEL * torch.arange(size, device=centre.device) + SUBPIXEL // 2
    reach = SUBPIXEL * radius[:, None].long()
    left = (reach - (pixel - centre[:, None]).abs()).clamp_min(0)
    return (left * torch.div(32 << 16, reach, rounding_mode="floor")) >> 16


def on_cpp(
    offsets: Tensor, xy: Tensor, radius: Tensor, evidence: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """The C++ form: csrc/splat_evidence.cpp; arguments as in `splat_evidence`, contiguous."""
    heat, winner = _empty(offsets, xy, radius, evidence, height, width)
    library.call(
        "cpp", "splat_evidence", offsets, len(offsets) - 1, xy, radius, evidence, height, width,
        library.thread_count(), heat, winner,
    )  # fmt: skip
    return heat, winner


def on_cuda(
    offsets: Tensor, xy: Tensor, radius: Tensor, evidence: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """The CUDA form: csrc/cuda/splat_evidence.cu; arguments as in `splat_evidence`, contiguous."""
    heat, winner = _empty(offsets, xy, radius, evidence, height, width)
    library.call(
        "cuda", "cuda_splat_evidence", offsets, len(offsets) - 1, xy, radius, evidence, height, width, heat, winner,
        library.stream(),
    )  # fmt: skip
    return heat, winner


dispatch.register(
    "splat_evidence",
    "(Tensor offsets, Tensor xy, Tensor radius, Tensor evidence, int height, int width, str? backend)"
    " -> (Tensor, Tensor)",
    _splat,
    _empty,
)
