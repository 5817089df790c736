"""What the benchmarks ask and report, on cases whose answer anyone can see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import photo, save
from PIL import Image

from benchmarks.descriptors import look_up, make_piece, of_weights, summary
from benchmarks.pictures import shows_something, shows_the_same
from benchmarks.regions.funnel import lost
from benchmarks.regions.measures import false_alarms, recall, threshold
from benchmarks.regions.queries import Copy
from benchmarks.regions.ranking import Answer, Segment, image_ranking, segment_average_precision
from benchmarks.regions.sheet import missed
from benchmarks.splits import split_clean
from localmatch.files import Journal
from localmatch.records import Alignment, Candidate, Neighbours

LEFT, RIGHT, ALL = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0)
TRUE = Segment(7, LEFT, ALL)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], 0.0),
        ([Segment(7, LEFT, ALL, 1.0)], 1.0),
        (
            [Segment(7, LEFT, ALL, 1.0), Segment(8, ALL, ALL, 0.5)],
            1.0,
        ),  # what comes after is free
        ([Segment(7, RIGHT, ALL, 1.0)], 0.0),  # the right reference at the wrong place
        ([Segment(7, ALL, ALL, 1.0)], 0.5**0.5),  # half of the query's box is right, all of the reference's
        ([Segment(8, LEFT, ALL, 1.0), Segment(7, LEFT, ALL, 0.5)], 0.5),
        ([Segment(7, LEFT, ALL, 1.0), Segment(7, LEFT, ALL, 0.5)], 1.0),  # boxes are united: once more is nothing more
        ([Segment(8, LEFT, ALL, 1.0), Segment(7, LEFT, ALL, 1.0)], 0.5),  # equal scores pass together, in any order
        ([Segment(7, LEFT, ALL, 1.0), Segment(8, LEFT, ALL, 1.0)], 0.5),
    ],
)
def test_average_precision_of_regions(found: list[Segment], expected: float) -> None:
    assert segment_average_precision([Answer((TRUE,), tuple(found))]) == pytest.approx(expected)


def test_regions_on_clean_images_cost_precision() -> None:
    right, clean = Answer((TRUE,), (Segment(7, LEFT, ALL, 1.0),)), Answer((), (Segment(7, LEFT, ALL, 2.0),))
    assert segment_average_precision([right, clean]) == pytest.approx(0.5)
    assert image_ranking([right, clean]) == (pytest.approx(0.5), 0.0)


def test_half_of_the_copies_found_is_half_of_the_precision() -> None:
    answers = [Answer((TRUE,), (Segment(7, LEFT, ALL, 1.0),)), Answer((TRUE,), ())]
    assert segment_average_precision(answers) == pytest.approx(0.5)
    assert image_ranking(answers) == (pytest.approx(0.5), pytest.approx(0.5))


def test_recall_of_images_is_told_at_ninety_per_cent_precision() -> None:
    answers = [Answer((TRUE,), (Segment(7, LEFT, ALL, 20.0 - i),)) for i in range(10)]
    wrong = [Answer((TRUE,), (Segment(8, LEFT, ALL, 9.0),)), Answer((TRUE,), (Segment(8, LEFT, ALL, 8.0),))]
    _, recall = image_ranking(answers + wrong)
    assert recall == pytest.approx(10 / 12)


def test_a_killed_benchmark_goes_on_where_it_was(tmp_path: Path) -> None:
    path, asked = tmp_path / "result.journal", []

    def compute(value: list[float]) -> Callable[[], list[float]]:
        return lambda: asked.append(value) or value

    Journal(path, {"seed": 1}).once("a", compute([0.1, 2]))
    with path.open("a") as file:
        file.write('["b", [0.')  # killed while it wrote
    again = Journal(path, {"seed": 1})
    assert again.once("a", compute([9])) == [0.1, 2]
    assert again.once("b", compute([3])) == [3]
    assert asked == [[0.1, 2], [3]]
    assert Journal(path, {"seed": 1}).once("b", compute([9])) == [3]
    assert Journal(path, {"seed": 2}).once("a", compute([4])) == [4]  # other queries: nothing is known of them
    path.write_text(path.read_text() + "[" * 10_000 + "\n")
    assert Journal(path, {"seed": 2}).once("a", compute([5])) == [5]
    assert asked == [[0.1, 2], [3], [4], [5]]


def test_answers_come_back_from_a_journal_as_they_were(tmp_path: Path) -> None:
    segments = [TRUE], [Segment(7, LEFT, ALL, 0.5), Segment(8, ALL, ALL, 0.25)]
    kept = Journal(tmp_path / "result.journal", None).once("query", lambda: segments)
    assert Answer.of(*kept) == Answer.of(*segments) == Answer(*map(tuple, segments))


def test_no_clean_image_serves_twice() -> None:
    clean, hosts = ([Path(f"{kind}{i}") for i in range(20)] for kind in ("clean", "host"))
    split = split_clean(clean, hosts, 10)
    assert sorted([*split.background, *split.development, *split.evaluation]) == sorted(clean + hosts)
    assert len(split.background) == 10
    assert not set(split.background) & set(hosts)
    assert split == split_clean(clean, hosts, 10)


@pytest.mark.parametrize(("alpha", "clean", "expected"), [(0.01, 99, 99.0), (0.01, 199, 198.0), (0.01, 98, None)])
def test_a_threshold_is_what_clean_images_show(alpha: float, clean: int, expected: float | None) -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, clean + 1))
    assert threshold(scores, alpha) == expected


def test_false_alarms_are_counted_on_images_that_did_not_set_the_threshold() -> None:
    clean = np.zeros(400)
    clean[[0, 2, 4]] = 5, 6, 7  # one half: its second score is 6, of which the other half has none
    assert false_alarms(clean, 0.01)["share"] == pytest.approx(3 / 400)  # the other half's is 0
    assert false_alarms(clean[:100], 0.01) is None


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (lambda image: cv2.line(image, (-20, 30), (220, 110), (90, 90, 90), 9), False),  # slanted, and no corner
        (lambda image: cv2.circle(image, (100, 100), 60, (200, 40, 40), 14), False),
        (lambda image: cv2.putText(image, "R2d&", (20, 120), 0, 2, (0, 0, 0), 5), True),
    ],
)
def test_copies_show_corners(draw: Callable[[np.ndarray], np.ndarray], expected: bool) -> None:
    image = draw(np.full((200, 200, 3), 255, np.uint8))
    mask = np.zeros((200, 200), bool)
    mask[10:-10, 10:-10] = True
    around = cv2.dilate((image.min(2) < 250).astype(np.uint8), np.ones((25, 25))) > 0
    assert shows_something(image, mask & around) is expected


def test_recall_of_small_regions_is_told_by_their_corners() -> None:
    def row(corners: int, strict: float | None, area: float = 0.01) -> dict:
        found = {"strict": strict, "loose": strict, "corners": corners}
        return {"family": "plain", "domain": "logos", "area": area} | found

    rows = [row(4, None), row(5, 3.0), row(9, None), row(20, 3.0), row(400, 3.0), row(4, 3.0, area=0.05)]
    by_corners = recall(rows, "strict", 2.0)["by_corners"]
    assert {name: (one["n"], one["share"]) for name, one in by_corners.items() if one["n"]} == {
        "from 0": (1, 0.0),
        "from 5": (2, 0.5),
        "from 20": (2, 1.0),
    }


def test_the_sheet_of_what_was_missed_says_why() -> None:
    def row(family: str, strict: float | None, loose: float | None, area: float = 0.1) -> dict:
        return {"family": family, "area": area, "seed": 1000, "strict": strict, "loose": loose}

    rows = [row("plain", 3, 3), row("noise", 1.5, 1.5), row("blur", None, 4), row("jpeg", None, None)]
    system = {"far_0.01": {"threshold": 2.0}, "rows": [*rows, row("scale", None, None, area=0.25)]}
    assert missed(system, 0.1) == [
        ("noise", 1000, "noise: score 1.5 of 2"),
        ("blur", 1000, "blur: badly drawn"),
        ("jpeg", 1000, "jpeg: not located"),
    ]


def _neighbours(reference: int, off: float) -> Neighbours:
    """One neighbour of a patch at (50, 50), whose place on the reference is 100 px to the right, and off by so much."""
    xy = np.array([[50.0, 50.0]], np.float32)
    zero, level = np.zeros(1, np.int32), np.zeros(1, np.int8)
    places = xy + np.array([100 + off, 0], np.float32)
    return Neighbours(np.array([reference]), level, zero, zero.astype(np.int64), xy, places, level, level, zero + 1)


def _alignment(reference: int, off: float) -> Alignment:
    affine = np.array([[1.0, 0, 100 + off], [0, 1, 0]])
    return Alignment(reference, affine, 1, np.zeros(1, np.int64), (40, 40, 60, 60), affine)


@pytest.mark.parametrize(
    ("neighbours", "shortlist", "maps", "candidates", "screened", "loose", "expected"),
    [
        ((7, 30.0), [8], (8, 0.0), (8, 0.0), (8, 0.0), None, "no neighbour that is right"),
        ((8, 0.0), [8], (8, 0.0), (8, 0.0), (8, 0.0), None, "no neighbour that is right"),
        ((7, 1.0), [8], (8, 0.0), (8, 0.0), (8, 0.0), None, "not on the shortlist"),
        ((8, 0.0), [7], (7, 30.0), (8, 0.0), (8, 0.0), None, "no map by votes"),
        ((8, 0.0), [7], (7, 2.0), (8, 0.0), (8, 0.0), None, "not among the maps looked at"),
        ((7, 0.0), [7], (7, 2.0), (7, 2.0), (7, 30.0), None, "given up at the look"),
        ((7, 0.0), [7], (7, 2.0), (7, 2.0), (7, 2.0), None, "not sure enough"),
        ((7, 0.0), [7], (7, 2.0), (7, 2.0), (7, 2.0), 5.0, "badly drawn"),
    ],
)
def test_a_missed_copy_was_lost_after_the_last_stage_that_had_it(
    neighbours: tuple[int, float],
    shortlist: list[int],
    maps: tuple[int, float],
    candidates: tuple[int, float],
    screened: tuple[int, float],
    loose: float | None,
    expected: str,
) -> None:
    mask = np.zeros((100, 100), bool)
    mask[40:60, 40:60] = True
    copy = Copy(7, (40, 40, 60, 60), (140, 40, 160, 60), mask, np.array([[1.0, 0, 100], [0, 1, 0]]))
    seen = {
        "search": _neighbours(*neighbours),
        "shortlist": [[], shortlist],
        "find_alignments": [_alignment(*maps)],
        "choose_candidates": [Candidate(_alignment(*candidates), frozenset())],
        "_screened": [Candidate(_alignment(*screened), frozenset())],
    }
    assert lost(copy, {"strict": None, "loose": loose}, seen) == expected


@pytest.mark.parametrize(
    ("change", "box", "expected"),
    [
        (lambda image: image, (0, 0, 64, 64), True),
        (lambda image: image[:-1], (0, 0, 32, 32), False),
        (lambda image: cv2.rectangle(image.copy(), (40, 40), (60, 60), (255, 0, 0), -1), (0, 0, 36, 36), True),
        (lambda image: cv2.rectangle(image.copy(), (40, 40), (60, 60), (255, 0, 0), -1), (30, 30, 64, 64), False),
    ],
)
def test_drawings_of_a_series_show_the_same_where_they_do_not_differ(
    tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], box: tuple[float, float, float, float], expected: bool
) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    for name, one in (("one", image), ("other", change(image))):
        Image.fromarray(one).save(tmp_path / f"{name}.png")
    assert shows_the_same(tmp_path / "one.png", tmp_path / "other.png", box) == expected


def test_patches_of_a_piece_find_their_own_place_by_descriptors_that_tell_and_not_by_chance(tmp_path: Path) -> None:
    names = ("coffee", "chelsea", "rocket", "astronaut", "brick")
    references = [save(photo(name), tmp_path / f"{name}.png") for name in names[:-1]]
    host = save(photo(names[-1]), tmp_path / "host.png")
    pieces = [make_piece(references, [host], [], 0.02, "plain", seed) for seed in range(4)]
    numbers = list(range(len(references)))
    told = look_up(of_weights(None), pieces, numbers, references)
    drawn = torch.Generator().manual_seed(0)
    chance = look_up(lambda _, xy: torch.randn(len(xy), 64, generator=drawn), pieces, numbers, references)
    assert [one.have for one in told] == [one.have for one in chance]
    assert all(one.nearest <= one.near <= one.have for one in told)
    assert summary(told)["among the nearest"] > 0.3
    assert summary(chance)["among the nearest"] < 0.1
