"""Image -> patches -> descriptors: one dense pass of the network a level, read at the patch centres."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localmatch.descriptor.network import DIMENSION
from localmatch.descriptor.quantised import QuantisedNet
from localmatch.geometry import POSES, SQUARE, Affine, compose, invert, level_frame, pose_frame, project
from localmatch.patches import QUERY_CONTRAST, QUERY_SPACING, REFERENCE_SPACING, find_patches, pyramid
from localmatch.records import Encoded, Level

QUANTISATION = 300
"""Unit descriptors are stored as int8 of this many steps: products are exact integers, the same on every machine."""

SHARP_SIGMA, SHARPER = 1.5, 2.0
"""Queries are described sharpened, too: by so many times what a Gaussian filter of this standard deviation, in level
pixels, takes from them. Of 56 pieces of a hundredth of the image, plain or after one of six changes, 40 have three
right neighbours or more in the index, and 33 without; of blurred ones those are worth twice as much."""

TURNED, TILTED_FROM = 2, -1
"""Poses from the first number on are turned and, from `SQUARE` on, tilted, which are not looked at on finer levels than
the other. Of 20 pieces of a hundredth and a fiftieth of the image, turned or tilted, 18 are found so, and 10 where
turned ones were looked at from level 0 on and tilted ones from level 1 on."""


def quantise(descriptors: Tensor) -> NDArray[np.int8]:
    """Unit vectors (..., 64) -> int8; components beyond 127 / 300 are clipped."""
    return (descriptors * QUANTISATION).round_().clamp_(-127, 127).to(torch.int8).numpy()


@torch.inference_mode()
def encode_reference(network: QuantisedNet, image: NDArray[np.uint8], budget: int) -> Encoded:
    """Encode a reference image, (H, W, 3) uint8 RGB, as at most `budget` patches."""
    levels = pyramid(image)
    patches = find_patches(levels, REFERENCE_SPACING, budget)
    rows = []
    for level in levels:
        active = network.activations(network.normalised(level.gray))
        xy = _on_level(patches.xy[patches.level == level.index], level.scale)
        rows.append(quantise(network.describe_at(active, xy)))
    numbers = np.arange(len(patches), dtype=np.int32)
    return Encoded(_size(image), patches, _stack(rows), numbers, np.zeros(len(patches), np.int8), {}, ())


@torch.inference_mode()
def encode_query(network: QuantisedNet, image: NDArray[np.uint8], budget: int) -> Encoded:
    """Encode a query image, (H, W, 3) uint8 RGB, as at most `budget` patches, each in several poses, upright twice."""
    levels = pyramid(image)
    patches = find_patches(levels, QUERY_SPACING, budget, QUERY_CONTRAST)
    rows, maps = [], {}
    numbers, poses = [np.zeros(0, np.int32)], [np.zeros(0, np.int8)]
    for pose, level, seen, scale in _seen(network, levels, _size(image)):
        active = network.activations(seen)
        number = np.flatnonzero(patches.level == level.index)
        xy = project(pose_frame(pose, _size(image)), patches.xy[number])
        rows.append(quantise(network.describe_at(active, _on_level(xy, scale))))
        numbers.append(number.astype(np.int32))
        poses.append(np.full(len(number), pose, np.int8))
        if level.index not in maps:
            maps[level.index] = quantise(network.dense_map(active).permute(1, 2, 0))
    return Encoded(
        _size(image), patches, _stack(rows), np.concatenate(numbers), np.concatenate(poses), maps, tuple(levels)
    )


def _seen(
    network: QuantisedNet, levels: list[Level], size: tuple[int, int]
) -> Iterator[tuple[int, Level, Tensor, tuple[float, float]]]:
    """All that the network looks at: a pose, a level, the level's normalised pixels and its scale in that pose.

    In the first pose each level comes as it is and then, once more, sharpened.
    """
    upright = [(level, network.normalised(level.gray)) for level in levels]
    yield from ((0, level, pixels, level.scale) for level, pixels in upright)
    yield from ((0, level, network.normalised(_sharpened(level.gray)), level.scale) for level in levels)
    for pose in range(1, SQUARE):
        yield from ((pose, level, *_squarely(pixels, level.scale, pose)) for level, pixels in upright)
    for pose in range(SQUARE, POSES):
        frame = pose_frame(pose, size)
        for level in levels:
            if level.index >= TILTED_FROM:
                yield pose, level, network.normalised(_tilted(level, frame)), level.scale


def _sharpened(gray: Tensor) -> Tensor:
    """The pixels of a level with more of what a Gaussian filter takes from them."""
    pixels = gray.numpy()
    return torch.from_numpy(pixels + SHARPER * (pixels - cv2.GaussianBlur(pixels, (0, 0), SHARP_SIGMA)))


def _squarely(pixels: Tensor, scale: tuple[float, float], pose: int) -> tuple[Tensor, tuple[float, float]]:
    """Pixels of a level (h, w), and its scale, in a pose before `SQUARE`."""
    mirrored = pixels.flip(-1) if pose % 2 else pixels
    return mirrored.rot90(pose // 2), scale[::-1] if pose // 2 % 2 else scale


def _tilted(level: Level, frame: Affine) -> Tensor:
    """The pixels of a level where the frame moves them; beyond the image, those of its edge."""
    gray, scale = level.gray.numpy(), np.array(level.scale)
    size = np.ceil(np.abs(frame[:, :2]) @ (scale * gray.shape[::-1]) / scale).astype(int).tolist()
    onto = compose(invert(level_frame(level)), compose(invert(frame), level_frame(level)))
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return torch.from_numpy(cv2.warpAffine(gray, onto, size, flags=flags, borderMode=cv2.BORDER_REPLICATE))


def _size(image: NDArray[np.uint8]) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _on_level(xy: NDArray[np.floating], scale: tuple[float, float]) -> Tensor:
    """Level positions of image positions."""
    return torch.from_numpy((xy / scale).astype(np.float32))


def _stack(rows: list[NDArray[np.int8]]) -> NDArray[np.int8]:
    return np.concatenate([np.zeros((0, DIMENSION), np.int8), *rows])
