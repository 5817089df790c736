"""Image -> patches -> descriptors: one dense pass of the network a level, read at the patch centres."""

from __future__ import annotations

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
    """Encode a query image, (H, W, 3) uint8 RGB, as at most `budget` patches, each in several poses."""
    levels = pyramid(image)
    patches = find_patches(levels, QUERY_SPACING, budget, QUERY_CONTRAST)
    upright = {level.index: network.normalised(level.gray) for level in levels}
    rows, maps = [], {}
    numbers, poses = [np.zeros(0, np.int32)], [np.zeros(0, np.int8)]
    for pose in range(POSES):
        frame = pose_frame(pose, _size(image))
        for level in _levels_of(pose, levels):
            if pose < SQUARE:
                seen, scale = _squarely(upright[level.index], level.scale, pose)
            else:
                seen, scale = network.normalised(_tilted(level, frame)), level.scale
            active = network.activations(seen)
            number = np.flatnonzero(patches.level == level.index)
            rows.append(quantise(network.describe_at(active, _on_level(project(frame, patches.xy[number]), scale))))
            numbers.append(number.astype(np.int32))
            poses.append(np.full(len(number), pose, np.int8))
            if not pose:
                maps[level.index] = quantise(network.dense_map(active).permute(1, 2, 0))
    return Encoded(
        _size(image), patches, _stack(rows), np.concatenate(numbers), np.concatenate(poses), maps, tuple(levels)
    )


def _levels_of(pose: int, levels: list[Level]) -> list[Level]:
    """The levels on which a pose is looked at."""
    return levels if pose < SQUARE else [level for level in levels if level.index >= TILTED_FROM]


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
