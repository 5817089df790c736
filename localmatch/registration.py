"""Alignments -> refined alignments, and which pixels they bring into exact register.

Two photographs of one floor look the same to descriptors, at the finest levels, too; what only a copy has is that one
affine map, or one homography, brings all its pixels to within a third of a pixel or, where the copy was bent, what
`flow` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from localmatch.geometry import Affine
from localmatch.kernels import local_zncc
from localmatch.kernels.zncc import ONE
from localmatch.records import Level, Mapping
from localmatch.refinement import AFFINE, refined
from localmatch.structure import contrast
from localmatch.views import View
from localmatch.warping import normalised, slopes, warp


@dataclass(frozen=True)
class Windows:
    """The Gaussian windows in which exact register is judged, and how.

    Attributes:
        first: They lie on the finest level from this index on. Large images begin at coarser levels.
        sigma: In level pixels.
        error: The displacement, in query pixels, must be below it.
        unexplained: The share of the images' difference that no displacement explains must be below it.
    """

    first: int
    sigma: float
    error: float
    unexplained: float


SMALL = Windows(-1, 3.0, 0.21, 0.35), Windows(1, 3.0, 0.21, 0.35)
"""The first are the sharper judge, the second see less of noise, blur and JPEG."""

WIDE = Windows(0, 8.0, 0.1, 0.85)
"""So wide that they see through noise, blur and what was smoothed or drawn anew: over such distances second photographs
drift by more than the error."""

BLURS, SHARPER, MEAN_SIGMA = (0.7, 1.0, 1.4, 2.0, 2.8), 1.1, 4.0
"""Where copy or reference is sharper than the other by more than the factor, it is blurred by these sigmas in level
pixels until it is not. Sharpness: energy of gradients over that of what differs from a mean of the last sigma."""

CORRELATION_LEVELS, CORRELATION_RADIUS = (0, 1), 5
"""Pixels are correlated on the finest level from each of these indices on, in windows of this radius in level pixels:
the second sees less of noise and JPEG."""

SAME, SAME_WIDTH = 0.95, 0.01
"""Correlation on the finest of those levels at which a pixel is as likely the same as not, and the logistic's width."""


def refine(
    view: View, reference: list[Level], affine: Affine, alike: NDArray[np.bool_]
) -> tuple[Affine, NDArray[np.float32]]:
    """The affine map, refined where that brings more pixels into exact register.

    Args:
        view: Where on the query.
        reference: Pyramid of the reference.
        affine: (2, 3) query -> reference.
        alike: (h, w) which pixels of the view look like the reference.

    Returns:
        The affine map, and what `registered` says of it.
    """
    before = registered(view, reference, Mapping(affine), alike)
    finer = refined(view, reference, affine, alike, AFFINE)
    if finer is None:
        return affine, before
    after = registered(view, reference, finer, alike)
    return (finer.affine, after) if (after * alike).sum() > (before * alike).sum() else (affine, before)


