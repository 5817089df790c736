"""A look at the pixels of an alignment: small copies show at once, however few their patches.

Descriptors of a small copy see the host, and two agreeing patches fit any map; but that pixels are the same, brightness
and contrast apart, over more than an edge or a corner, is no chance. Where noise or another rendering changed them all,
the pair network often tells: of a hundred maps, the right one is the likeliest copy by far.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from localmatch.geometry import Affine, project
from localmatch.heatmap import smooth_evidence
from localmatch.judge import ENOUGH
from localmatch.pairs.odds import copy_odds
from localmatch.records import Alignment, Box, Candidate, Encoded, Level, Mapping, Structure, Verified
from localmatch.refinement import AFFINE, refined
from localmatch.regions import MIN_HEAT, find_parts
from localmatch.registration import correlation, same_at_a_look
from localmatch.views import View, view_of

AROUND, WITHIN = 24, 8
"""Query pixels around the box of the agreeing patches that are looked at, and that take part in the refinement."""

LEAST_SAME = MIN_HEAT / 2
"""Where fewer pixels are the same, no region is looked for: smoothing moves their heat and hardly adds any."""

PASTED = 0.06
"""A map whose linear part is nearer to one of the eight poses may be that of a copy which was pasted pixel by pixel."""


def look_at_pixels(encoded: Encoded, query: Structure, reference: list[Level], candidate: Candidate) -> Candidate:
    """What the pixels around the agreeing patches say of a candidate.

    Args:
        encoded: A query from `encode_query`.
        query: Its structure.
        reference: Pyramid of the reference.
        candidate: The alignment, and how many references show the same.

    Returns:
        The candidate with its `look` and `odds`, and with the affine map as given or refined: that of the highest look
        or, where all are 0, that by which most pixels are the same.
    """
    alignment = candidate.alignment
    view = view_of(encoded, _grown(alignment.box, AROUND))
    seen = Structure(
        *(
            one[..., *view.slices]
            for one in (query.support, query.distinct, query.texture, query.contrast, query.coarse)
        )
    )
    patches = np.zeros(encoded.size[::-1], bool)
    patches[view_of(encoded, _grown(alignment.box, WITHIN)).slices] = True
    patches = patches[view.slices]
    near = _refined(view, reference, alignment.affine, patches)
    affines = _maps(alignment) + near
    same = [same_at_a_look(view, reference, affine) for affine in affines]
    best = int(np.argmax([one.sum() for one in same]))
    # Contrast normalisation sees the host around the patches, but not within what is the same.
    finer = _refined(view, reference, affines[best], same[best] > 0.5)
    affines += finer
    same += [same_at_a_look(view, reference, affine) for affine in finer]
    scores = [_score(seen, candidate, view, reference, *one) for one in zip(affines, same, strict=True)]
    chosen = max(range(len(affines)), key=lambda one: (scores[one], same[one].sum()))
    # Where nothing was refined, nothing correlates.
    odds = _odds(seen, view, reference, affines[chosen], patches) if near or finer else 0.0
    return replace(candidate, alignment=replace(alignment, affine=affines[chosen]), look=scores[chosen], odds=odds)


def _odds(query: Structure, view: View, reference: list[Level], affine: Affine, patches: NDArray[np.bool_]) -> float:
    """Mean log-odds of the pair network around the patches, as far as there is enough texture to tell."""
    odds, weight = copy_odds(view, reference, Mapping(affine)), query.support * patches
    texture = float((query.texture * patches).sum())
    return float((odds * weight).sum() / max(weight.sum(), 1.0)) * min(1.0, texture / ENOUGH)


def _refined(view: View, reference: list[Level], affine: Affine, mask: NDArray[np.bool_]) -> list[Affine]:
    """The affine map refined, if it can be."""
    finer = refined(view, reference, affine, mask, AFFINE)
    return [] if finer is None else [finer.affine]


def _maps(alignment: Alignment) -> list[Affine]:
    """The map of an alignment, that of its strongest neighbour, and those near them of copies pasted pixel by pixel."""
    maps = [alignment.affine, alignment.strongest]
    centre = np.array(alignment.box).reshape(2, 2).mean(0)
    for one in maps[:]:
        linear = np.round(one[:, :2])
        if np.abs(linear - one[:, :2]).max() <= PASTED and abs(np.linalg.det(linear)) == 1:
            shift = project(one, centre[None])[0] - linear @ centre
            maps.append(np.column_stack([linear, np.round(shift)]))
    return list({one.tobytes(): one for one in maps}.values())


def _score(
    query: Structure,
    candidate: Candidate,
    view: View,
    reference: list[Level],
    affine: Affine,
    same: NDArray[np.float32],
) -> float:
    """The score of what is the same, were it all in register."""
    if same.sum() < LEAST_SAME:
        return 0.0
    mapping = Mapping(affine)
    correlations = correlation(view, reference, mapping)
    verified = Verified(mapping, same, np.ones_like(correlations), np.zeros_like(same), correlations)
    parts = find_parts(0, candidate, smooth_evidence(same, query.support), query, verified)
    return max((part.score for part in parts), default=0.0)


def _grown(box: Box, by: int) -> Box:
    x0, y0, x1, y1 = box
    return x0 - by, y0 - by, x1 + by, y1 + by
