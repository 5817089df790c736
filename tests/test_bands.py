"""Coarse detail: what ruins a copy leaves it, what a second photograph is differs in it."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from helpers import bent, noisy, photo
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from localmatch.bands import band_correlation

SIDE = 160


def gray(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[40 : 40 + SIDE, 80 : 80 + SIDE].astype(np.float32) / 255


def square(side: int) -> NDArray[np.bool_]:
    area = np.zeros((SIDE, SIDE), bool)
    area[20 : 20 + side, 30 : 30 + side] = True
    return area


def from_afar(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """As of a pyramid's level of a quarter of the side."""
    small = cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, image.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def difference(change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> float:
    image = photo("chelsea")
    correlation = band_correlation(from_afar(gray(image)), from_afar(gray(change(image))), square(110))
    assert correlation is not None
    return 1 - correlation


def mosaic(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    small = cv2.resize(image, None, fx=1 / 3, fy=1 / 3, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def lit_from_the_side(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    light = np.linspace(0.4, 1.0, image.shape[1], dtype=np.float32)[None, :, None]
    return np.asarray(image * light, np.uint8)


@pytest.mark.parametrize(
    "ruin", [noisy, lambda i: cv2.GaussianBlur(i, (0, 0), 2), mosaic, lambda i: i // 2 + 60, lambda i: i]
)
def test_what_ruins_fine_detail_leaves_coarse_detail(ruin: Callable) -> None:
    assert difference(ruin) < 0.001


@pytest.mark.parametrize("change", [lambda i: bent(i, 3, 40, 30), lit_from_the_side, lambda i: np.roll(i, 4, 1)])
def test_another_view_and_another_light_change_it(change: Callable) -> None:
    assert difference(change) > 0.002


@given(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1), st.integers(1, 130), st.integers(0, 99))
def test_nothing_beyond_the_area_counts(x: int, y: int, side: int, seed: int) -> None:
    area = np.zeros((SIDE, SIDE), bool)
    area[y : y + side, x : x + side] = True
    own, other, host = np.random.default_rng(seed).random((3, SIDE, SIDE), np.float32)
    found = band_correlation(own, other, area)
    assert found is None or -1.000001 <= found <= 1.000001
    assert found == band_correlation(np.where(area, own, host), np.where(area, other, 1 - host), area)


@pytest.mark.parametrize("side", [0, 1, 20])
def test_areas_too_small_tell_nothing(side: int) -> None:
    own = gray(photo("chelsea"))
    assert band_correlation(own, own, square(side)) is None


def test_flat_images_tell_nothing() -> None:
    flat = np.full((SIDE, SIDE), 0.5, np.float32)
    assert band_correlation(flat, flat, square(110)) == pytest.approx(0, abs=1e-3)
