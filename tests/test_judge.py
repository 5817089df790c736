"""What makes a part of a heatmap a region: enough to see, the same to the pixel, rare."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from localmatch.judge import CORE_MARGIN, SURE_ODDS, score_of
from localmatch.matching import COHORT
from localmatch.neighbours import STANDS_OUT
from localmatch.records import Alignment, Box, Candidate, Mapping, Structure, Verified
from localmatch.regions import MIN_SCORE

SIDE = 160

PICTURE = cv2.GaussianBlur(np.random.default_rng(0).random((SIDE, SIDE), np.float32), (0, 0), 5)
"""The query from afar."""


def flat(value: float, levels: int = 0) -> NDArray[np.float32]:
    return np.full((levels, SIDE, SIDE)[not levels :], value, np.float32)


def judged(
    side: int = 60,
    correlation: float = 0.98,
    register: float = 1.0,
    wide: float = 0.0,
    rarity: float = 2.0,
    sharing: int = 1,
    flow: str = "",
    look: float = 0.0,
    at_a_look: float = 0.0,
    box: Box = (50, 40, 110, 100),
    afar: NDArray[np.float32] | None = None,
    odds: float | None = None,
    change: Callable[[Structure, Verified, NDArray[np.bool_]], None] = lambda *_: None,
) -> float:
    """The score of a square part.

    `look` is the score at a look at `box`, `at_a_look` the log-odds there; `afar` the reference from afar, if it is
    looked at, beside `PICTURE`; `odds` the log-odds of the pair network, if it was asked.
    """
    mask = np.zeros((SIDE, SIDE), bool)
    mask[40 : 40 + side, 50 : 50 + side] = True
    field = np.zeros((SIDE, SIDE, 2), np.float32) if flow else None
    mapping = Mapping(np.eye(2, 3), field, (0, 0), projective=flow == "homography")
    verified = Verified(
        mapping,
        flat(1),
        flat(register, 2),
        flat(wide),
        flat(correlation, 2),
        afar,
        None if odds is None else flat(odds),
    )
    query = Structure(flat(1), flat(1), flat(1), flat(1, 2), PICTURE)
    change(query, verified, mask)
    alignment = Alignment(0, np.eye(2, 3), round(10 * rarity * STANDS_OUT), np.arange(10), box, np.eye(2, 3))
    candidate = Candidate(alignment, frozenset(range(sharing)), look, at_a_look)
    score, _ = score_of(mask, flat(1) * mask, query, verified, candidate)
    return score


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"correlation": 1.0}, {"correlation": 0.95}),
        ({"register": 1.0}, {"register": 0.5}),
        ({"side": 110, "register": 0.1, "wide": 0.9}, {"side": 110, "register": 0.1, "wide": 0.5}),
        ({"side": 110, "register": 0.1, "wide": 0.9}, {"side": 75, "register": 0.1, "wide": 0.9}),
        ({"rarity": 2.0}, {"rarity": 0.5}),
        ({"flow": "homography"}, {"flow": "free"}),
        ({"sharing": 1}, {"sharing": COHORT + 1}),
        ({"side": 60}, {"side": 24}),
    ],
)
def test_what_is_worth_more(better: dict, worse: dict) -> None:
    assert judged(**better) > judged(**worse) > 0


def test_small_copies_of_texture_are_as_sure_as_large_ones() -> None:
    assert judged(side=32) == judged(side=60) > MIN_SCORE


def test_a_second_photograph_is_no_copy_however_large() -> None:
    assert judged(side=110, correlation=0.88, register=0.5, wide=0.2, rarity=1.8) < MIN_SCORE
    assert judged(side=32, correlation=0.95) > MIN_SCORE


@pytest.mark.parametrize(
    ("side", "flow", "copied"), [(110, "", True), (60, "", False), (110, "homography", False), (110, "free", False)]
)
def test_a_large_picture_in_wide_register_is_a_copy_though_its_pixels_differ(
    side: int, flow: str, copied: bool
) -> None:
    degraded = judged(side=side, flow=flow, correlation=0.88, register=0.15, wide=0.0 if flow else 0.8, rarity=1.5)
    assert (degraded > MIN_SCORE) == copied


RUINED = {"side": 90, "correlation": 0.8, "register": 0.1, "rarity": 1.5}
"""Of what is judged so, next to nothing is left of fine detail."""


@pytest.mark.parametrize(("flow", "copied"), [("", True), ("homography", True), ("free", False)])
def test_what_is_the_same_from_afar_is_a_copy_however_little_is_left_of_fine_detail(flow: str, copied: bool) -> None:
    assert judged(**RUINED, flow=flow) < MIN_SCORE
    assert (judged(**RUINED, flow=flow, afar=PICTURE / 2 + 0.1) > MIN_SCORE) == copied


@pytest.mark.parametrize("less", [{"side": 40}, {"rarity": 0.05}])
def test_what_is_small_or_common_is_no_copy_for_its_look_from_afar(less: dict) -> None:
    assert judged(**RUINED | less, afar=PICTURE) < MIN_SCORE


@pytest.mark.parametrize(("side", "distinct"), [(90, 0.01), (110, 0.016)])
def test_few_distinct_pixels_are_no_copy_for_their_look_from_afar(side: int, distinct: float) -> None:
    def few(query: Structure, verified: Verified, mask: NDArray[np.bool_]) -> None:
        query.distinct[:] = distinct
        query.texture[:] = 0

    assert judged(**RUINED | {"side": side}, afar=PICTURE, change=few) < MIN_SCORE


def test_what_differs_from_afar_counts_less() -> None:
    other = cv2.GaussianBlur(np.random.default_rng(1).random((SIDE, SIDE), np.float32), (0, 0), 5)
    scores = [judged(afar=PICTURE + share * (other - PICTURE)) for share in (0.0, 0.2, 0.3, 0.5, 1.0)]
    assert scores == sorted(scores, reverse=True)
    assert judged() == scores[0] > 5 * scores[-1]


def test_a_piece_that_is_the_same_at_a_look_is_enough_where_the_part_is() -> None:
    changed = {"correlation": 0.8, "register": 0.3}
    assert judged(**changed) < judged(**changed, look=30) < MIN_SCORE < judged(**changed, look=60)
    assert judged(**changed, look=60, box=(0, 0, 40, 160)) == judged(**changed)


def test_what_the_pair_network_is_sure_of_at_a_look_is_a_copy_where_the_part_is() -> None:
    changed = {"side": 20, "correlation": 0.7, "register": 0.1}
    assert judged(**changed) < judged(**changed, at_a_look=2.5) < MIN_SCORE < judged(**changed, at_a_look=3.5)
    assert judged(**changed, at_a_look=3.5, box=(0, 0, 40, 160)) == judged(**changed)
    assert judged(**changed, at_a_look=SURE_ODDS) == MIN_SCORE


def test_few_corners_are_no_evidence_however_well_they_agree() -> None:
    corners = np.zeros((SIDE, SIDE), np.float32)
    for x, y in ((60, 50), (100, 50), (60, 90), (100, 90), (80, 70)):
        corners[y - 4 : y + 5, x - 4 : x + 5] = 1
    mask = np.zeros((SIDE, SIDE), bool)
    mask[40:100, 50:110] = True
    verified = Verified(Mapping(np.eye(2, 3)), flat(1), flat(1, 1), flat(1), flat(1, 1))
    alignment = Alignment(0, np.eye(2, 3), 10**6, np.arange(9), (50, 40, 110, 100), np.eye(2, 3))
    candidate = Candidate(alignment, frozenset([0]))
    score, _ = score_of(
        mask, flat(1) * mask, Structure(flat(1), corners, flat(0), flat(1, 1), PICTURE), verified, candidate
    )
    assert score == 0
    button = np.where(np.hypot(*(np.indices((SIDE, SIDE)) - 75)) < 9, np.float32(1), np.float32(0))
    score, _ = score_of(
        mask, flat(1) * mask, Structure(flat(1), button, button, flat(1, 1), PICTURE), verified, candidate
    )
    assert score == 0


def test_a_large_disc_is_no_large_picture() -> None:
    def disc(query: Structure, verified: Verified, mask: NDArray[np.bool_]) -> None:
        query.distinct[:] = 0.02  # 200 pixels, as antialiased outlines have
        query.texture[:] = 0

    assert judged(side=110, wide=1, correlation=0.999, rarity=0.5, change=disc) < MIN_SCORE


def test_what_windows_see_of_the_host_at_the_edge_does_not_count() -> None:
    def spoil(query: Structure, verified: Verified, mask: NDArray[np.bool_]) -> None:
        edge = mask.copy()
        margin = CORE_MARGIN - 1
        edge[40 + margin : 100 - margin, 50 + margin : 110 - margin] = False
        verified.registered[:, edge] = 0
        verified.correlation[:, edge] = -1

    assert judged(change=spoil) == judged()


def test_the_level_that_agrees_best_decides() -> None:
    def spoil(query: Structure, verified: Verified, mask: NDArray[np.bool_]) -> None:
        verified.registered[0] = 0
        verified.correlation[1] = 0

    assert judged(change=spoil) == judged()


def test_flat_windows_tell_nothing_of_correlation() -> None:
    def spoil(query: Structure, verified: Verified, mask: NDArray[np.bool_]) -> None:
        verified.correlation[:, :, :80] = 0
        query.contrast[:, :, :80] = 0

    assert judged(change=spoil) == judged()


@pytest.mark.parametrize("side", [1, 2, 5])
def test_tiny_parts_show_nothing(side: int) -> None:
    assert judged(side=side) == 0


def test_what_the_pair_network_takes_for_a_copy_is_one_though_its_pixels_differ() -> None:
    changed = {"correlation": 0.85, "register": 0.1}
    assert judged(**changed) < judged(**changed, odds=1.5) < MIN_SCORE < judged(**changed, odds=6)


def test_what_the_pair_network_takes_for_a_second_photograph_is_less_of_a_copy() -> None:
    assert 0 < judged(odds=-6) < judged(odds=-2) < judged(odds=0) == judged()


@pytest.mark.parametrize("less", [{"side": 12}, {"rarity": 0.3}, {"sharing": COHORT + 1, "rarity": 4.0}])
def test_what_is_small_or_common_is_less_of_a_copy_to_the_pair_network(less: dict) -> None:
    changed = {"correlation": 0.85, "register": 0.1, "odds": 6.0}
    assert judged(**changed | less) < judged(**changed)


@pytest.mark.parametrize(("flow", "odds"), [("", 1.8), ("homography", 2.6), ("free", 1.8)])
def test_the_pair_network_is_surer_of_what_it_saw_more_of(flow: str, odds: float) -> None:
    changed = {"side": 100, "correlation": 0.5, "register": 0.0, "flow": flow, "odds": odds}

    def many(query: Structure, *_: object) -> None:
        query.support[:] = 8

    assert 0 < judged(**changed) < MIN_SCORE < judged(**changed, change=many)
