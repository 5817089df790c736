"""The families of changes that a copy goes through; each draws its strength from its own random numbers."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.pictures import Pixels

Random = np.random.Generator

WORDS = ("SALE", "new 2024", "draft", "(c) studio", "No. 17", "sample", "www.example.org")


def geometry(rng: Random, family: str) -> NDArray[np.float64]:
    """(3, 3) homography, query -> reference about the region's centre; unit of length: half the region's diagonal."""
    matrix = np.eye(3)
    if family == "mirror":
        matrix[0, 0] = -1
    elif family == "scale":
        matrix[:2, :2] /= 2 ** rng.uniform(-1, 1)
    elif family in ("rotate_15", "rotate_45"):
        matrix[:2, :2] = rotation(
            rng.uniform(-15, 15) if family == "rotate_15" else rng.choice([-1, 1]) * rng.uniform(15, 45)
        )
    elif family == "right_angle":
        matrix[:2, :2] = rotation(rng.choice([90, 180, 270]))
    elif family == "perspective":
        matrix[2, :2] = rng.uniform(0.06, 0.16, 2) * rng.choice([-1, 1], 2)
    return matrix


def rotation(degrees: float) -> NDArray[np.float64]:
    """(2, 2) rotation."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


def displacement(rng: Random, height: int, width: int, amount: float) -> NDArray[np.float32]:
    """(H, W, 2) smooth field of shifts of about `amount` pixels."""
    coarse = rng.normal(0, amount, (5, 5, 2)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _resample(rng: Random, piece: Pixels, _: Pixels) -> Pixels:
    factor = rng.uniform(0.45, 0.75)
    small = cv2.resize(piece, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, piece.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


def _blur(rng: Random, piece: Pixels, _: Pixels) -> Pixels:
    return np.asarray(cv2.GaussianBlur(piece, (0, 0), rng.uniform(0.7, 2.0)), np.uint8)


def _noise(rng: Random, piece: Pixels, _: Pixels) -> Pixels:
    return _bytes(piece + rng.normal(0, rng.uniform(4, 16), piece.shape))


def _tone(rng: Random, piece: Pixels, _: Pixels) -> Pixels:
    value = (piece / 255) ** rng.uniform(0.5, 2.0)
    return _bytes(((value - 0.5) * rng.uniform(0.6, 1.3) + 0.5 + rng.uniform(-0.1, 0.1)) * 255)


def _colour(rng: Random, piece: Pixels, _: Pixels) -> Pixels:
    hsv = cv2.cvtColor(piece, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(15, 165)) % 180
    hsv[..., 1] = (hsv[..., 1] * rng.uniform(0.4, 1.6)).clip(0, 255)
    return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)


def _gray(_: Random, piece: Pixels, __: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(piece, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)


def _regenerate(rng: Random, piece: Pixels, _: Pixels) -> Pixels:
    """Strong denoising, and detail made up again from a lower resolution."""
    clean = cv2.fastNlMeansDenoisingColored(piece, None, float(rng.uniform(6, 14)), 10, 5, 15)
    factor = rng.uniform(0.4, 0.6)
    small = cv2.resize(clean, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, piece.shape[1::-1], interpolation=cv2.INTER_LANCZOS4).astype(np.float32)
    return _bytes(large + 1.2 * (large - cv2.GaussianBlur(large, (0, 0), 1.5)) + rng.normal(0, 2, piece.shape))


def _smooth(rng: Random, piece: Pixels, _: Pixels) -> Pixels:
    return np.asarray(
        cv2.edgePreservingFilter(piece, flags=1, sigma_s=20, sigma_r=float(rng.uniform(0.2, 0.45))), np.uint8
    )


def _transfer(_: Random, piece: Pixels, host: Pixels) -> Pixels:
    """The host's colours: means and deviations of Lab (Reinhard et al. 2001)."""
    own, other = (cv2.cvtColor(one, cv2.COLOR_RGB2LAB).astype(np.float32) for one in (piece, host))
    (mean, deviation), (to_mean, to_deviation) = ((one.mean((0, 1)), one.std((0, 1)) + 4) for one in (own, other))
    moved = (own - mean) / deviation * np.maximum(to_deviation, deviation * 0.5) + to_mean
    return np.asarray(cv2.cvtColor(_bytes(moved), cv2.COLOR_LAB2RGB), np.uint8)


def _text(rng: Random, piece: Pixels, _: Pixels) -> Pixels:
    """Words and a sticker on top."""
    out = piece.copy()
    height, width = piece.shape[:2]
    for _n in range(int(rng.integers(1, 3))):
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        at = int(rng.uniform(0, 0.5) * width), int(rng.uniform(0.2, 0.95) * height)
        size = height / 90 * rng.uniform(0.6, 1.4)
        cv2.putText(
            out,
            str(rng.choice(WORDS)),
            at,
            cv2.FONT_HERSHEY_DUPLEX,
            size,
            colour,
            max(1, round(1.5 * size)),
            cv2.LINE_AA,
        )
    centre = int(rng.uniform(0.2, 0.8) * width), int(rng.uniform(0.2, 0.8) * height)
    cv2.circle(
        out,
        centre,
        max(2, int(0.13 * min(width, height))),
        tuple(int(c) for c in rng.integers(0, 256, 3)),
        -1,
        cv2.LINE_AA,
    )
    return out


def _bytes(values: NDArray[np.floating]) -> Pixels:
    return np.asarray(values.round().clip(0, 255), np.uint8)


PHOTOMETRIC: dict[str, Callable[[Random, Pixels, Pixels], Pixels]] = {
    "resample": _resample,
    "blur": _blur,
    "noise": _noise,
    "tone": _tone,
    "colour": _colour,
    "gray": _gray,
    "regenerate": _regenerate,
    "smooth": _smooth,
    "transfer": _transfer,
    "text": _text,
}
"""(random numbers, the piece, the host) -> the changed piece."""

GEOMETRIC = ("mirror", "scale", "rotate_15", "rotate_45", "right_angle", "perspective", "local_warp")
BLENDED = ("jpeg", "opacity", "feather", "occlusion")
SINGLE = (*GEOMETRIC, *PHOTOMETRIC, *BLENDED)
"""The families of one change."""


def combination(rng: Random) -> tuple[str, ...]:
    """One change of each kind; those that few systems claim (right angles, rotation over 15 degrees) left out."""
    geometric = rng.choice([one for one in GEOMETRIC if one not in ("right_angle", "rotate_45")])
    return str(geometric), str(rng.choice(list(PHOTOMETRIC))), str(rng.choice(BLENDED))
