"""A part of a heatmap -> its score: there are six ways to be sure, and the surest one counts.

    same pixels:   enough * register ^ 3 * (rarity * NOISE / (1 + LEAST_NOISE - correlation)) ^ 2
    large picture: (distinct pixels - ENOUGH) / LARGE * more than an affine map explains * wide register ^ 3
                   * min(1, rarity) * min(MOST_LIKE, NOISE / (1 + LEAST_NOISE - correlation)) ^ 3
    from afar:     min(1, (distinct pixels - few) / MANY) * more than a homography explains * min(1, rarity)
                   * (AFAR / (1 - band correlation)) ^ 2
    at a look:     LOOK_WORTH * what the first way says of the pixels around the agreeing patches alone
    as a pair:     PAIR_WORTH * enough * mean log-odds * min(MOST_RARE, rarity) ^ 0.5 * surer
    both:          PAIR_WORTH * texture / ENOUGH, at most 1, * mean log-odds around the agreeing patches alone

and what the pair network takes for a second photograph counts less in the first four, by exp(DOUBT * mean log-odds).

The first finds small copies, the second large ones whose pixels differ: noise, blur, blends, what was smoothed or
rendered anew in place. What it took a homography or a flow to bring into register counts less, and never as a large
picture: second photographs of flat things are that. The third finds what is the same in coarse detail though little is
left of fine detail, in what no free flow bent. The fourth finds what is the same in a piece and changed around it, by
text or a blend. The fifth believes the pair network, which was shown what tells copies from second photographs, more
where it saw more (surer); and the sixth where a piece is so small that descriptors see the host and next to nothing is
far enough from its edge. Register and correlation are judged in the core of a part, as far from its edge as windows
reach into the host. The constants of the first two ways were fitted to 600 clean images and 240 copies of development,
of version 1 of the descriptor; that register counts cubed, to 221 clean images and 122 copies of development: with
finer maps, second photographs reach 0.5, and the highest score of one falls from 4.6 to 1.9, while one copy is lost.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from localmatch.bands import band_correlation
from localmatch.geometry import box_around
from localmatch.matching import COHORT
from localmatch.neighbours import STANDS_OUT
from localmatch.records import Box, Candidate, Structure, Verified

ENOUGH = 256.0
"""Pixels of full heat, as of 16 x 16, that are enough: of texture, or twice as many that are distinct otherwise. More
are no surer there: second photographs of a carpet agree over large areas."""

FREE_CORNERS, CORNER_RADIUS = 5, 12
"""An affine map brings any three corners into register with any three others, and any rectangle with any other: the
five strongest of a part, with what is within the radius in pixels, do not count unless they are texture."""

FREE_CORNERS_OF_TEXTURE = 1
"""The same for texture: a button is none."""

FREE_CORNERS_OF_PLANE, PLANE_WORTH = 8, 0.25
"""The same where it took a homography, which brings any four corners into register; and what that is worth: second
photographs of a flat thing come near to it, up to a share of 0.65 of theirs."""

FREE_CORNERS_OF_FLOW, BENT_WORTH = 16, 0.1
"""The same where a flow bends the affine map, which brings texture into register, too; and what small copies are worth
that it finds."""

CORE_MARGIN, CORE_LEAST = 10, 64
"""Pixels from its edge where the core of a part begins; the deepest so many are always of it."""

NOISE, LEAST_NOISE = 0.08, 0.02
"""What pixels may differ by, as 1 - correlation. Of copies, also noisy, recompressed and blurred ones, 95% correlate
with their source at 0.92 or more; of what else passes for alike, mostly second photographs of one thing, 5%."""

LARGE, FREE_SUPPORT, MOST_LIKE = 32.0, 3000.0, 1.44
"""Of a large picture: distinct pixels that are enough, beyond the few that large discs and bars have in all logos;
pixels of support, the windows of three corners, that any affine map brings into wide register; and how much likeness
counts at most. Fitted to 275 clean images, of which none scores over 1.2 so, and 55 copies of development, of which 46
score over 1.75, and with the first way 52."""

FEW, OUTLINES, MANY, FREE_SUPPORT_AFAR = 100.0, 0.02, 200.0, 700.0
"""Of what looks the same from afar: distinct pixels, without the corners that homographies bring into register, that
are too few, and the share of support that is, twice that of the antialiased discs which logos have in common; so many
more that are enough; and pixels of support whose few waves can correlate by chance."""

AFAR, LEAST_AFAR = 0.00088, 0.0002
"""What band correlation may fall short of 1 by, and the least that counts. Fitted to the 235 clean images of
development, of which none scores over 0.62 so, the next 0.31, and to 142 copies of 2 to 50%: of 45 whose alignment was
verified and that the first two ways miss, 19 score over 1.75."""

UNLIKE = 0.012
"""Where band correlation falls short of 1 by more, the first two ways count less, by the root of the proportion: of
second photographs, some windows agree, but not what lies between them. Of the three clean images of development that
score over 1.75 without, one does so, 2.08. In full proportion none would, but copies with soft edges or text on them
would be lost."""

LOOK_WORTH = 1 / 26
"""What the score at a look counts: it is of the piece that fits best. Of 235 clean images of development the highest is
38.8; of 43 copies that the other ways miss, 3 have more and are drawn right."""

PAIR_WORTH, MOST_RARE, DOUBT = 1 / 2, 2.0, 0.3
"""What the mean log-odds of the pair network count where they are positive (half as much of homographies, which bring
more into register), how much rarity counts at most, and what they take from the other ways where they are negative. Of
235 clean images of development the highest have 2.4, 2.2 and 2.2, where a region needs 3; at a look 3.1, 2.6 and 2.5.
Of 43 copies of 5% and more that the other ways miss, 16 are found. The five highest scores that the others give to
clean images are 2.1 to 1.4 without it, and 2.1, 1.5, 1.4, 0.9 and 0.7 with it."""

SURER_FROM, MOST_SURE = 12000.0, 1.4
"""Mean log-odds over more support than the first, in pixels, are surer by the root of the proportion, up to so many
times; those of homographies in proportion, as four corners matter less then. Of 140 copies after several changes, 104
score over what 5 of 506 clean images of development do; 102 if they may be 1.75 times as sure, as second photographs of
one bedspread that a flow bends reach 5.1 then, and 97 if never."""

SURE_ODDS = 3.0
"""Log-odds at a look from which a candidate is a copy for that alone: `PAIR_WORTH` of it is the least score."""

TURNED_WORTH = 0.5
"""What a copy is worth that was turned by right angles: they are rarer, and what is symmetric fits turned as well."""

RARITY_OF_COMMON = 1.0
"""Rarity of what more references share than say what is common: its patches cannot stand out. Of copies of what is in
few references, the median is 2.1."""


def score_of(
    mask: NDArray[np.bool_],
    heat: NDArray[np.float32],
    query: Structure,
    verified: Verified,
    candidate: Candidate,
) -> tuple[float, float]:
    """Score of a part, at least 0 and about 1.5 for the strongest of a hundred clean images, and its correlation.

    Args:
        mask: (H, W) the part as it is drawn.
        heat: (H, W) float32 in [0, 1], the heatmap within the part and 0 beyond.
        query: What there is to compare.
        verified: The dense comparison.
        candidate: The alignment, and how many references show the same.
    """
    bent, projective = verified.mapping.bent, verified.mapping.projective
    corners = FREE_CORNERS_OF_FLOW if bent else FREE_CORNERS_OF_PLANE if projective else FREE_CORNERS
    core = _core(mask)
    support = query.support[None, core]
    register = float(_means(verified.registered[:, core], support).max())
    wide = float(_means(verified.wide[None, core], support)[0])
    same = float(_means(verified.correlation[:, core], query.contrast[:, core]).max())
    rarity = _rarity(candidate)
    distinct = _without_corners(heat * (query.texture if bent else query.distinct), corners)
    texture = 0.0 if bent else _without_corners(heat * query.texture, FREE_CORNERS_OF_TEXTURE)
    enough = min(1.0, (texture + distinct / 2) / ENOUGH)
    like = NOISE / (1 + LEAST_NOISE - same)
    same_pixels = (BENT_WORTH if bent else 1.0) * enough * register**3 * (rarity * like) ** 2
    more = max(0.0, 1 - FREE_SUPPORT / max(float(support.sum()), 1.0))
    large = max(0.0, distinct - ENOUGH) / LARGE * more * (wide * min(MOST_LIKE, like)) ** 3 * min(1.0, rarity)
    score = (PLANE_WORTH if projective else 1.0) * max(same_pixels, large)
    band = None if verified.coarse is None else band_correlation(query.coarse, verified.coarse, heat > 0)
    if band is not None:
        score *= (UNLIKE / max(UNLIKE, 1 - band)) ** 0.5
        afar = (AFAR / max(LEAST_AFAR, 1 - band)) ** 2 * min(1.0, rarity)
        if afar > score and not bent:  # else no number of distinct pixels, which take time to count, can matter
            apart = distinct if projective else _without_corners(heat * query.distinct, FREE_CORNERS_OF_PLANE)
            score = max(score, afar * _enough_from_afar(apart, float(support.sum())))
    inside = bool(mask[_inside(candidate.alignment.box)].any())
    turned = TURNED_WORTH if candidate.alignment.turned else 1.0
    score = max(turned * score, LOOK_WORTH * candidate.look * inside)
    pair = candidate.odds * inside
    if verified.odds is not None:
        odds = float(_means(verified.odds[None, heat > 0], query.support[None, heat > 0])[0])
        score *= math.exp(DOUBT * min(0.0, odds))
        if bent and odds > 0:  # the network also tells of outlines that a flow brings into register
            enough = min(1.0, _without_corners(heat * query.distinct, corners) / 2 / ENOUGH)
        surer = _surer(float(support.sum()), projective)
        pair = max(pair, enough * odds * min(MOST_RARE, rarity) ** 0.5 * surer)
    return max(score, turned * PAIR_WORTH * pair), same


def _surer(support: float, projective: bool) -> float:
    """How many times as sure mean log-odds are, for so much support in pixels."""
    many = min(MOST_SURE, math.sqrt(max(1.0, support / SURER_FROM)))
    return math.sqrt(PLANE_WORTH) * many * many if projective else many


def _inside(box: Box) -> tuple[slice, slice]:
    """The pixels of a box, as an index of (H, W)."""
    left, top, right, bottom = (max(0, round(value)) for value in box)
    return slice(top, bottom), slice(left, right)


def _enough_from_afar(distinct: float, support: float) -> float:
    """Whether there is enough in a part for its look from afar to tell, 0 to 1; both in pixels."""
    enough = min(1.0, max(0.0, distinct - max(FEW, OUTLINES * support)) / MANY)
    return enough * max(0.0, 1 - FREE_SUPPORT_AFAR / max(support, 1.0))


def _core(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The core of a part, (H, W), see `CORE_MARGIN`."""
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    inside = depth[mask]
    deepest = -min(CORE_LEAST, len(inside))
    return np.asarray(depth >= min(CORE_MARGIN, np.partition(inside, deepest)[deepest]), bool)


def _means(values: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """The levels' weighted means, (L,); both (L, N) or weights (1, N)."""
    return np.asarray((values * weights).sum(1, dtype=np.float64) / np.maximum(weights.sum(1, dtype=np.float64), 1e-6))


def _without_corners(evidence: NDArray[np.float32], count: int) -> float:
    """Sum of the evidence (H, W) without its strongest corners, see `FREE_CORNERS`."""
    # With as much empty space around it as the window reaches, a corner is where it would be in the whole image.
    rest = evidence[box_around(evidence, 2 * CORNER_RADIUS)].copy()
    for _ in range(count if rest.size else 0):
        _, _, _, (x, y) = cv2.minMaxLoc(cv2.GaussianBlur(rest, (0, 0), CORNER_RADIUS / 3))
        cv2.circle(rest, (x, y), CORNER_RADIUS, 0, -1)
    return float(rest.sum())


def _rarity(candidate: Candidate) -> float:
    """How far an alignment's patches stand out, on average; what is in the training set many times need not."""
    if len(candidate.sharing) > COHORT:
        return RARITY_OF_COMMON
    return candidate.alignment.mean_evidence / STANDS_OUT
