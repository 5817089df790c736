"""Local features of peers: OpenCV's SIFT and ORB, and the descriptor networks that Kornia holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from kornia import feature as kornia_feature
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.local_features import Describe
from benchmarks.pictures import Pixels
from localmatch.descriptor.network import DIMENSION
from localmatch.patches import REFERENCE_SPACING, find_patches, pyramid

POINTS = 1500
"""Keypoints an image."""

SIGMAS_PER_PATCH, PATCH = 6.0, 32
"""Networks see a patch whose half-side is so many times a SIFT keypoint's scale, on so many pixels."""


PATCH_SIZE = 16 / 3
"""OpenCV's size of a keypoint whose 4 x 4 histograms, each 1.5 sizes wide, cover 32 x 32 pixels as our patches do."""


def root_sift() -> Describe:
    """SIFT, square roots of its L1-normalised histograms (Arandjelovic and Zisserman, CVPR 2012)."""
    sift = _opencv(cv2.SIFT_create(POINTS), np.zeros((0, 128), np.float32))  # type: ignore[attr-defined]

    def describe(image: Pixels) -> tuple[NDArray[np.float32], NDArray[Any]]:
        xy, histograms = sift(image)
        return xy, _root(histograms)

    return describe


def upright_sift(images: Sequence[Pixels]) -> Callable[[Tensor, Tensor], Tensor]:
    """RootSIFT in the place of our network's descriptors, without its own scale and rotation.

    As many principal components as our descriptors have, of the same length: a level (h, w) in [0, 1] and (N, 2)
    positions -> (N, 64).

    Args:
        images: What the components are learned from.
    """

    def raw(gray: NDArray[np.uint8], xy: NDArray[np.floating]) -> NDArray[np.float32]:
        points = [cv2.KeyPoint(float(x) - 0.5, float(y) - 0.5, PATCH_SIZE, 0.0) for x, y in xy]
        _, histograms = sift.compute(gray, points)
        if histograms is None:
            return np.zeros((0, 128), np.float32)
        return _root(histograms)

    def bytes_of(gray: Tensor) -> NDArray[np.uint8]:
        return np.asarray((gray.numpy() * 255).round().clip(0, 255), np.uint8)

    def describe(gray: Tensor, xy: Tensor) -> Tensor:
        rows = (raw(bytes_of(gray), xy.numpy()) - mean) @ components
        return torch.nn.functional.normalize(torch.from_numpy(rows), dim=1)

    sift = cv2.SIFT_create()  # type: ignore[attr-defined]
    learned = []
    for image in images:
        levels = pyramid(image)
        patches = find_patches(levels, REFERENCE_SPACING, POINTS)
        learned += [raw(bytes_of(one.gray), patches.xy[patches.level == one.index] / one.scale) for one in levels]
    rows = np.concatenate(learned)
    mean = rows.mean(0)
    _, vectors = np.linalg.eigh(np.cov(rows - mean, rowvar=False))
    components = vectors[:, : -DIMENSION - 1 : -1].astype(np.float32)
    return describe


def orb() -> Describe:
    """ORB (Rublee et al., ICCV 2011), 256 bits."""
    return _opencv(cv2.ORB_create(POINTS), np.zeros((0, 32), np.uint8))  # type: ignore[attr-defined]


def _opencv(detector: Any, none: NDArray[Any]) -> Describe:
    """A detector of OpenCV with its descriptors; `none` where it detects nothing."""

    def describe(image: Pixels) -> tuple[NDArray[np.float32], NDArray[Any]]:
        points, descriptors = detector.detectAndCompute(_gray(image), None)
        return _positions(points), none if descriptors is None else descriptors

    return describe


def patch_network(weights: Path) -> Describe:
    """TFeat (Balntas et al., BMVC 2016) or another of its shape, on patches at SIFT keypoints.

    Args:
        weights: State dict of `kornia.feature.TFeat`.
    """
    network = kornia_feature.TFeat(pretrained=False)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    network.eval()
    sift = cv2.SIFT_create(POINTS)  # type: ignore[attr-defined]

    @torch.inference_mode()
    def describe(image: Pixels) -> tuple[NDArray[np.float32], NDArray[Any]]:
        gray = _gray(image)
        points = sift.detect(gray, None)
        if not points:
            return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
        xy = _positions(points)
        # OpenCV's size is the diameter of the scale, and its angles go clockwise.
        scale = torch.tensor([SIGMAS_PER_PATCH * p.size / 2 for p in points])[None, :, None, None]
        angle = torch.tensor([-p.angle for p in points])[None, :, None]
        frames = kornia_feature.laf_from_center_scale_ori(torch.from_numpy(xy)[None], scale, angle)
        pixels = torch.from_numpy(gray).float()[None, None] / 255
        patches = kornia_feature.extract_patches_from_pyramid(pixels, frames, PATCH)[0]
        return xy, torch.nn.functional.normalize(network(patches), dim=1).numpy()

    return describe


def aliked(weights: Path) -> Describe:
    """ALIKED (Zhao et al., TIM 2023): keypoints and descriptors of one network, named by the file."""
    network = kornia_feature.ALIKED(weights.stem, max_num_keypoints=POINTS, detection_threshold=0)
    # The published files lack a constant buffer of Kornia's, which it makes itself.
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True), strict=False)
    network.eval()

    @torch.inference_mode()
    def describe(image: Pixels) -> tuple[NDArray[np.float32], NDArray[Any]]:
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float()[None] / 255
        (found,) = network(pixels)
        return found.keypoints.numpy(), found.descriptors.numpy()

    return describe


def _root(histograms: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.sqrt(histograms / (histograms.sum(1, keepdims=True) + 1e-7)), np.float32)


def _gray(image: Pixels) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def _positions(points: Any) -> NDArray[np.float32]:
    return np.array([p.pt for p in points], np.float32).reshape(-1, 2)
