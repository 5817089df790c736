import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from localmatch.images import printable
from localmatch.report.results import decode_mask, encode_mask, flagged_share
from localmatch.report.writer import picture_folder


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_masks_survive_run_length_encoding(mask: np.ndarray) -> None:
    record = encode_mask(mask)
    assert sum(record["counts"]) == mask.size
    assert np.array_equal(decode_mask(record), mask)


def test_run_lengths_are_coco_s() -> None:
    mask = np.array([[0, 1], [1, 1], [0, 1]], bool)
    assert encode_mask(mask) == {"size": [3, 2], "counts": [1, 1, 1, 3]}
    assert encode_mask(~mask)["counts"] == [0, 1, 1, 1, 3]


def test_share_has_an_interval() -> None:
    share = flagged_share([{"flagged": True}, {"flagged": False}, {"error": "x"}])
    assert share is not None
    assert share["share"] == 0.5
    assert 0.05 < share["low"] < 0.15
    assert flagged_share([{"flagged": None}]) is None


@pytest.mark.parametrize("name", ["a.png", "../../x.png", "a/b\nc.png", "\udcff.png", "ü" * 300, "a b&<>.png"])
def test_any_name_makes_a_safe_folder_and_a_printable_text(name: str) -> None:
    folder = picture_folder(name)
    assert folder.isascii()
    assert folder.count("/") == 1
    assert ".." not in folder
    assert len(folder) < 80
    assert printable(name).isprintable()
    printable(name).encode()


@given(st.text(), st.text())
def test_folders_do_not_meet(first: str, second: str) -> None:
    assert (picture_folder(first) == picture_folder(second)) == (first == second)
