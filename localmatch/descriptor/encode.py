"""Image -> patches -> descriptors: one dense pass of the network a level, read at the patch centres."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localmatch.descriptor.network import DIMENSION, DescriptorNet, read_at
from localmatch.patches import QUERY_SPACING, REFERENCE_SPACING, find_patches, pyramid
from localmatch.records import Encoded, Level

QUANTISATION = 300
"""Unit descriptors are stored as int8 of this many steps: products are exact integers, the same on every machine."""


def quantise(descriptors: Tensor) -> NDArray[np.int8]:
    """Unit vectors (..., 64) -> int8; components beyond 127 / 300 are clipped."""
    return (descriptors * QUANTISATION).round_().clamp_(-127, 127).to(torch.int8).numpy()


@torch.inference_mode()
def encode_reference(network: DescriptorNet, image: NDArray[np.uint8], budget: int) -> Encoded:
    """Encode a reference image, (H, W, 3) uint8 RGB, as at most `budget` patches."""
    levels = pyramid(image)
    patches = find_patches(levels, REFERENCE_SPACING, budget)
    rows = [_read(dense_map(network, level.gray), level, patches.xy[patches.level == level.index]) for level in levels]
    return Encoded(_size(image), patches, _stack(rows), None, {}, ())


@torch.inference_mode()
def encode_query(network: DescriptorNet, image: NDArray[np.uint8], budget: int) -> Encoded:
    """Encode a query image, (H, W, 3) uint8 RGB, as at most `budget` patches, each also as seen in a mirror."""
    levels = pyramid(image)
    patches = find_patches(levels, QUERY_SPACING, budget)
    plain, mirrored, maps = [], [], {}
    for level in levels:
        xy = patches.xy[patches.level == level.index]
        dense = dense_map(network, level.gray)
        maps[level.index] = quantise(dense.permute(1, 2, 0))
        plain.append(_read(dense, level, xy))
        flipped = Level(level.index, level.scale, level.gray.flip(-1))
        mirrored.append(_read(dense_map(network, flipped.gray), flipped, xy * [-1, 1] + [image.shape[1], 0]))
    return Encoded(_size(image), patches, _stack(plain), _stack(mirrored), maps, tuple(levels))


@torch.inference_mode()
def dense_map(network: DescriptorNet, gray: Tensor) -> Tensor:
    """The descriptor map of one level; (h, w) -> (64, ceil(h / 4), ceil(w / 4)) unit vectors."""
    described: Tensor = network(gray[None, None])
    return described[0]


def _size(image: NDArray[np.uint8]) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _read(dense: Tensor, level: Level, xy: NDArray[np.floating]) -> NDArray[np.int8]:
    """Quantised descriptors at image positions."""
    positions = torch.from_numpy((xy / level.scale).astype(np.float32))
    return quantise(read_at(dense[None], positions[None])[0])


def _stack(rows: list[NDArray[np.int8]]) -> NDArray[np.int8]:
    return np.concatenate([np.zeros((0, DIMENSION), np.int8), *rows])
