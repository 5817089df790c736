"""What bends a copy is found, and tells it from a second photograph of the same."""

import cv2
import numpy as np
import pytest
from helpers import encoded, photo

from localmatch import flow
from localmatch.geometry import project
from localmatch.patches import pyramid
from localmatch.records import Mapping
from localmatch.structure import structure
from localmatch.views import View, view_of
from localmatch.warping import affine_within, warp

IDENTITY = np.eye(2, 3)
BOX = (150.0, 40.0, 390.0, 260.0)


def bend(height: int, width: int, amount: float) -> np.ndarray:
    """(height, width, 2) smooth displacement in pixels."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return amount * np.dstack([np.sin(y / 25) * np.cos(x / 40), np.cos(x / 30)])


def bent(image: np.ndarray, amount: float) -> np.ndarray:
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return cv2.remap(image, np.dstack([x, y]) + bend(height, width, amount), None, cv2.INTER_CUBIC)


def found(query: np.ndarray, reference: np.ndarray) -> tuple[View, Mapping]:
    view = view_of(encoded(query, 100), BOX)
    mapping, alike = Mapping(IDENTITY), np.ones(view.size[::-1], bool)
    for levels in (flow.COARSE, flow.FINE):
        mapping = flow.find_flow(view, pyramid(reference), mapping, alike, levels)
    return view, mapping


@pytest.mark.parametrize("amount", [0.0, 1.5, 3.0])
def test_a_flow_is_what_bent_the_copy(amount: float) -> None:
    query = bent(photo("coffee"), amount)
    view, mapping = found(query, photo("coffee"))
    _, distinct = structure(cv2.cvtColor(query, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255)
    told = distinct[view.slices][20:-20, 20:-20] > 0.3  # where there is something to tell it by
    miss = np.linalg.norm(mapping.flow - bend(400, 600, amount)[view.slices], axis=-1)[20:-20, 20:-20]
    assert np.median(miss[told]) < 0.15
    same = flow.same_pixels(view, pyramid(photo("coffee")), mapping)
    assert same[0, 20:-20, 20:-20][told].mean() > 0.7


def test_a_bent_picture_with_other_grain_is_not_the_same() -> None:
    grain = np.random.default_rng(0).normal(0, 12, photo("coffee").shape)
    query = (bent(photo("coffee"), 3) + grain).clip(0, 255).astype(np.uint8)
    view, mapping = found(query, photo("coffee"))
    assert flow.same_pixels(view, pyramid(photo("coffee")), mapping).mean() < 0.4


def test_a_view_of_one_pixel_has_a_flow() -> None:
    view = view_of(encoded(photo("coffee"), 100), (300, 200, 300.5, 200.5))
    mapping = flow.find_flow(view, pyramid(photo("coffee")), Mapping(IDENTITY), np.ones((1, 1), bool), flow.COARSE)
    assert mapping.flow.shape == (1, 1, 2)
    assert np.isfinite(mapping.flow).all()


def test_a_warp_by_a_flow_is_the_warp_by_the_affine_map_that_it_is() -> None:
    affine = np.array([[1.1, 0.1, 8.0], [-0.1, 1.05, 30.0]])
    view = view_of(encoded(photo("coffee"), 100), BOX)
    y, x = np.mgrid[: view.size[1], : view.size[0]].astype(np.float32)
    xy = (np.dstack([x, y]) + view.corner + 0.5).reshape(-1, 2)
    moved = (project(affine, xy) - xy).reshape(*view.size[::-1], 2).astype(np.float32)
    mapping = Mapping(IDENTITY, moved, view.corner)
    for level in view.finest(-1, 4):
        (one, one_inside), (other, other_inside) = (
            warp(pyramid(photo("coffee")), level, which) for which in (mapping, Mapping(affine))
        )
        inner = np.s_[6:-6, 6:-6]  # a view ends within its outermost cells; beyond, the flow stays what it is
        assert np.abs(one - other)[inner].mean() < 0.01
        assert (one_inside == other_inside)[inner].mean() > 0.99
    mask = np.zeros((400, 600), bool)
    mask[60:200, 170:300] = True
    np.testing.assert_allclose(affine_within(mask, mapping), affine, atol=0.02)
    assert affine_within(mask, Mapping(affine)) is affine
