"""Alignments -> verified alignments: is every pixel really the same, where the alignment says that it is?

The reference is read again and warped into the query's frame, so that scale, rotation and mirror are undone; its dense
descriptor maps are compared with the query's, cell by cell, within a small search window. A cheap look at the box of
the agreeing neighbours comes first, so that many alignments can be tried; a coarse one over the whole query then tells
how far the copy may reach, and only there the fine levels, which decide, are compared.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from localmatch.descriptor.encode import QUANTISATION, dense_map, quantise
from localmatch.descriptor.network import STRIDE, DescriptorNet
from localmatch.flow import COARSE, FINE, find_flow, nearest_homography, same_pixels
from localmatch.kernels import compare_maps, splat_evidence
from localmatch.kernels.compare import ONE
from localmatch.kernels.splat import PEAK, SUBPIXEL
from localmatch.patches import PATCH
from localmatch.records import Alignment, Box, Encoded, Level, Mapping, Neighbours, Structure, Verified
from localmatch.registration import contrast_of, correlation, refine, registered
from localmatch.structure import structure, texture
from localmatch.views import View, view_of
from localmatch.warping import warp

SCREEN_FROM, SCREEN_LEVELS = 0, 2
"""The first look is at the two finest levels from this index on, which also tell where to refine the alignment."""

EXTENT_FROM, EXTENT_ALIKE, EXTENT_MARGIN = 2, 0.5, 32
"""How far a copy reaches is judged on the finest level from this index on: where similarity is over the second number;
the third, in query pixels, is added on each side."""

FINE_FROM, FINE_WEIGHTS = -1, (0.3, 0.4, 0.3)
"""The three finest levels from this index on decide, with these weights. Large images begin at coarser levels."""

SCREEN_SEARCH, FINE_SEARCH = 2, 1
"""Radius of the search windows, in descriptor cells."""

CENTRE, WIDTH = 0.58, 0.06
"""Similarity at which a pixel is as likely copied as not, and the logistic's width; measured on held-out images."""

MATCHING = 0.6
"""Similarity over which pixels take part in the refinement of an alignment."""

AROUND = 4
"""Cells beyond a view that the reference is warped for, so that convolutions see it and not padding."""

BORDER = 3
"""Cells at the edge of an image whose descriptors see more padding than image."""

REGISTERED, REGISTERED_BENT = 0.05, 0.2
"""Where a smaller share of what looks alike is in exact register, by an affine map or by what bends it, not every pixel
is compared: of copies that are found, at least 0.38 is, and three of four maps of clean images have less."""

BENT = 0.6
"""Where a smaller share of what looks alike is in exact register, it may be that the copy was bent."""

PLANE_ROUNDS, PROMISING = 2, 0.1
"""Times that a homography is fitted to the flow that it leaves over, each of which shows more of a copy; and the share
that must be in register for the next."""

TEXTURED = 128.0
"""A flow is tried where what looks alike holds so many pixels of texture; without, it would be no evidence."""

Found = tuple[Mapping, NDArray[np.float32]]
"""A mapping, and which pixels of the view (L, h, w) are in register with it."""

UNKNOWN_REGISTER, UNKNOWN_CORRELATION = 0.7, 0.9
"""Share of exact register, and correlation, taken for a reference that cannot be read any more."""


def screen(network: DescriptorNet, encoded: Encoded, reference: list[Level], alignment: Alignment) -> float:
    """A first look at an alignment, at its own box only: the upper-quartile similarity there, about 0 to 1."""
    view = view_of(encoded, alignment.box)
    looks = [
        _similarity(network, view, level, reference, Mapping(alignment.affine), SCREEN_SEARCH)
        for level in view.finest(SCREEN_FROM, SCREEN_LEVELS)
    ]
    return max(float(np.percentile(look, 75)) for look in looks)


