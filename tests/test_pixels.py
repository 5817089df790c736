"""Small copies of pixels are seen at a look, and what only resembles is not."""

import cv2
import numpy as np
import pytest
from helpers import encoded, photo

from localmatch.audit import LIKELY_PASS
from localmatch.geometry import Affine, project
from localmatch.patches import pyramid
from localmatch.pixels import look_at_pixels
from localmatch.records import Alignment, Candidate
from localmatch.verification import query_structure

SIDE, CORNER = 36, np.array([220, 150])
"""Of the copied piece, and its corner on the reference."""

LIGHT = (0.8, 30)

BOX_CORNERS = np.array([(70.0, 90.0), (110, 90), (70, 130), (110, 130)])
"""Of the middle of a larger piece, on the query."""


def candidate(affine: Affine, side: int, strongest: Affine) -> Candidate:
    box = (60 + side * 0.3, 80 + side * 0.3, 60 + side * 0.7, 80 + side * 0.7)
    return Candidate(Alignment(0, affine, 3 * 15000, np.arange(3), box, strongest), frozenset([0]))


def nudged(exact: Affine, linear: list[list[float]], shift: tuple[float, float], side: int) -> Affine:
    """A map that misses the exact one by the shift in the middle of the piece, and by more around."""
    middle = np.array([60 + side / 2, 80 + side / 2])
    change = np.column_stack([linear, np.array(shift) - np.array(linear) @ middle])
    return np.asarray(exact + change)


def look(
    query: np.ndarray, reference: np.ndarray, affine: Affine, side: int = SIDE, strongest: Affine | None = None
) -> tuple[float, Affine]:
    found = looked(query, reference, candidate(affine, side, affine if strongest is None else strongest))
    return found.look, found.alignment.affine


def looked(query: np.ndarray, reference: np.ndarray, given: Candidate) -> Candidate:
    described = encoded(query)
    return look_at_pixels(described, query_structure(described), pyramid(reference), given)


def planted(piece: np.ndarray) -> np.ndarray:
    query = photo("brick")[:256, :256].copy()
    query[80 : 80 + piece.shape[0], 60 : 60 + piece.shape[1]] = piece
    return query


def resampled(reference: np.ndarray, indices: list[list[float]], side: int) -> tuple[np.ndarray, Affine]:
    """A query with a piece of a reference, whose pixels it shows as a map of pixel indices says; and its map."""
    exact, flags = np.array(indices), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(reference, exact, (256, 256), flags=flags)
    # From pixel indices, as OpenCV counts, to positions, whose whole numbers are at the corners of pixels.
    exact[:, 2] += 0.5 - exact[:, :2] @ [0.5, 0.5]
    return planted(seen[80 : 80 + side, 60 : 60 + side]), exact


@pytest.mark.parametrize("pose", ["upright", "mirrored", "upside down"])
@pytest.mark.parametrize("relit", [False, True], ids=["plain", "relit"])
def test_a_piece_pasted_pixel_by_pixel_is_seen_and_its_map_is_exact(pose: str, relit: bool) -> None:
    reference = photo("chelsea")
    x, y = CORNER
    piece = reference[y : y + SIDE, x : x + SIDE]
    if relit:
        piece = (piece * LIGHT[0] + LIGHT[1]).astype(np.uint8)
    if pose == "upright":
        copy, exact = piece, np.array([[1, 0, x - 60], [0, 1, y - 80]], float)
    elif pose == "mirrored":
        copy, exact = piece[:, ::-1], np.array([[-1, 0, x + SIDE + 60], [0, 1, y - 80]], float)
    else:
        copy, exact = piece[::-1, ::-1], np.array([[-1, 0, x + SIDE + 60], [0, -1, y + SIDE + 80]], float)
    near = nudged(exact, [[0.02, -0.015], [0.01, -0.02]], (0.3, 0.2), SIDE)
    score, affine = look(planted(copy), reference, near)
    assert score > 5
    np.testing.assert_array_equal(affine, exact)


