"""Alignments -> refined alignments, and which pixels they bring into exact register.

Two photographs of one floor look the same to descriptors, at the finest levels, too; what only a copy has is that one
affine map brings all its pixels to within a third of a pixel. The map is refined by maximising the correlation of the
aligned pixels (ECC: Evangelidis and Psarakis, PAMI 2008).
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localmatch.descriptor.network import LocalContrastNorm
from localmatch.geometry import Affine, compose, invert, level_frame, scale_of
from localmatch.kernels import local_zncc
from localmatch.kernels.zncc import ONE
from localmatch.records import Level
from localmatch.views import View

REGISTER_LEVELS = (-1, 1)
"""Register is judged on the finest level from each of these indices on: the first is the sharper judge, the second sees
less of noise, blur and JPEG. Large images begin at coarser levels."""

REGISTER_WINDOW, REGISTER_ERROR, REGISTER_UNEXPLAINED = 3.0, 0.21, 0.35
"""Exact register is judged in Gaussian windows of this sigma in level pixels: the displacement in query pixels must be
below the error, and the share of the images' difference that no displacement explains below the last."""

CORRELATED_FROM, CORRELATED_RADIUS = 0, 5
"""Pixels are correlated on the finest level from this index on, in windows of this radius in level pixels."""

ECC_SHORT_SIDE, ECC_ROUNDS, ECC_PIXELS = 600, 40, 200
"""The alignment is refined on a level of at most this short side, in so many rounds, on so many pixels at least."""

ECC_EDGE = 17
"""Pixels that are shaved off the edge of what takes part in the refinement."""

ECC_MAX_CHANGE = 0.15
"""A refinement that changes the linear part by more has run away and is dropped."""


def refine(
    view: View, reference: list[Level], affine: Affine, alike: NDArray[np.bool_]
) -> tuple[Affine, NDArray[np.float32]]:
    """The affine map or, where more pixels are in exact register with it, the one that maximises their correlation.

    Args:
        view: Where on the query.
        reference: Pyramid of the reference.
        affine: (2, 3) query -> reference.
        alike: (h, w) which pixels of the view look like the reference.

    Returns:
        The affine map, and what `registered` says of it.
    """
    before = registered(view, reference, affine)
    mask = alike.astype(np.uint8)
    # Contrast normalisation sees the host at the edge of a copy, which would bend the map.
    inner = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (ECC_EDGE, ECC_EDGE)))
    moved = _maximise_correlation(view, reference, affine, inner if inner.sum() >= ECC_PIXELS else mask)
    if moved is None:
        return affine, before
    after = registered(view, reference, moved)
    return (moved, after) if (after * alike).sum() > (before * alike).sum() else (affine, before)


def _maximise_correlation(view: View, reference: list[Level], affine: Affine, mask: NDArray[np.uint8]) -> Affine | None:
    """The affine map near `affine` at which the contrast-normalised pixels of a mask correlate best, if any."""
    level = next(
        (one for one in view.finest(0, len(view.levels)) if min(one.gray.shape) <= ECC_SHORT_SIDE), view.levels[-1]
    )
    warped, inside = warp(reference, level, affine)
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    chosen = cv2.warpAffine(mask, view.pixel_frame(level), inside.shape[::-1], flags=flags) * inside
    if chosen.sum() < ECC_PIXELS:
        return None
    own, other = _normalised(level.gray, warped)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ECC_ROUNDS, 1e-4)
    start = np.eye(2, 3, dtype=np.float32)
    try:
        _, step = cv2.findTransformECC(own, other, start, cv2.MOTION_AFFINE, criteria, chosen.astype(np.uint8), 3)
    except cv2.error:  # OpenCV raises when the correlation does not rise
        return None
    moved = compose(level_frame(level), compose(step.astype(np.float64), invert(level_frame(level))))
    return compose(affine, moved) if np.abs(moved[:, :2] - np.eye(2)).max() < ECC_MAX_CHANGE else None


def registered(view: View, reference: list[Level], affine: Affine) -> NDArray[np.float32]:
    """Which pixels of a view are in exact register with the aligned reference, (L, h, w) float32 in [0, 1].

    One map for each of `REGISTER_LEVELS`.
    """
    levels = [view.finest(first, 1)[0] for first in REGISTER_LEVELS]
    return np.stack([_registered_on(view, level, reference, affine) for level in levels])


def _registered_on(view: View, level: Level, reference: list[Level], affine: Affine) -> NDArray[np.float32]:
    """`registered` on one level, (h, w).

    The displacement that is left is the Lucas-Kanade step (IJCAI 1981) on contrast-normalised pixels, believed where
    it explains the difference of the images.
    """
    warped, _ = warp(reference, level, affine)
    own, other = _normalised(level.gray, warped)
    both = (own + other) / 2
    dx, dy = (cv2.Sobel(both, cv2.CV_32F, *order, ksize=3) / 8 for order in ((1, 0), (0, 1)))
    difference = other - own

    def around(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), REGISTER_WINDOW), np.float32)

    xx, yy, xy = around(dx * dx) + 1e-4, around(dy * dy) + 1e-4, around(dx * dy)
    xt, yt = around(dx * difference), around(dy * difference)
    determinant = xx * yy - xy * xy
    u, v = (xy * yt - yy * xt) / determinant, (xy * xt - xx * yt) / determinant
    unexplained = around((difference + dx * u + dy * v) ** 2) / (around(own * own) + 1e-3)
    exact = (np.hypot(u * level.scale[0], v * level.scale[1]) < REGISTER_ERROR) & (unexplained < REGISTER_UNEXPLAINED)
    frame = view.pixel_frame(level)
    pixels = cv2.warpAffine(exact.astype(np.float32), frame, view.size, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(pixels, np.float32)


def correlation(view: View, reference: list[Level], affine: Affine) -> NDArray[np.float32]:
    """How well the pixels of a view correlate with the aligned reference, brightness and contrast apart, (h, w)."""
    (level,) = view.finest(CORRELATED_FROM, 1)
    warped, inside = warp(reference, level, affine)
    own, other = ((one * 255).round().clip(0, 255).astype(np.uint8) for one in (level.gray.numpy(), warped))
    images = torch.from_numpy(own), torch.from_numpy(other)
    found = local_zncc(*images, torch.from_numpy(inside), CORRELATED_RADIUS)
    pixels = cv2.warpAffine(
        found.numpy().astype(np.float32) / ONE, view.pixel_frame(level), view.size, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(pixels, np.float32)


def warp(
    reference: list[Level], level: Level, affine: Affine, around: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The reference as it would look on a query level, (h, w) gray, and whether each pixel lies on the reference.

    Args:
        reference: Pyramid of the reference.
        level: Level of the query, or a part of it.
        affine: (2, 3) query -> reference.
        around: Level pixels by which the result is larger on each side.
    """
    wanted = level.index + 2 * np.log2(scale_of(affine))
    # Rather a source a little too fine than one too coarse.
    source = min(reference, key=lambda one: abs(one.index + 0.25 - wanted))
    matrix = compose(invert(level_frame(source)), compose(affine, level_frame(level, -around, -around)))
    size = level.gray.shape[1] + 2 * around, level.gray.shape[0] + 2 * around
    gray, flags = source.gray.numpy(), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(gray, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones_like(gray), matrix, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(warped, np.float32), inside > 0.5


def _normalised(query: Tensor, warped: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both images as the network sees them: without local brightness and contrast."""
    pair = LocalContrastNorm()(torch.stack([query, torch.from_numpy(warped)])[:, None])[:, 0].numpy()
    return pair[0], pair[1]
