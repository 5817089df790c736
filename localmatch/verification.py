"""Alignments -> verified alignments: is every pixel really the same, where the alignment says that it is?

A cheap look at the box of the agreeing neighbours comes first, so that many alignments can be tried; a coarse one over
the whole query then tells how far the copy may reach. There the alignment is refined, bent where that brings more into
register, and only what is in register is compared on the fine levels, which decide.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit

from localmatch.bands import coarse, coarse_reference
from localmatch.comparison import LOOK_FROM, Comparison
from localmatch.descriptor.network import STRIDE
from localmatch.descriptor.quantised import QuantisedNet
from localmatch.flow import COARSE, FINE, find_flow, same_pixels
from localmatch.geometry import Affine
from localmatch.judge import SURE_ODDS
from localmatch.kernels import splat_evidence
from localmatch.kernels.splat import PEAK, SUBPIXEL
from localmatch.pairs.odds import copy_odds
from localmatch.patches import PATCH
from localmatch.records import Alignment, Box, Candidate, Encoded, Level, Mapping, Neighbours, Structure, Verified
from localmatch.refinement import FAR, PLANE, refined
from localmatch.registration import (
    contrast_of,
    correlation,
    likely_same,
    refine,
    registered,
    registered_widely,
    same_at_a_look,
)
from localmatch.structure import structure, texture
from localmatch.views import view_of

EXTENT_FROM, EXTENT_ALIKE, EXTENT_MARGIN = 2, 0.5, 32
"""How far a copy reaches is judged on the finest level from this index on: where similarity is over the second number;
the third, in query pixels, is added on each side."""

REGISTERED, REGISTERED_BENT = 0.05, 0.2
"""Where a smaller share of what looks alike is in exact register, by an affine map or by what bends it, not every pixel
is compared: of copies that are found, at least 0.38 is, and three of four maps of clean images have less."""

LIKELY = 1.0
"""Mean log-odds of what looks alike, by the affine map or a flow, from which it is compared whatever its register."""

UNLIKELY, LIKELIEST = -1.0, 90
"""Where even the likeliest tenth of what looks alike, by the affine map, has lower log-odds, it is no copy, bent or
not: large ones that were bent are likely where the map fits them. Of 57 alignments that show large bent copies of
development the lowest has -0.6, with a mean of -2.2; of 246 others three of five have less than the first."""

IN_PLANE, BENT = 0.85, 0.6
"""Where a smaller share of what looks alike is in exact register, it may be that the copy is seen in perspective, or
that it was bent."""

PLANE_ROUNDS, PROMISING = 2, 0.1
"""Times that a homography is fitted, each of which shows more of a copy; and the share that must be in register for the
next."""

DRAWN_WITHIN, SEEN = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9)), 0.75
"""What the pair network is sure of at a look is drawn as it sees it, too, where descriptors and pixels show a smaller
share of it than the second: descriptors of small pieces see too much of the host. The network sees a little beyond the
edge, and regions are grown: so much less is drawn. Of four small pieces of development the mask IoU is 0.86 so, and
0.69 without; of 17 others 0.86, and 0.84 where all is drawn that the network sees. At a half of it two borderline
pieces are lost."""

TEXTURED = 128.0
"""A flow is tried where what looks alike holds so many pixels of texture; without, it would be no evidence."""

Registered = tuple[Mapping, NDArray[np.float32]]
"""A mapping, and which pixels of the view, (L, h, w), are in register with it."""

Found = tuple[Mapping, NDArray[np.float32], NDArray[np.float32]]
"""The same, and what the pair network says of it, (h, w)."""

UNKNOWN_REGISTER, UNKNOWN_CORRELATION = 0.7, 0.9
"""Share of exact register, and correlation, taken for a reference that cannot be read any more."""


def screen(network: QuantisedNet, encoded: Encoded, reference: list[Level], alignment: Alignment) -> float:
    """A first look at an alignment, at its own box only; about 0 to 1."""
    return Comparison(network, view_of(encoded, alignment.box), reference).look(Mapping(alignment.affine))


def verify(
    network: QuantisedNet, encoded: Encoded, query: Structure, reference: list[Level], candidate: Candidate
) -> list[Verified]:
    """Refine an alignment, bend it where that helps, and compare every pixel where enough is in register."""
    affine, sure = candidate.alignment.affine, candidate.odds > SURE_ODDS
    view = view_of(encoded, _extent(network, encoded, reference, candidate.alignment))
    comparison = Comparison(network, view, reference)
    alike = comparison.alike(Mapping(affine)) | (same_at_a_look(view, reference, affine) > 0.5)
    if sure:
        alike |= copy_odds(view, reference, Mapping(affine)) > 0
    if not alike.any():
        return []

    def whole(part: NDArray[np.float32]) -> NDArray[np.float32]:
        out = np.zeros((*part.shape[:-2], *encoded.size[::-1]), np.float32)
        out[..., *view.slices] = part
        return out

    found = _mappings(comparison, query, affine, alike)
    return [Verified(one[0], *map(whole, _compared(comparison, *one, alike, sure))) for one in found]


def _mappings(comparison: Comparison, query: Structure, affine: Affine, alike: NDArray[np.bool_]) -> list[Found]:
    """The mappings to compare, of a view and a reference: affine, a homography, and one with a flow, or none."""
    view, reference = comparison.view, comparison.reference
    affine, register = refine(view, reference, affine, alike)
    odds = copy_odds(view, reference, Mapping(affine))
    if np.percentile(odds[alike], LIKELIEST) < UNLIKELY:
        return []
    share = _share(register, alike)
    found: list[Found] = []
    if share >= REGISTERED or _likely(odds, alike):
        found.append((Mapping(affine), register, odds))
    if share < IN_PLANE:
        textured = float((query.texture[view.slices] * alike).sum()) >= TEXTURED
        found += _bent(comparison, affine, alike, max(share, REGISTERED_BENT), textured)
    return found


def _compared(
    comparison: Comparison,
    mapping: Mapping,
    register: NDArray[np.float32],
    odds: NDArray[np.float32],
    alike: NDArray[np.bool_],
    sure: bool,
) -> tuple[NDArray[np.float32], ...]:
    """All that is said of a mapping, on the pixels of the view, in the order of `Verified`.

    Pixels that are the same, which small pieces show where descriptors see too much of the host, and exact register in
    wide windows are evidence of affine maps only; and so is what the pair network says, where that is sure.
    """
    view, reference = comparison.view, comparison.reference
    correlations, evidence = correlation(view, reference, mapping), comparison.evidence(mapping)
    afar, wide = coarse_reference(view, reference, mapping), np.zeros_like(evidence)
    if mapping.flow is None:
        wide = registered_widely(view, reference, mapping, alike)
        evidence = np.maximum(evidence, likely_same(correlations))
        if sure:
            drawn = cv2.erode(np.asarray(expit(odds), np.float32), DRAWN_WITHIN)
            seen = evidence[drawn > 0.5] > 0.5
            if seen.sum() < SEEN * seen.size:
                evidence = np.maximum(evidence, drawn)
    return evidence, register, wide, correlations, afar, odds


def _bent(
    comparison: Comparison, affine: Affine, alike: NDArray[np.bool_], share: float, textured: bool
) -> list[Found]:
    """A homography if a larger share is in register with it, and a flow after which a yet larger one is the same.

    Noise, blur or another rendering leave little that is the same; then what the pair network takes for a copy counts.
    """
    view, reference = comparison.view, comparison.reference
    planes, share = _flattened(comparison, affine, alike, share)
    found = [(*one, copy_odds(view, reference, one[0])) for one in planes]
    if share >= BENT or not textured:
        return found
    bent = find_flow(view, reference, Mapping(affine), alike, COARSE)
    # A bent copy comes into sight as the flow brings it nearer.
    alike = comparison.alike(bent)
    bent = find_flow(view, reference, bent, alike, FINE)
    same, odds = same_pixels(view, reference, bent), copy_odds(view, reference, bent)
    if _share(same, alike) > share or _likely(odds, alike):
        found.append((bent, same, odds))
    return found


def _flattened(
    comparison: Comparison, affine: Affine, alike: NDArray[np.bool_], share: float
) -> tuple[list[Registered], float]:
    """A homography if a larger share of what looks alike is in register with it, and the larger share."""
    view, reference = comparison.view, comparison.reference
    found: list[Registered] = []
    for _ in range(PLANE_ROUNDS):
        plane = refined(view, reference, affine, alike, PLANE, FAR)
        if plane is None:
            break
        alike = comparison.alike(plane)
        register = registered(view, reference, plane, alike)
        flat = _share(register, alike)
        if flat > share:
            found, share = [(plane, register)], flat
        if not PROMISING < flat < BENT:
            break
    return found, share


def _share(registered: NDArray[np.float32], alike: NDArray[np.bool_]) -> float:
    """Share of the pixels that look alike that are in register, on the level (L, h, w) where it is highest."""
    return float((registered * alike).sum((1, 2)).max() / max(int(alike.sum()), 1))


def _likely(odds: NDArray[np.float32], alike: NDArray[np.bool_]) -> bool:
    """Whether the pair network takes the pixels that look alike for a copy, on average."""
    return bool(alike.any() and odds[alike].mean() >= LIKELY)


def _extent(network: QuantisedNet, encoded: Encoded, reference: list[Level], alignment: Alignment) -> Box:
    """The query box that an alignment may explain: what is alike at a coarse level and touches its own box."""
    view = view_of(encoded, (0, 0, *encoded.size))
    (level,) = view.finest(EXTENT_FROM, 1)
    alike = Comparison(network, view, reference).similarity(level, Mapping(alignment.affine)) > EXTENT_ALIKE
    (sx, sy), (x0, y0, x1, y1) = np.array(level.scale) * STRIDE, alignment.box
    own = np.s_[int(y0 / sy) : int(y1 / sy) + 2, int(x0 / sx) : int(x1 / sx) + 2]
    alike[own] = True
    labels, _ = ndimage.label(alike)
    rows, columns = ndimage.find_objects(labels)[labels[own][0, 0] - 1]
    left, top = columns.start * sx - EXTENT_MARGIN, rows.start * sy - EXTENT_MARGIN
    return left, top, columns.stop * sx + EXTENT_MARGIN, rows.stop * sy + EXTENT_MARGIN


def query_structure(encoded: Encoded) -> Structure:
    """The structure of a query on its own pixels."""
    view = view_of(encoded, (0, 0, *encoded.size))
    (level,) = view.finest(LOOK_FROM, 1)
    maps = np.dstack(structure(level.gray.numpy()))
    resized = cv2.split(cv2.resize(maps, encoded.size, interpolation=cv2.INTER_LINEAR))
    support, distinct = (np.asarray(one, np.float32) for one in resized)
    return Structure(support, distinct, texture(distinct), contrast_of(view), coarse(view))


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
        wide=np.zeros_like(evidence),
        correlation=np.full_like(evidence, UNKNOWN_CORRELATION)[None],
    )
