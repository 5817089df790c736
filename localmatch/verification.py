"""Alignments -> verified alignments: is every pixel really the same, where the alignment says that it is?

The reference is read again and warped into the query's frame, so that scale, rotation and mirror are undone; its dense
descriptor maps are compared with the query's, cell by cell, within a small search window. A cheap look at the box of
the agreeing neighbours comes first, so that many alignments can be tried; the alignment of those that pass is refined
by maximising the correlation of the aligned pixels (ECC: Evangelidis and Psarakis, PAMI 2008).

The fine levels decide, and exact register. Two photographs of one floor look the same to descriptors, at the finest
levels, too; what only a copy has is that one affine map brings all its pixels to within a third of a pixel.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from localmatch.descriptor.encode import QUANTISATION, dense_map, quantise
from localmatch.descriptor.network import STRIDE, DescriptorNet, LocalContrastNorm, box_mean
from localmatch.geometry import Affine, compose, invert, level_frame, scale_of
from localmatch.records import Alignment, Encoded, Level

SCREEN_FROM, SCREEN_LEVELS = 0, 2
"""The first look is at the two finest levels from this index on, which also tell where to refine the alignment."""

FINE_FROM, FINE_WEIGHTS = -1, (0.3, 0.4, 0.3)
"""The three finest levels from this index on decide, with these weights. Large images begin at coarser levels."""

SCREEN_SEARCH, FINE_SEARCH = 2, 1
"""Radius of the search windows, in descriptor cells."""

CENTRE, WIDTH = 0.58, 0.06
"""Similarity at which a pixel is as likely copied as not, and the logistic's width; measured on held-out images."""

BORDER = 3
"""Cells at the edge of an image whose descriptors see more padding than image."""

STRUCTURE = 4 / 255
"""Local standard deviation at which there is half as much to compare as there can be."""

REGISTER_WINDOW, REGISTER_ERROR, REGISTER_UNEXPLAINED = 3.0, 0.3, 0.35
"""Exact register is judged on the finest of those levels, in Gaussian windows of this sigma: the displacement in level
pixels must be below the error, and so must the share of the images' difference that no displacement explains."""

ECC_SHORT_SIDE, ECC_ROUNDS, ECC_PIXELS = 600, 40, 200
"""The alignment is refined on a level of at most this short side, in so many rounds, on so many pixels at least."""

ECC_MATCHING, ECC_EDGE = 0.6, 17
"""Similarity over which pixels take part in the refinement, and the width, in pixels, of what is shaved off them."""

ECC_MAX_CHANGE = 0.15
"""A refinement that changes the linear part by more has run away and is dropped."""


def screen(network: DescriptorNet, encoded: Encoded, reference: list[Level], alignment: Alignment) -> float:
    """A first look at an alignment, at its own box only: the upper-quartile similarity there, about 0 to 1."""
    looks = [
        _similarity(network, encoded, level, reference, alignment.affine, SCREEN_SEARCH, _window(level, alignment))
        for level in _finest(encoded, SCREEN_FROM, SCREEN_LEVELS)
    ]
    return max(float(np.percentile(look, 75)) for look in looks)


def _finest(encoded: Encoded, first: int, count: int) -> tuple[Level, ...]:
    """The finest levels from an index on; of tiny images, whose levels are all finer, the coarsest."""
    return tuple(one for one in encoded.levels if one.index >= first)[:count] or encoded.levels[-1:]


def refine(
    network: DescriptorNet, encoded: Encoded, reference: list[Level], alignment: Alignment
) -> tuple[Affine, NDArray[np.float32]]:
    """The alignment or, where more pixels are in exact register with it, the one that maximises their correlation.

    Returns:
        The affine map, and what `registered` says of it.
    """
    affine = alignment.affine
    before = registered(encoded, reference, affine)
    alike = [
        _to_image(_similarity(network, encoded, one, reference, affine, SCREEN_SEARCH), one, encoded.size)
        for one in _finest(encoded, SCREEN_FROM, SCREEN_LEVELS)
    ]
    matching = (np.mean(alike, axis=0) > ECC_MATCHING).astype(np.uint8)
    # Contrast normalisation sees the host at the edge of a copy, which would bend the map.
    inner = cv2.erode(matching, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (ECC_EDGE, ECC_EDGE)))
    moved = _maximise_correlation(encoded, reference, affine, inner if inner.sum() >= ECC_PIXELS else matching)
    if moved is None:
        return affine, before
    after = registered(encoded, reference, moved)
    return (moved, after) if (after * matching).sum() > (before * matching).sum() else (affine, before)


