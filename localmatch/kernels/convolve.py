"""convolve: a 3 x 3 convolution of bytes by bytes, whose results are bytes again: a layer of a quantised network.

    output = clip(round((bias + sum over 3 x 3 pixels and all inputs of weight * input) * scale), 0, 255)

Edges are padded with 0, halves round to even. Sums are integers, and the one product is rounded in float32: so every
backend gives the same bits. (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018.)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from localmatch.kernels import dispatch, library

BACKENDS = ("cpp", "torch")

BLOCK = 4
"""Channels that lie together in memory."""

OUTPUTS = 8
"""Outputs are a multiple of this."""

MOST_INPUTS, EXACT = 1024, 56
"""Sums of more do not fit 32 bits; sums of so many are exact in float32, in any order."""


def convolve(
    image: Tensor, weights: Tensor, bias: Tensor, scale: Tensor, stride: int = 1, backend: str | None = None
) -> Tensor:
    """Convolve.

    Args:
        image: (C / 4, h, w, 4) uint8; channel 4 i + j is at [i, :, :, j].
        weights: (O, C, 3, 3) int8, O a multiple of 8.
        bias: (O,) int32, within 2^30.
        scale: (O,) float32.
        stride: 1 or 2.
        backend: "cpp", "torch" or None to choose.

    Returns:
        (O / 4, ceil(h / stride), ceil(w / stride), 4) uint8.

    Raises:
        ValueError: Shapes or types do not fit.
        BackendError: The named backend cannot serve.
    """
    shapes = tuple(map(tuple, (image.shape, weights.shape, bias.shape, scale.shape)))
    blocks, outputs = (one.shape[0] if one.ndim == 4 else 0 for one in (image, weights))
    expected = ((blocks, *image.shape[1:3], BLOCK), (outputs, BLOCK * blocks, 3, 3), (outputs,), (outputs,))
    if shapes != expected or not 0 < BLOCK * blocks <= MOST_INPUTS or not outputs or outputs % OUTPUTS:
        raise ValueError(f"expected (C / 4, h, w, 4), (O, C, 3, 3), (O,), (O,), O a multiple of 8, got {shapes}")
    types = (image.dtype, weights.dtype, bias.dtype, scale.dtype)
    if types != (torch.uint8, torch.int8, torch.int32, torch.float32):
        raise ValueError(f"expected uint8, int8, int32, float32, got {types}")
    if stride not in (1, 2):
        raise ValueError(f"expected a stride of 1 or 2, got {stride}")
    convolved: Tensor = torch.ops.localmatch.convolve(image, weights, bias, scale, stride, backend)
    return convolved


def _convolve(image: Tensor, weights: Tensor, bias: Tensor, scale: Tensor, stride: int, backend: str | None) -> Tensor:
    """`convolve` as torch sees it."""
    form = {"cpp": on_cpp, "torch": on_torch}[dispatch.choose(backend, image.device, BACKENDS)]
    return form(image.contiguous(), weights.contiguous(), bias.contiguous(), scale.contiguous(), stride)


def _empty(
    image: Tensor, weights: Tensor, bias: Tensor, scale: Tensor, stride: int, backend: str | None = None
) -> Tensor:
    """Output to be filled."""
    height, width = (-(-side // stride) for side in image.shape[1:3])
    return image.new_empty((weights.shape[0] // BLOCK, height, width, BLOCK))


def on_torch(image: Tensor, weights: Tensor, bias: Tensor, scale: Tensor, stride: int) -> Tensor:
    """The definition; arguments as in `convolve`."""
    if not image.numel():
        return _empty(image, weights, bias, scale, stride)
    channels = image.permute(0, 3, 1, 2).flatten(0, 1)[None].float()
    parts = zip(torch.split(channels, EXACT, 1), torch.split(weights.float(), EXACT, 1), strict=True)
    sums = sum((functional.conv2d(*part, stride=stride, padding=1)[0].int() for part in parts), bias[:, None, None])
    values = (sums.float() * scale[:, None, None]).clamp(0, 255).round().to(torch.uint8)
    return values.view(-1, BLOCK, *values.shape[1:]).permute(0, 2, 3, 1).contiguous()


def on_cpp(image: Tensor, weights: Tensor, bias: Tensor, scale: Tensor, stride: int) -> Tensor:
    """The C++ form: csrc/convolve.cpp; arguments as in `convolve`, contiguous."""
    result = _empty(image, weights, bias, scale, stride)
    outputs, inputs = weights.shape[:2]
    threads = library.thread_count()
    arguments = (image, inputs, *image.shape[1:3], weights, outputs, bias, scale, stride, library.isa(), threads)
    library.call("cpp", "convolve", *arguments, result)
    return result


dispatch.register(
    "convolve",
    "(Tensor image, Tensor weights, Tensor bias, Tensor scale, int stride, str? backend) -> Tensor",
    _convolve,
    _empty,
)
