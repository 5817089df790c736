"""convolve: the layers of a descriptor network, on bytes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.kernels.runner import Case
from localmatch.kernels import convolve
from localmatch.kernels.convolve import BACKENDS


def cases(small: bool) -> Iterator[Case]:
    """The layers of localmatch-v2 at the finest level of a 512 x 512 image: inputs, outputs, side, stride."""
    layers = [(16, 24, 512, 1), (24, 48, 512, 2), (48, 64, 256, 1), (64, 64, 256, 1)]
    for inputs, outputs, side, stride in [(16, 24, 40, 1)] if small else layers:
        generator = torch.Generator().manual_seed(0)
        # Few steps, so that float32 holds every sum and the baselines can be compared.
        image = torch.randint(0, 32, (inputs // 4, side, side, 4), generator=generator, dtype=torch.uint8)
        weights = torch.randint(-32, 33, (outputs, inputs, 3, 3), generator=generator, dtype=torch.int8)
        bias, scale = torch.zeros(outputs, dtype=torch.int32), torch.full((outputs,), 2.0**-6)
        channels = image.permute(0, 3, 1, 2).flatten(0, 1)[None].float()
        last = channels.contiguous(memory_format=torch.channels_last)
        forms = {
            "eager: float32": partial(_floats, image=4),
            "eager: float32, channels last": partial(_floats, image=5),
            "compiled: float32": partial(torch.compile(_floats), image=4),
        }
        yield Case(
            "convolve",
            {"height": side, "width": side, "inputs": inputs, "outputs": outputs, "stride": stride},
            "int8",
            (image, weights, bias, scale, channels.contiguous(), last, weights.float()),
            partial(_ours, stride=stride),
            BACKENDS,
            {name: partial(form, stride=stride) for name, form in forms.items()},
            _same,
        )


def _ours(image: Tensor, weights: Tensor, bias: Tensor, scale: Tensor, *_: Tensor, stride: int, backend: str) -> Tensor:
    return convolve(image, weights, bias, scale, stride, backend=backend)


def _floats(*arguments: Tensor, image: int, stride: int) -> Tensor:
    return functional.conv2d(arguments[image], arguments[-1], stride=stride, padding=1).relu_()


def _same(own: Tensor, other: Tensor) -> bool:
    bytes_ = (other[0] * 2.0**-6).clamp(0, 255).round().to(torch.uint8)
    return torch.equal(own.permute(0, 3, 1, 2).flatten(0, 1), bytes_)