def verify(
    network: DescriptorNet, encoded: Encoded, query: Structure, reference: list[Level], alignment: Alignment
) -> list[Verified]:
    """Refine an alignment, bend it where that helps, and compare every pixel where enough is in register."""
    view = view_of(encoded, _extent(network, encoded, reference, alignment))
    alike = _alike(network, view, reference, Mapping(alignment.affine))
    affine, register = refine(view, reference, alignment.affine, alike)
    share = _share(register, alike)
    found = [(Mapping(affine), register)] if share >= REGISTERED else []
    if share < BENT and float((query.texture[view.slices] * alike).sum()) >= TEXTURED:
        found += _bent(network, view, reference, Mapping(affine), alike, share)

    def whole(part: NDArray[np.float32]) -> NDArray[np.float32]:
        out = np.zeros((*part.shape[:-2], *encoded.size[::-1]), np.float32)
        out[..., *view.slices] = part
        return out

    return [
        Verified(
            mapping,
            evidence=whole(_compare(network, view, reference, mapping)),
            registered=whole(register),
            correlation=whole(correlation(view, reference, mapping)),
        )
        for mapping, register in found
    ]


def _bent(
    network: DescriptorNet,
    view: View,
    reference: list[Level],
    affine: Mapping,
    alike: NDArray[np.bool_],
    share: float,
) -> list[Found]:
    """A homography if a larger share is in register with it, and a flow after which a yet larger one is the same."""
    found, share = [], max(share, REGISTERED_BENT)
    bent = find_flow(view, reference, affine, alike, COARSE)
    # A bent copy comes into sight as the flow brings it nearer.
    alike = _alike(network, view, reference, bent)
    bent = find_flow(view, reference, bent, alike, FINE)
    flat, share_flat = _flattened(network, view, reference, bent, alike)
    if share_flat > share:
        found.append(flat)
    same = same_pixels(view, reference, bent)
    if _share(same, alike) > max(share, share_flat):
        found.append((bent, same))
    return found


def _flattened(
    network: DescriptorNet, view: View, reference: list[Level], bent: Mapping, alike: NDArray[np.bool_]
) -> tuple[Found, float]:
    """The homography nearest to a bent map, and the share of what looks alike that is in register with it."""
    plane = nearest_homography(bent, alike)
    for _ in range(PLANE_ROUNDS):
        plane = nearest_homography(find_flow(view, reference, plane, alike, FINE), alike)
        alike = _alike(network, view, reference, plane)
        register = registered(view, reference, plane, alike)
        share = _share(register, alike)
        if share < PROMISING:
            break
    return (plane, register), share


def _alike(network: DescriptorNet, view: View, reference: list[Level], mapping: Mapping) -> NDArray[np.bool_]:
    """Which pixels of a view look like the warped reference, (h, w)."""
    similar = [
        view.to_pixels(_trusted(_similarity(network, view, level, reference, mapping, SCREEN_SEARCH)), level)
        for level in view.finest(SCREEN_FROM, SCREEN_LEVELS)
    ]
    return np.asarray(np.mean(similar, axis=0) > MATCHING, bool)


def _share(registered: NDArray[np.float32], alike: NDArray[np.bool_]) -> float:
    """Share of the pixels that look alike that are in register, on the level (L, h, w) where it is highest."""
    return float((registered * alike).sum((1, 2)).max() / max(int(alike.sum()), 1))


def _extent(network: DescriptorNet, encoded: Encoded, reference: list[Level], alignment: Alignment) -> Box:
    """The query box that an alignment may explain: what is alike at a coarse level and touches its own box."""
    view = view_of(encoded, (0, 0, *encoded.size))
    (level,) = view.finest(EXTENT_FROM, 1)
    alike = _similarity(network, view, level, reference, Mapping(alignment.affine), SCREEN_SEARCH) > EXTENT_ALIKE
    (sx, sy), (x0, y0, x1, y1) = np.array(level.scale) * STRIDE, alignment.box
    own = np.s_[int(y0 / sy) : int(y1 / sy) + 2, int(x0 / sx) : int(x1 / sx) + 2]
    alike[own] = True
    labels, _ = ndimage.label(alike)
    rows, columns = ndimage.find_objects(labels)[labels[own][0, 0] - 1]
    left, top = columns.start * sx - EXTENT_MARGIN, rows.start * sy - EXTENT_MARGIN
    return left, top, columns.stop * sx + EXTENT_MARGIN, rows.stop * sy + EXTENT_MARGIN