def test_a_resampled_piece_is_seen_and_its_map_is_refined() -> None:
    reference = photo("chelsea")
    query, exact = resampled(reference, [[1.3, 0.1, 120], [-0.1, 1.3, 60]], 60)
    near = nudged(exact, [[0.02, 0], [0, -0.02]], (0.8, -0.6), 60)
    score, affine = look(query, reference, near, 60)
    assert score > 5
    before, after = (np.linalg.norm(project(one, BOX_CORNERS) - project(exact, BOX_CORNERS)) for one in (near, affine))
    assert after < before / 2


def test_a_piece_is_seen_by_its_strongest_neighbour_where_too_few_others_bent_the_map() -> None:
    reference = photo("chelsea")
    x, y = CORNER
    exact = np.array([[1, 0, x - 60], [0, 1, y - 80]], float)
    bent = nudged(exact, [[0.2, -0.35], [0.35, 0.2]], (0, 0), SIDE)
    query = planted(reference[y : y + SIDE, x : x + SIDE])
    assert look(query, reference, bent)[0] == 0
    score, affine = look(query, reference, bent, strongest=nudged(exact, [[0, 0], [0, 0]], (0.4, -0.3), SIDE))
    assert score > 5
    np.testing.assert_array_equal(affine, exact)


def test_a_faint_resampled_piece_is_seen_though_it_tells_hardly_more_than_a_shift() -> None:
    reference = photo("astronaut")
    query, exact = resampled(reference, [[1.45, 0, 200], [0, 1.45, 100]], 40)
    score, _ = look(query, reference, nudged(exact, [[0, 0], [0, 0]], (0.9, 0.5), 40), 40)
    assert score > 5


def edge() -> np.ndarray:
    picture = np.full((256, 256, 3), 230, np.uint8)
    picture[:, 78:] = 40
    return picture


@pytest.mark.parametrize(
    ("query", "reference"),
    [
        (photo("brick")[:256, :256], photo("chelsea")),
        (photo("grass")[:256, :256], photo("grass")[200:456, 200:456]),
        (edge(), edge()),
        (np.full((256, 256, 3), 128, np.uint8), np.full((256, 256, 3), 128, np.uint8)),
    ],
    ids=["another photo", "more of the same grass", "a straight edge", "nothing"],
)
def test_what_is_not_the_same_or_no_more_than_an_edge_is_not_seen(query: np.ndarray, reference: np.ndarray) -> None:
    score, _ = look(query, reference, np.eye(2, 3))
    assert score == 0


def test_a_look_beyond_the_reference_is_none() -> None:
    score, _ = look(photo("brick")[:256, :256], photo("chelsea"), np.array([[1.0, 0, 5000], [0, 1, 5000]]))
    assert score == 0


def test_a_noisy_piece_is_likely_a_copy_though_no_pixel_is_the_same() -> None:
    reference = photo("chelsea")
    x, y = CORNER
    piece = reference[y : y + 60, x : x + 60]
    ruined = (piece + np.random.default_rng(0).normal(0, 10, piece.shape)).clip(0, 255).astype(np.uint8)
    exact = np.array([[1, 0, x - 60], [0, 1, y - 80]], float)
    near = nudged(exact, [[0.01, 0], [0, 0.01]], (0.8, -0.6), 60)
    found = looked(planted(ruined), reference, candidate(near, 60, near))
    assert found.look == 0
    assert found.odds > 2 * LIKELY_PASS
    assert np.abs(project(found.alignment.affine, BOX_CORNERS) - project(exact, BOX_CORNERS)).max() < 0.5
    strange = looked(planted(ruined), photo("coffee"), candidate(near, 60, near))
    assert strange.odds < LIKELY_PASS


def test_what_has_no_texture_is_not_likely_a_copy() -> None:
    assert looked(edge(), edge(), candidate(np.eye(2, 3), SIDE, np.eye(2, 3))).odds < LIKELY_PASS
