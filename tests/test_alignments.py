"""Alignments from few and from many neighbours, and which of them come first."""

import numpy as np
import pytest

from localmatch.alignments import choose_candidates, find_alignments
from localmatch.descriptor.encode import QUANTISATION
from localmatch.geometry import POSES, Affine, pose_frame, project
from localmatch.records import Alignment, Neighbours
from localmatch.votes import find_peaks, in_turn

MUCH, LITTLE = round(0.3 * QUANTISATION**2), round(0.01 * QUANTISATION**2)

Pair = tuple[int, int, tuple[float, float], tuple[float, float], int, int]
"""Reference, pose, place on the query and on the reference, level on the reference, evidence."""


def neighbours(pairs: list[Pair]) -> Neighbours:
    """Pairs of patches of their own, those of the query on level 0."""
    reference, pose, query_xy, reference_xy, level, evidence = zip(*sorted(pairs), strict=True)
    return Neighbours(
        reference=np.array(reference, np.int32),
        pose=np.array(pose, np.int8),
        query_patch=np.arange(len(pairs), dtype=np.int32),
        reference_patch=np.arange(len(pairs), dtype=np.int64),
        query_xy=np.array(query_xy, np.float32),
        reference_xy=np.array(reference_xy, np.float32),
        query_level=np.zeros(len(pairs), np.int8),
        reference_level=np.array(level, np.int8),
        evidence=np.array(evidence, np.int32),
    )


def many(reference: int, count: int, evidence: int) -> list[Pair]:
    """Neighbours that agree on a shift."""
    places = [(40.0 + 9 * (one % 4), 60.0 + 9 * (one // 4)) for one in range(count)]
    return [(reference, 0, (x, y), (x + 100, y - 20), 0, evidence) for x, y in places]


def aligned(pairs: list[Pair]) -> list[Alignment]:
    found = neighbours(pairs)
    return find_alignments(found, find_peaks(found, 50, 50))


def alone(reference: int, evidence: int = MUCH) -> Pair:
    return reference, 0, (200.0, 210.0), (50.0, 90.0), 0, evidence


@pytest.mark.parametrize("pose", [0, 1, 2, 7, 8])
@pytest.mark.parametrize("level", [-2, 0, 1])
def test_one_neighbour_alone_has_the_map_of_its_pose_scale_and_place(pose: int, level: int) -> None:
    (found,) = aligned([(3, pose, (200.0, 210.0), (50.0, 90.0), level, MUCH)])
    expected: Affine = 2 ** (level / 2) * pose_frame(pose)[:, :2]
    assert (found.reference, found.evidence, found.box) == (3, MUCH, (200, 210, 200, 210))
    np.testing.assert_allclose(found.affine[:, :2], expected)
    np.testing.assert_allclose(project(found.affine, np.array([[200, 210]])), [[50, 90]], atol=1e-4)
    np.testing.assert_array_equal(found.affine, found.strongest)


def test_neighbours_that_agree_are_one_alignment_and_none_of_them_another() -> None:
    (found,) = aligned([*many(0, 12, LITTLE), (0, 0, (58.0, 70.0), (158.0, 50.0), 0, MUCH)])
    assert len(found.inliers) == 13
    np.testing.assert_allclose(found.affine, [[1, 0, 100], [0, 1, -20]], atol=1e-3)


def test_one_neighbour_of_much_evidence_comes_as_early_as_many_of_little() -> None:
    several = [pair for reference in range(20) for pair in many(reference, 16, LITTLE * (30 - reference) // 10)]
    assert 16 * LITTLE > MUCH / 2
    assert [one.reference for one in aligned([*several, alone(20)])[:2]] == [0, 20]
    peaks = find_peaks(found := neighbours([*several, alone(20)]), 2, 2)
    assert found.reference[peaks.first].tolist() == [0, 20]


def test_references_that_show_the_same_part_are_counted_and_only_the_first_are_candidates() -> None:
    alignments = aligned([pair for reference in range(5) for pair in many(reference, 16, LITTLE)] + [alone(7)])
    candidates = choose_candidates(alignments, most=10, most_tilted=0, each=2)
    assert sorted(one.alignment.reference for one in candidates) == [0, 1, 7]
    shared = {one.alignment.reference: one.sharing for one in candidates}
    assert shared == {0: frozenset(range(5)), 1: frozenset(range(5)), 7: frozenset([7])}
    assert choose_candidates(alignments, most=1, most_tilted=9, each=2) == candidates[:1]


def test_what_is_turned_does_not_crowd_out_what_is_upright() -> None:
    poses = np.random.default_rng(0).integers(2, POSES, 40).tolist()
    turned = [(9 + number, pose, (10.0 * number, 50.0), (50.0, 90.0), 0, 2 * MUCH) for number, pose in enumerate(poses)]
    found = neighbours([alone(3), *turned])
    peaks = find_peaks(found, 1, 20)
    assert found.reference[peaks.first].tolist().count(3) == 1
    assert len(peaks.first) == 21
    candidates = choose_candidates(find_alignments(found, peaks), 1, 10, 2)
    assert [one.alignment.reference for one in candidates].count(3) == 1
    assert len(candidates) == 11


def test_nothing_aligns_with_nothing() -> None:
    empty = neighbours([alone(0)])
    none = Neighbours(*(getattr(empty, name)[:0] for name in empty.__dataclass_fields__))
    assert find_alignments(none, find_peaks(none, 5, 5)) == choose_candidates([], 5, 5, 2) == []


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ([], []),
        ([[], []], []),
        ([[1, 2, 3], [3, 4]], [1, 3, 2, 4]),
        ([[1], [2, 3, 4]], [1, 2, 3, 4]),
        ([[(1, 2)], [(1, 2), (3, 4)]], [(1, 2), (3, 4)]),
    ],
)
def test_orders_are_merged_in_turn(orders: list[list[object]], expected: list[object]) -> None:
    assert in_turn(orders) == expected
