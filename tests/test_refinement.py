"""Maps are brought to within a fraction of a pixel, whatever lies on a copy or around it, or said to tell nothing."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from helpers import encoded, noisy, photo

from localmatch.geometry import project
from localmatch.patches import pyramid
from localmatch.records import Mapping
from localmatch.refinement import AFFINE, FAR, NEAR, PLANE, refined
from localmatch.views import View, view_of
from localmatch.warping import affine_within

BOX = (100, 60, 340, 260)
"""Of the copy, on the query."""

Change = Callable[[np.ndarray], np.ndarray]


def logo() -> np.ndarray:
    picture = np.full((400, 500, 3), 235, np.uint8)
    cv2.circle(picture, (200, 140), 60, (40, 60, 160), -1, cv2.LINE_AA)
    cv2.rectangle(picture, (250, 110), (330, 230), (30, 30, 30), -1)
    cv2.ellipse(picture, (170, 215), (60, 25), 20, 0, 360, (120, 30, 60), -1, cv2.LINE_AA)
    return picture


def outlines() -> np.ndarray:
    picture = np.full((400, 500, 3), 235, np.uint8)
    for centre, size in (((200, 140), 55), ((270, 180), 40), ((150, 210), 30)):
        cv2.circle(picture, centre, size, (30, 30, 30), 3, cv2.LINE_AA)
    return picture


def planted(picture: np.ndarray, change: Change, plane: np.ndarray) -> View:
    """A view of a host with a copy in a box, whose positions lie on the picture as the homography (3, 3) says."""
    height, width = picture.shape[:2]
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpPerspective(picture, np.linalg.inv(half) @ plane @ half, (width, height), flags=flags)
    query = cv2.resize(photo("brick"), (width, height))
    x0, y0, x1, y1 = BOX
    query[y0:y1, x0:x1] = change(seen)[y0:y1, x0:x1]
    return view_of(encoded(query, 100), BOX)


def missed(mapping: Mapping, plane: np.ndarray) -> float:
    """By how many pixels a mapping misses a homography, at most, within the box."""
    x0, y0, x1, y1 = BOX
    places = np.stack(np.meshgrid(np.arange(x0, x1), np.arange(y0, y1)), -1) + 0.5
    there = project(mapping.affine, places if mapping.flow is None else places + mapping.flow)
    return float(np.linalg.norm(there - cv2.perspectiveTransform(places, plane), axis=-1).max())


def relit(picture: np.ndarray) -> np.ndarray:
    return (255 * (picture / 255) ** 1.5 * 0.8 + 20).astype(np.uint8)


def covered(picture: np.ndarray) -> np.ndarray:
    out = picture.copy()
    out[130:230, 180:300] = photo("rocket")[100:200, 200:320]
    return out


def written_over(picture: np.ndarray) -> np.ndarray:
    return cv2.putText(picture.copy(), "SALE", (110, 180), cv2.FONT_HERSHEY_DUPLEX, 2.5, (250, 120, 30), 6, cv2.LINE_AA)


IDENTITY = np.eye(3)
NEARBY = np.array([[1.012, -0.01, 1.0], [0.008, 0.99, 2.0]])
"""A map that misses the identity by up to 3 pixels in the box."""

TILTED = np.array([[1.02, 0.03, -6.0], [-0.02, 1.03, 2.0], [1.2e-4, 1.5e-4, 1.0]])


@pytest.mark.parametrize("change", [np.copy, relit, noisy, covered, written_over])
@pytest.mark.parametrize("picture", [photo("astronaut")[:400, :500], logo()], ids=["photo", "logo"])
def test_an_affine_map_is_brought_to_a_fraction_of_a_pixel(picture: np.ndarray, change: Change) -> None:
    view = planted(picture, change, IDENTITY)
    assert missed(Mapping(NEARBY), IDENTITY) > 2
    found = refined(view, pyramid(picture), NEARBY, np.ones(view.size[::-1], bool), AFFINE)
    assert found.flow is None
    assert missed(found, IDENTITY) < 0.35


@pytest.mark.parametrize("picture", [photo("astronaut")[:400, :500], logo()], ids=["photo", "logo"])
def test_perspective_is_found_from_the_nearest_affine_map(picture: np.ndarray) -> None:
    view = planted(picture, np.copy, TILTED)
    corners = np.array([[BOX[i], BOX[j]] for i in (0, 2) for j in (1, 3)], np.float64)
    there = cv2.perspectiveTransform(corners[None], TILTED)[0]
    affine = np.linalg.lstsq(np.column_stack([corners, np.ones(4)]), there, rcond=None)[0].T
    everywhere = np.ones(view.size[::-1], bool)
    assert missed(Mapping(affine), TILTED) > 1
    found = refined(view, pyramid(picture), affine, everywhere, PLANE, FAR)
    assert found.projective
    assert not found.bent
    assert found.corner == view.corner
    assert missed(found, TILTED) < 0.35


def test_lines_that_do_not_meet_are_found_on_a_coarse_level() -> None:
    view, everywhere = planted(outlines(), np.copy, IDENTITY), np.ones((200, 240), bool)
    off = np.array([[1.0, 0.02, 4.0], [-0.02, 1.0, 6.0]])
    near, far = (refined(view, pyramid(outlines()), off, everywhere, AFFINE, levels) for levels in (NEAR, FAR))
    assert missed(far, IDENTITY) < 0.35
    assert near is None or missed(near, IDENTITY) > 1


def test_only_the_mask_counts() -> None:
    picture = photo("astronaut")[:400, :500]
    view = view_of(encoded(picture, 100), (0, 0, 500, 400))
    moved = np.roll(picture, 3, axis=1)
    moved[:, :250] = picture[:, :250]
    mask = np.zeros((400, 500), bool)
    mask[60:260, 60:230] = True
    found = refined(view, pyramid(moved), np.eye(2, 3), mask, AFFINE)
    assert np.abs(found.affine - np.eye(2, 3)).max() < 0.1
    mask = np.roll(mask, 250, axis=1)
    found = refined(view, pyramid(moved), np.eye(2, 3), mask, AFFINE)
    assert missed(found, np.array([[1, 0, 3], [0, 1, 0], [0, 0, 1]])) < 0.35


@pytest.mark.parametrize("motion", [AFFINE, PLANE])
@pytest.mark.parametrize(
    "case", ["nothing there", "another picture", "no mask", "a few pixels", "beyond the reference"]
)
def test_what_tells_no_map_gets_none(case: str, motion: int) -> None:
    picture = photo("astronaut")[:400, :500]
    query = np.full_like(picture, 128) if case == "nothing there" else picture
    reference = photo("coffee")[:400, :500] if case == "another picture" else picture
    view = view_of(encoded(query, 100), BOX)
    mask = np.full(view.size[::-1], case not in ("no mask", "a few pixels"))
    if case == "a few pixels":
        mask[:5, :5] = True
    affine = np.array([[1, 0, 5000.0 * (case == "beyond the reference")], [0, 1, 0]])
    assert refined(view, pyramid(reference), affine, mask, motion) is None


def test_the_homography_of_a_copy_that_is_flat_on_the_image_is_next_to_affine() -> None:
    picture = photo("astronaut")[:400, :500]
    view = planted(picture, np.copy, IDENTITY)
    found = refined(view, pyramid(picture), NEARBY, np.ones(view.size[::-1], bool), PLANE)
    mask = np.zeros((400, 500), bool)
    mask[60:260, 100:340] = True
    np.testing.assert_allclose(affine_within(mask, found)[:, :2], np.eye(2), atol=0.01)