def registered(view: View, reference: list[Level], mapping: Mapping, alike: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Which pixels of a view are in exact register with the aligned reference, (L, h, w), as each of `SMALL` judge."""
    return np.stack([_judged(view, reference, mapping, alike, windows) for windows in SMALL])


def registered_widely(
    view: View, reference: list[Level], mapping: Mapping, alike: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Which pixels of a view are in exact register with the aligned reference, (h, w), as `WIDE` judge."""
    return _judged(view, reference, mapping, alike, WIDE)


def _judged(
    view: View, reference: list[Level], mapping: Mapping, alike: NDArray[np.bool_], windows: Windows
) -> NDArray[np.float32]:
    """Which pixels of a view are in exact register, (h, w) float32 in [0, 1].

    The images are taken as they are or as soft as the softer one, whichever brings more of what looks alike into
    register. The displacement that is left is believed where it explains the difference of the images.
    """
    (level,) = view.finest(windows.first, 1)
    warped, _ = warp(reference, level, mapping)
    maps = []
    for own, other in _equally_soft(level.gray.numpy(), warped, view.on_level(alike.astype(np.float32), level)):
        step, unexplained = displacement(normalised(own), normalised(other), windows.sigma)
        exact = np.hypot(*(step * level.scale).transpose(2, 0, 1)) < windows.error
        exact &= unexplained < windows.unexplained
        maps.append(view.resample(exact.astype(np.float32), level))
    return max(maps, key=lambda one: float((one * alike).sum()))


def _equally_soft(
    own: NDArray[np.float32], other: NDArray[np.float32], weight: NDArray[np.float32]
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Two images (h, w) as they are and, where one is sharper by the weight, with that one as soft as the other."""
    sharpness = _sharpness(own, weight), _sharpness(other, weight)
    most = SHARPER * min(sharpness)
    if sharpness[0] > most:
        return [(own, other), (_softened(own, weight, most), other)]
    if sharpness[1] > most:
        return [(own, other), (own, _softened(other, weight, most))]
    return [(own, other)]


def _softened(image: NDArray[np.float32], weight: NDArray[np.float32], most: float) -> NDArray[np.float32]:
    """An image (h, w), blurred until it has hardly more than a sharpness, as judged where the weight is."""
    softer = image
    for sigma in BLURS:
        softer = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)
        if _sharpness(softer, weight) <= most:
            break
    return softer


def _sharpness(image: NDArray[np.float32], weight: NDArray[np.float32]) -> float:
    dx, dy = (cv2.Sobel(image, cv2.CV_32F, *order, ksize=1) for order in ((1, 0), (0, 1)))
    contrast = (image - cv2.GaussianBlur(image, (0, 0), MEAN_SIGMA)) ** 2
    return float(((dx * dx + dy * dy) * weight).sum() / max(float((contrast * weight).sum()), 1e-9))


def displacement(
    own: NDArray[np.float32],
    other: NDArray[np.float32],
    window: float,
    weight: NDArray[np.float32] | None = None,
    damping: float = 1e-4,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How pixels of `other` are displaced against `own`: the Lucas-Kanade step (IJCAI 1981).

    Args:
        own, other: (h, w) contrast-normalised images.
        window: Standard deviation, in pixels, of the Gaussian window in which the displacement is constant.
        weight: (h, w) of the pixels; None for equal ones.
        damping: Gradient energy at which the displacement is halved.

    Returns:
        step: (h, w, 2) float32 (x, y), in pixels.
        unexplained: (h, w) float32, the share of the difference of the images that it does not explain.
    """
    difference, (dx, dy) = other - own, slopes(own, other)

    def around(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.GaussianBlur(values if weight is None else weight * values, (0, 0), window), np.float32)

    least = damping if weight is None else damping * around(np.ones_like(own))
    xx, yy, xy = around(dx * dx) + least, around(dy * dy) + least, around(dx * dy)
    xt, yt = around(dx * difference), around(dy * difference)
    determinant = xx * yy - xy * xy
    u, v = (xy * yt - yy * xt) / determinant, (xy * xt - xx * yt) / determinant
    unexplained = around((difference + dx * u + dy * v) ** 2) / (around(own * own) + 1e-3)
    return np.dstack([u, v]), unexplained


def correlation(
    view: View, reference: list[Level], mapping: Mapping, levels: Sequence[int] = CORRELATION_LEVELS
) -> NDArray[np.float32]:
    """How well the pixels of a view correlate with the aligned reference, brightness and contrast apart.

    Returns:
        (L, h, w) float32 in [-1, 1], on each of the levels.
    """
    correlations = []
    for first in levels:
        (level,) = view.finest(first, 1)
        warped, inside = warp(reference, level, mapping)
        own, other = ((one * 255).round().clip(0, 255).astype(np.uint8) for one in (level.gray.numpy(), warped))
        images = torch.from_numpy(own), torch.from_numpy(other)
        found = local_zncc(*images, torch.from_numpy(inside), CORRELATION_RADIUS)
        correlations.append(view.resample(found.numpy().astype(np.float32) / np.float32(ONE), level))
    return np.stack(correlations)


def likely_same(correlations: NDArray[np.float32]) -> NDArray[np.float32]:
    """How likely pixels are the same, brightness and contrast apart, (h, w) float32 in [0, 1].

    Args:
        correlations: From `correlation`; only those of the first of its levels count.
    """
    return np.asarray(expit((correlations[0] - SAME) / SAME_WIDTH), np.float32)


def same_at_a_look(view: View, reference: list[Level], affine: Affine) -> NDArray[np.float32]:
    """How likely the pixels of a view are the same as the aligned reference's, (h, w) float32 in [0, 1]."""
    return likely_same(correlation(view, reference, Mapping(affine), CORRELATION_LEVELS[:1]))


def contrast_of(view: View) -> NDArray[np.float32]:
    """Local contrast of a view in the windows of `correlation`, (L, h, w) float32 in [0, 1); 0 where it is flat."""
    levels = [view.finest(first, 1)[0] for first in CORRELATION_LEVELS]
    windows = 2 * CORRELATION_RADIUS + 1
    return np.stack([view.resample(contrast(level.gray.numpy(), windows), level) for level in levels])
