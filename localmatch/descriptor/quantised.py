"""The descriptor network as it is run: all layers but the first and the last on bytes.

Batch norms leave activations of unit variance, whatever the weights are, so that one range serves every layer and
nothing is calibrated. Weights have a scale for each output. (Jacob et al., "Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from localmatch.descriptor.network import DIMENSION, DescriptorNet, cells_around, read_at
from localmatch.kernels import convolve
from localmatch.kernels.convolve import BLOCK
from localmatch.weights import fused

MOST_ACTIVE = 6.0
"""Activations, in standard deviations, that are clipped."""

STEP = MOST_ACTIVE / 255
"""What one step of an activation is."""

MOST_WEIGHT = 127
"""The largest weight of an output, in its steps."""


class QuantisedNet:
    """A trained `DescriptorNet` on bytes: the mean cosine with its descriptors is 0.999."""

    def __init__(self, network: DescriptorNet) -> None:
        """Take a network in evaluation mode, whose weights need no gradients."""
        self._contrast = network.contrast
        first, *between, last = (one for one in fused(network.features) if isinstance(one, nn.Conv2d))
        weight, bias = _parameters(first)
        # Bytes are cut off where they should be rounded: the half goes in with the bias.
        self._first, self._stride, self._padding = (weight / STEP, bias / STEP + 0.5), first.stride, first.padding
        self._between = [(*_quantised(one), one.stride[0]) for one in between]
        weight, bias = _parameters(last)
        self._last = weight.flatten(1).t() * STEP, bias

    @torch.inference_mode()
    def normalised(self, gray: Tensor) -> Tensor:
        """What the network looks at: (h, w) float32 in [0, 1] -> the same without local brightness and contrast.

        Turning an image turns what comes of it, to the last bit.
        """
        normalised: Tensor = self._contrast(gray[None, None])[0, 0]
        return normalised

    @torch.inference_mode()
    def activations(self, normalised: Tensor) -> Tensor:
        """What all layers but the last make of a normalised level (h, w): (ceil(h / 4), ceil(w / 4), C) uint8."""
        weight, bias = self._first
        active = functional.conv2d(normalised[None, None], weight, bias, self._stride, self._padding)[0]
        blocks = _blocks(active.clamp_(0, 255).permute(1, 2, 0).to(torch.uint8).contiguous())
        for weights, biases, scales, stride in self._between:
            blocks = convolve(blocks, weights, biases, scales, stride)
        return _pixels(blocks)

    @torch.inference_mode()
    def dense_map(self, active: Tensor) -> Tensor:
        """The descriptor map of a level, (64, h / 4, w / 4) unit vectors, from its activations (h / 4, w / 4, C)."""
        return self._described(active.flatten(0, 1)).view(*active.shape[:2], -1).permute(2, 0, 1)

    @torch.inference_mode()
    def describe_at(self, active: Tensor, xy: Tensor) -> Tensor:
        """What `read_at` reads off `dense_map` at (N, 2) level positions, (N, 64); no more of the map is made."""
        wanted = cells_around(xy, active.shape)
        described = torch.zeros(*wanted.shape, DIMENSION)
        described[wanted] = self._described(active[wanted])
        return read_at(described.permute(2, 0, 1)[None], xy[None])[0]

    def _described(self, pixels: Tensor) -> Tensor:
        """The last layer: activations (N, C) uint8 -> unit vectors (N, 64)."""
        weight, bias = self._last
        return functional.normalize(torch.addmm(bias, pixels.float(), weight), dim=1)


def _parameters(layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weights and biases of a layer."""
    return layer.weight, layer.weight.new_zeros(layer.out_channels) if layer.bias is None else layer.bias


def _quantised(layer: nn.Conv2d) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, biases and scales of a layer, as `convolve` takes them."""
    weight, bias = _parameters(layer)
    steps = weight.abs().amax((1, 2, 3)).clamp_min(1e-9) / MOST_WEIGHT
    weights = (weight / steps[:, None, None, None]).round().to(torch.int8).contiguous()
    return weights, (bias / (STEP * steps)).round().int(), steps


def _blocks(pixels: Tensor) -> Tensor:
    """(h, w, C) uint8 -> (C / 4, h, w, 4); four channels move as one word."""
    words = pixels.view(torch.int32).permute(2, 0, 1).contiguous()
    return words.view(torch.uint8).view(*words.shape, BLOCK)


def _pixels(blocks: Tensor) -> Tensor:
    """(C / 4, h, w, 4) uint8 -> (h, w, C)."""
    words = blocks.view(torch.int32)[..., 0].permute(1, 2, 0).contiguous()
    return words.view(torch.uint8)