def _maximise_correlation(
    encoded: Encoded, reference: list[Level], affine: Affine, mask: NDArray[np.uint8]
) -> Affine | None:
    """The affine map near `affine` at which the contrast-normalised pixels of a mask correlate best, if any."""
    level = next(one for one in encoded.levels if min(one.gray.shape) <= ECC_SHORT_SIDE)
    warped, inside = _warp(reference, level, affine)
    chosen = cv2.resize(mask, inside.shape[::-1], interpolation=cv2.INTER_NEAREST) * inside
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


def compare(network: DescriptorNet, encoded: Encoded, reference: list[Level], affine: Affine) -> NDArray[np.float32]:
    """Calibrated evidence, (H, W) float32 in [0, 1], that each query pixel shows what the aligned reference shows."""
    total = np.zeros(encoded.size[::-1], np.float32)
    levels = _finest(encoded, FINE_FROM, len(FINE_WEIGHTS))
    weights = FINE_WEIGHTS[: len(levels)]
    for level, weight in zip(levels, weights, strict=True):
        similarity = _similarity(network, encoded, level, reference, affine, FINE_SEARCH)
        total += weight / sum(weights) * _to_image(similarity, level, encoded.size)
    return np.asarray(1 / (1 + np.exp((CENTRE - total) / WIDTH)), np.float32)


def registered(encoded: Encoded, reference: list[Level], affine: Affine) -> NDArray[np.float32]:
    """Which query pixels are in exact register with the aligned reference, (H, W) float32 in [0, 1].

    Two photographs of one floor look the same to descriptors; but no single affine map brings them to a third of a
    pixel everywhere, as it does for a copy. The displacement that is left is the Lucas-Kanade step (IJCAI 1981) on
    contrast-normalised pixels, believed where it explains the difference of the images.
    """
    (level,) = _finest(encoded, FINE_FROM, 1)
    warped, _ = _warp(reference, level, affine)
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
    exact = (np.hypot(u, v) < REGISTER_ERROR) & (unexplained < REGISTER_UNEXPLAINED)
    return np.asarray(cv2.resize(exact.astype(np.float32), encoded.size, interpolation=cv2.INTER_LINEAR), np.float32)


def structure(encoded: Encoded) -> NDArray[np.float32]:
    """(H, W) float32 in [0, 1): how much there is to compare at each query pixel; 0 on flat paper or sky."""
    (level,) = _finest(encoded, SCREEN_FROM, 1)
    gray = level.gray[None, None] - 0.5
    mean, square = box_mean(torch.cat([gray, gray * gray], 1), 15)[0].numpy()
    deviation = np.sqrt((square - mean * mean).clip(0))
    support = deviation**2 / (deviation**2 + STRUCTURE**2)
    return np.asarray(cv2.resize(support, encoded.size, interpolation=cv2.INTER_LINEAR), np.float32)


def stored_patches(encoded: Encoded, xy: NDArray[np.float32], level: NDArray[np.int8]) -> NDArray[np.float32]:
    """Evidence from the agreeing patches alone, for a reference that cannot be read any more.

    Args:
        encoded: The query.
        xy, level: (I, 2) and (I,) centres and levels of the agreeing query patches.

    Returns:
        (H, W) float32 in [0, 1].
    """
    width, height = encoded.size
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    evidence = np.zeros((height, width), np.float32)
    for (x, y), one in zip(xy, level, strict=True):
        sigma = 8 * 2 ** (one / 2)
        evidence += np.exp(-((rows - y) ** 2)[:, None] / (2 * sigma**2)) * np.exp(
            -((columns - x) ** 2) / (2 * sigma**2)
        )
    return 1 - np.exp(-evidence)


