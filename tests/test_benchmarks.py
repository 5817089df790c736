"""The measures that the benchmarks report, on answers whose value anyone can see."""

from __future__ import annotations

import pytest

from benchmarks.regions.ranking import Answer, Segment, image_ranking, segment_average_precision

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