def _compare(network: DescriptorNet, view: View, reference: list[Level], mapping: Mapping) -> NDArray[np.float32]:
    """Calibrated evidence, (h, w) float32 in [0, 1], of the pixels of a view."""
    total = np.zeros(view.size[::-1], np.float32)
    levels = view.finest(FINE_FROM, len(FINE_WEIGHTS))
    weights = FINE_WEIGHTS[: len(levels)]
    for level, weight in zip(levels, weights, strict=True):
        similarity = _trusted(_similarity(network, view, level, reference, mapping, FINE_SEARCH))
        total += weight / sum(weights) * view.to_pixels(similarity, level)
    return np.asarray(1 / (1 + np.exp((CENTRE - total) / WIDTH)), np.float32)


def query_structure(encoded: Encoded) -> Structure:
    """The structure of a query on its own pixels."""
    view = view_of(encoded, (0, 0, *encoded.size))
    (level,) = view.finest(SCREEN_FROM, 1)
    maps = np.dstack(structure(level.gray.numpy()))
    resized = cv2.split(cv2.resize(maps, encoded.size, interpolation=cv2.INTER_LINEAR))
    support, distinct = (np.asarray(one, np.float32) for one in resized)
    return Structure(support, distinct, texture(distinct), contrast_of(view))


def stored_patches(encoded: Encoded, alignment: Alignment, neighbours: Neighbours) -> Verified:
    """What the agreeing patches alone say, for a reference that cannot be read any more."""
    width, height = encoded.size
    xy, level = neighbours.query_xy[alignment.inliers], neighbours.query_level[alignment.inliers]
    heat, _ = splat_evidence(
        torch.tensor([0, len(xy)]),
        torch.from_numpy(np.round(xy * SUBPIXEL).astype(np.int32)),
        torch.from_numpy(np.ceil(PATCH / 2 * 2 ** (level / 2)).astype(np.int32)),
        torch.ones(len(xy), dtype=torch.int32),
        (height, width),
    )
    evidence = 1 - np.exp(-heat[0].numpy().astype(np.float32) / PEAK)
    return Verified(
        Mapping(alignment.affine),
        evidence,
        registered=np.full_like(evidence, UNKNOWN_REGISTER)[None],
        correlation=np.full_like(evidence, UNKNOWN_CORRELATION)[None],
    )


@torch.inference_mode()
def _similarity(
    network: DescriptorNet, view: View, level: Level, reference: list[Level], mapping: Mapping, radius: int
) -> NDArray[np.float32]:
    """Best cosine similarity of each query cell with the warped reference's cells within a search window.

    Returns:
        (h, w) float32; 0 where the reference does not reach.
    """
    own = view.maps[level.index]
    warped, inside = warp(reference, level, mapping, AROUND * STRIDE)
    other = quantise(dense_map(network, torch.from_numpy(warped)).permute(1, 2, 0))
    place = torch.tensor([[[ONE, 0, AROUND * ONE], [0, ONE, AROUND * ONE]]], dtype=torch.int32)
    best, _ = compare_maps(torch.from_numpy(own), torch.from_numpy(other), place, radius)
    start = STRIDE * AROUND
    reached = inside[start::STRIDE, start::STRIDE][: own.shape[0], : own.shape[1]]
    return np.asarray(best[0].clamp_min(0).numpy() / QUANTISATION**2 * reached, np.float32)


def _trusted(similarity: NDArray[np.float32]) -> NDArray[np.float32]:
    """The map with its outermost cells replaced by those further in: padding makes all images alike there."""
    rows, columns = (
        np.arange(side).clip(min(BORDER, side // 2), max(side - 1 - BORDER, side // 2)) for side in similarity.shape
    )
    return np.asarray(similarity[np.ix_(rows, columns)], np.float32)
