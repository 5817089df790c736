"""What is compared, where, and what counts as distinct."""

import cv2
import numpy as np
import pytest
from helpers import bent, encoded, noisy, photo

from localmatch import verification
from localmatch.descriptor.network import LocalContrastNorm
from localmatch.descriptor.weights import load_descriptor
from localmatch.judge import SURE_ODDS
from localmatch.patches import pyramid
from localmatch.records import Alignment, Candidate, Mapping
from localmatch.registration import registered_widely
from localmatch.structure import structure
from localmatch.verification import query_structure, verify
from localmatch.views import View, view_of
from localmatch.warping import CONTRAST_WINDOW, normalised, warp


def test_corners_and_texture_are_distinct_and_outlines_and_paper_are_not() -> None:
    image = np.full((300, 300, 3), 250, np.uint8)
    y, x = np.mgrid[:300, :300]
    image[np.hypot(x - 80, y - 150) < 60] = 20  # a disc
    image[120:180, 200:260] = (np.indices((60, 60)).sum(0) // 6 % 2 * 200)[..., None]  # diagonal stripes
    image[40:80, 200:260] = np.random.default_rng(0).integers(0, 256, (40, 60, 1))
    support, distinct = structure(image[..., 0].astype(np.float32) / 255)
    edge = np.abs(np.hypot(x - 80, y - 150) - 60) < 3
    assert support[edge].mean() > 0.8
    assert distinct[edge].mean() < 0.2
    assert distinct[135:165, 215:245].mean() < 0.15
    assert distinct[50:70, 210:250].mean() > 0.6
    assert support[:20].max() < 0.05
    assert (distinct <= support + 1e-6).all()


@pytest.mark.parametrize("box", [(100, 50, 400, 330), (0, 0, 300, 280), (-20, -20, 310, 290), (250, 110, 700, 500)])
def test_a_view_shows_its_part_of_the_query_at_all_levels(box: tuple[float, float, float, float]) -> None:
    query = encoded(photo("coffee"))
    view, whole = view_of(query, box), view_of(query, (0, 0, *query.size))
    assert whole.size == query.size
    assert view.corner == (max(box[0], 0), max(box[1], 0))
    for part, level in zip(view.levels, whole.levels, strict=True):
        own, expected = (
            one.to_pixels(one.maps[level.index][..., 0].astype(np.float32), at)
            for one, at in ((view, part), (whole, level))
        )
        assert own.shape == view.size[::-1]
        edge = int(8 * max(level.scale))  # two cells, where a view repeats its last one
        inner = np.s_[edge:-edge, edge:-edge]
        np.testing.assert_allclose(own[inner], expected[view.slices][inner], atol=0.05)


@pytest.mark.parametrize(
    "box", [(301.5, 200.2, 301.6, 200.3), (-9, -9, -5, -5), (900, 900, 950, 950), (599.5, 10, 600, 11)]
)
def test_a_view_has_one_pixel_at_least_and_lies_on_the_query(box: tuple[float, float, float, float]) -> None:
    view = view_of(encoded(photo("coffee")), box)
    assert all(0 <= corner < side for corner, side in zip(view.corner, (600, 400), strict=True))
    assert view.size == (1, 1)
    assert all(min(level.gray.shape) >= 1 for level in view.levels)


@pytest.mark.parametrize(
    ("image", "in_register"),
    [
        (noisy, True),
        (lambda p: cv2.GaussianBlur(p, (0, 0), 1.5), True),
        (lambda p: bent(p, 0.5, 40, 40), False),  # as second photographs drift
        (lambda p: photo("chelsea")[: p.shape[0], : p.shape[1]], False),
    ],
    ids=["noisy", "blurred", "drifted", "another"],
)
def test_wide_windows_see_exact_register_through_what_hides_pixels(image, in_register: bool) -> None:
    original = photo("coffee")[:300, :400]
    query = encoded(image(original))
    view, reference, everywhere = view_of(query, (0, 0, 400, 300)), pyramid(original), np.ones((300, 400), bool)
    identity = Mapping(np.eye(2, 3))
    wide = registered_widely(view, reference, identity, everywhere)
    assert wide.shape == (300, 400)
    share = np.average(wide, weights=query_structure(query).support)
    assert share > 0.4 if in_register else share < 0.1


def test_images_are_normalised_as_the_descriptor_network_does() -> None:
    image = pyramid(photo("coffee"))[2].gray
    expected = LocalContrastNorm(CONTRAST_WINDOW)(image[None, None])[0, 0]
    np.testing.assert_allclose(normalised(image.numpy()), expected.numpy(), atol=1e-3)  # running sums, in float32


@pytest.mark.parametrize("shift", [0.0, -3.0, 40.0, 5000.0])
def test_a_warp_tells_where_there_is_no_reference(shift: float) -> None:
    levels = pyramid(photo("coffee"))
    level = next(one for one in levels if one.index == 0)
    warped, inside = warp(levels, level, Mapping(np.array([[1, 0, shift], [0, 1, 0]], np.float64)))
    columns = np.arange(level.gray.shape[1])
    assert warped.shape == inside.shape == level.gray.shape
    assert (inside == ((columns + shift >= 0) & (columns + shift < len(columns)))[None]).all()


@pytest.mark.parametrize(("odds", "maps"), [(-2.0, 0), (3.0, 1)])
def test_what_the_pair_network_takes_for_a_second_photograph_is_not_compared(
    odds: float, maps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = photo("coffee")
    query = encoded(image)
    alignment = Alignment(0, np.eye(2, 3), 900, np.arange(20), (200, 150, 400, 300), np.eye(2, 3))
    monkeypatch.setattr(verification, "copy_odds", lambda view, *_: np.full(view.size[::-1], odds, np.float32))
    candidate = Candidate(alignment, frozenset([0]))
    found = verify(load_descriptor().network, query, query_structure(query), pyramid(image), candidate)
    assert len(found) == maps


@pytest.mark.parametrize(("at_a_look", "drawn"), [(0.0, False), (2 * SURE_ODDS, True)])
def test_what_the_pair_network_is_sure_of_is_drawn_though_descriptors_see_the_host(
    at_a_look: float, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odds(view: View, *_: object) -> np.ndarray:
        seen = np.full((400, 600), -8, np.float32)
        seen[200:240, 300:350] = 8
        return seen[view.slices]

    monkeypatch.setattr(verification, "copy_odds", odds)
    query = encoded(photo("coffee"))
    alignment = Alignment(0, np.eye(2, 3), 900, np.arange(2), (310, 210, 330, 230), np.eye(2, 3))
    candidate = Candidate(alignment, frozenset([0]), odds=at_a_look)
    found = verify(load_descriptor().network, query, query_structure(query), pyramid(photo("rocket")), candidate)
    assert len(found) == drawn
    for one in found:
        assert one.evidence[210:230, 310:340].min() > 0.9
        assert one.evidence[:195].max() < 0.5
        assert one.evidence.shape == (400, 600)