@torch.inference_mode()
def _similarity(
    network: DescriptorNet,
    encoded: Encoded,
    level: Level,
    reference: list[Level],
    affine: Affine,
    radius: int,
    window: tuple[int, int, int, int] | None = None,
) -> NDArray[np.float32]:
    """Best cosine similarity of each query cell with the warped reference's cells within a search window.

    Args:
        window: (x0, y0, x1, y1) in cells; the whole level without it.

    Returns:
        (h, w) float32; 0 where the reference does not reach.
    """
    own = torch.from_numpy(encoded.maps[level.index]).float()
    x0, y0, x1, y1 = window or (0, 0, own.shape[2], own.shape[1])
    own = own[:, y0:y1, x0:x1]
    # Cells beyond the window, so that convolutions see the reference and not padding.
    around = 4 if window else 0
    corner = (STRIDE * (x0 - around), STRIDE * (y0 - around))
    size = (STRIDE * (x1 - x0 + 2 * around), STRIDE * (y1 - y0 + 2 * around)) if window else None
    warped, inside = _warp(reference, level, affine, corner, size)
    other = torch.from_numpy(quantise(dense_map(network, torch.from_numpy(warped)))).float()
    other = torch.nn.functional.pad(
        other[:, around or None : -around or None, around or None : -around or None], (radius,) * 4
    )
    height, width = own.shape[1:]
    best = torch.zeros(height, width)
    for dy in range(2 * radius + 1):
        for dx in range(2 * radius + 1):
            # Products of int8 sum exactly in float32, so the result does not depend on the order of summation.
            best = torch.maximum(best, (own * other[:, dy : dy + height, dx : dx + width]).sum(0))
    start = STRIDE * around
    reached = inside[start::STRIDE, start::STRIDE][:height, :width]
    similarity = np.asarray(best.numpy() / QUANTISATION**2 * reached, np.float32)
    return similarity if window else _trusted(similarity)


def _trusted(similarity: NDArray[np.float32]) -> NDArray[np.float32]:
    """The map with its outermost cells replaced by those further in: padding makes all images alike there."""
    rows, columns = (
        np.arange(side).clip(min(BORDER, side // 2), max(side - 1 - BORDER, side // 2)) for side in similarity.shape
    )
    return np.asarray(similarity[np.ix_(rows, columns)], np.float32)


def _warp(
    reference: list[Level],
    level: Level,
    affine: Affine,
    corner: tuple[int, int] = (0, 0),
    size: tuple[int, int] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The reference as it would look on a query level, (h, w) gray, and whether each pixel lies on the reference."""
    wanted = level.index + 2 * np.log2(scale_of(affine))
    # Rather a source a little too fine than one too coarse.
    source = min(reference, key=lambda one: abs(one.index + 0.25 - wanted))
    matrix = compose(invert(level_frame(source)), compose(affine, level_frame(level, *corner)))
    size = size or (level.gray.shape[1], level.gray.shape[0])
    gray, flags = source.gray.numpy(), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(gray, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones_like(gray), matrix, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(warped, np.float32), inside > 0.5


def _normalised(query: Tensor, warped: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both images as the network sees them: without local brightness and contrast."""
    pair = LocalContrastNorm()(torch.stack([query, torch.from_numpy(warped)])[:, None])[:, 0].numpy()
    return pair[0], pair[1]


def _window(level: Level, alignment: Alignment) -> tuple[int, int, int, int]:
    """The cells of a level that an alignment's agreeing neighbours cover, (x0, y0, x1, y1)."""
    rows, columns = (-(-side // STRIDE) for side in level.gray.shape)
    x0, y0, x1, y1 = (v / s / STRIDE for v, s in zip(alignment.box, level.scale * 2, strict=True))
    left, top = min(max(int(x0), 0), columns - 1), min(max(int(y0), 0), rows - 1)
    return left, top, max(min(int(x1) + 1, columns), left + 1), max(min(int(y1) + 1, rows), top + 1)


def _to_image(cells: NDArray[np.float32], level: Level, size: tuple[int, int]) -> NDArray[np.float32]:
    """A map of cells on the query's pixels, bilinearly."""
    matrix = compose(level_frame(level), np.array([[STRIDE, 0, 0], [0, STRIDE, 0]], np.float64))
    matrix[:, 2] -= 0.5  # from image positions to pixel indices
    return np.asarray(
        cv2.warpAffine(cells, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )
