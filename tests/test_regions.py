"""Which parts of a heatmap are a region, and which of several are one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from localmatch.neighbours import STANDS_OUT
from localmatch.records import Alignment, Candidate, Mapping, Structure, Verified
from localmatch.regions import Part, boxes, find_parts, keep_strongest

SIDE = 200
LEFT, RIGHT = np.s_[40:120, 10:80], np.s_[60:160, 110:190]


def flat(value: float, levels: int = 0) -> NDArray[np.float32]:
    return np.full((levels, SIDE, SIDE)[not levels :], value, np.float32)


def parts_of(correlation: NDArray[np.float32], odds: NDArray[np.float32] | None = None) -> list[Part]:
    """The parts of a heatmap of two pieces, all of it in exact register."""
    heat = flat(0)
    heat[LEFT] = heat[RIGHT] = 1
    verified = Verified(Mapping(np.eye(2, 3)), flat(1), flat(1, 1), flat(0), correlation[None], None, odds)
    alignment = Alignment(0, np.eye(2, 3), 20 * STANDS_OUT, np.arange(10), (10, 40, 190, 160), np.eye(2, 3))
    query = Structure(flat(1), flat(1), flat(1), flat(1, 1), flat(0))
    return find_parts(3, Candidate(alignment, frozenset([0])), heat, query, verified)


@pytest.mark.parametrize(("to_see", "drawn"), [(1.0, False), (0.1, True)], ids=["something", "nothing"])
def test_what_lies_on_a_copy_is_no_part_of_it_unless_there_is_nothing_to_see(to_see: float, drawn: bool) -> None:
    hole, whole = np.s_[70:130, 70:130], np.s_[20:180, 20:180]
    heat, correlation, support = flat(0), flat(0.98), flat(1)
    heat[whole], heat[hole] = 1, 0
    support[hole], correlation[hole] = to_see, 0.98 if drawn else 0.1
    verified = Verified(Mapping(np.eye(2, 3)), heat, flat(1, 1), flat(0), correlation[None])
    alignment = Alignment(0, np.eye(2, 3), 20 * STANDS_OUT, np.arange(10), (20, 20, 60, 60), np.eye(2, 3))
    query = Structure(support, flat(1), flat(1), flat(1, 1), flat(0))
    (part,) = find_parts(0, Candidate(alignment, frozenset([0])), heat, query, verified)
    assert part.mask[100, 100] == drawn
    assert part.mask[100, 30]
    assert part.correlation == pytest.approx(0.98, abs=0.02)


def test_pieces_of_one_copy_with_something_between_are_one_region() -> None:
    (part,) = parts_of(flat(0.98))
    assert part.owner == 3
    assert part.mask[LEFT].all()
    assert part.mask[RIGHT].all()
    assert not part.mask[:, 90:100].any()
    query_box, reference_box = boxes(part.mask, part.affine, (SIDE, SIDE))
    assert query_box == pytest.approx((5, 35, 195, 165), abs=1)
    assert reference_box == pytest.approx(query_box, abs=1)


@pytest.mark.parametrize(("beside", "drawn"), [(0.75, True), (0.5, False)])
def test_a_piece_beside_a_sure_one_is_drawn_where_it_is_likely(beside: float, drawn: bool) -> None:
    correlation = flat(0.98)
    correlation[:, 95:] = beside
    (part,) = parts_of(correlation)
    assert part.mask[LEFT].all()
    assert part.mask[RIGHT].any() == drawn
    assert part.score == parts_of(np.where(correlation > 0.9, correlation, 0))[0].score


@pytest.mark.parametrize(
    ("likely", "drawn"),
    [
        (np.s_[40:190, 10:80], True),
        (np.s_[40:190, 85:105], False),  # beside the pieces: margins of 5 pixels end there
        (np.s_[40:125, 10:85], False),  # hardly more than the margin
    ],
    ids=["much more", "apart", "little more"],
)
def test_what_the_pair_network_takes_for_a_copy_is_drawn_with_a_sure_part(
    likely: tuple[slice, slice], drawn: bool
) -> None:
    odds = flat(-3)
    odds[LEFT] = odds[RIGHT] = odds[likely] = 4
    plain, (part,) = parts_of(flat(0.98))[0], parts_of(flat(0.98), odds)
    assert part.mask[50:180, 20:70].all() == drawn
    assert (part.mask == plain.mask).all() != drawn
    assert part.score == pytest.approx(plain.score, rel=0.2)


def test_where_nothing_is_sure_there_is_no_region() -> None:
    assert parts_of(flat(0.5)) == []


def test_what_lies_under_a_stronger_region_is_another_reference_of_it() -> None:
    def part(owner: int, score: float, place: tuple[slice, slice]) -> Part:
        mask = np.zeros((SIDE, SIDE), bool)
        mask[place] = True
        return Part(owner, mask, score, 1.0, np.eye(2, 3))

    weaker, stronger, apart = part(0, 2, np.s_[40:120, 20:90]), part(1, 5, LEFT), part(2, 3, RIGHT)
    kept = keep_strongest([weaker, apart, stronger])
    assert [(one.owner, also) for one, also in kept] == [(1, [0]), (2, [])]
