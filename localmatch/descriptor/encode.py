"""Image -> patches -> descriptors: one dense pass of the network a level, read at the patch centres."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localmatch.descriptor.network import DIMENSION, read_at
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
    rows = [_read(network.dense_map(level.gray), level, patches.xy[patches.level == level.index]) for level in levels]
    numbers = np.arange(len(patches), dtype=np.int32)
    return Encoded(_size(image), patches, _stack(rows), numbers, np.zeros(len(patches), np.int8), {}, ())


@torch.inference_mode()
def encode_query(network: QuantisedNet, image: NDArray[np.uint8], budget: int) -> Encoded:
    """Encode a query image, (H, W, 3) uint8 RGB, as at most `budget` patches, each in several poses."""
    levels = pyramid(image)
    patches = find_patches(levels, QUERY_SPACING, budget, QUERY_CONTRAST)
    rows, maps = [], {}
    numbers, poses = [np.zeros(0, np.int32)], [np.zeros(0, np.int8)]
    for pose in range(POSES):
        frame = pose_frame(pose, _size(image))
        for level in _levels_of(pose, levels):
            number = np.flatnonzero(patches.level == level.index)
            posed = _in_pose(level, pose, frame)
            dense = network.dense_map(posed.gray)
            rows.append(_read(dense, posed, project(frame, patches.xy[number])))
            numbers.append(number.astype(np.int32))
            poses.append(np.full(len(number), pose, np.int8))
            if not pose:
                maps[level.index] = quantise(dense.permute(1, 2, 0))
    return Encoded(
        _size(image), patches, _stack(rows), np.concatenate(numbers), np.concatenate(poses), maps, tuple(levels)
    )


def _levels_of(pose: int, levels: list[Level]) -> list[Level]:
    """The levels on which a pose is looked at."""
    return levels if pose < SQUARE else [level for level in levels if level.index >= TILTED_FROM]


def _in_pose(level: Level, pose: int, frame: Affine) -> Level:
    """A level as it is in a pose of the image, whose positions the frame gives."""
    if pose >= SQUARE:
        return Level(level.index, level.scale, torch.from_numpy(_tilted(level, frame)))
    gray = level.gray.flip(-1) if pose % 2 else level.gray
    scale = level.scale[::-1] if pose // 2 % 2 else level.scale
    return Level(level.index, scale, gray.rot90(pose // 2))


def _tilted(level: Level, frame: Affine) -> NDArray[np.float32]:
    """The pixels of a level where the frame moves them; beyond the image, those of its edge."""
    gray, scale = level.gray.numpy(), np.array(level.scale)
    size = np.ceil(np.abs(frame[:, :2]) @ (scale * gray.shape[::-1]) / scale).astype(int).tolist()
    onto = compose(invert(level_frame(level)), compose(invert(frame), level_frame(level)))
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(gray, onto, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _size(image: NDArray[np.uint8]) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _read(dense: Tensor, level: Level, xy: NDArray[np.floating]) -> NDArray[np.int8]:
    """Quantised descriptors at image positions."""
    positions = torch.from_numpy((xy / level.scale).astype(np.float32))
    return quantise(read_at(dense[None], positions[None])[0])


def _stack(rows: list[NDArray[np.int8]]) -> NDArray[np.int8]:
    return np.concatenate([np.zeros((0, DIMENSION), np.int8), *rows])
