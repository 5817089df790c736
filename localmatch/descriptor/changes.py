"""Changes that copies undergo, drawn at random: what the descriptor learns to be blind to, beside geometry and hosts.

They are made before an image is scaled to a pyramid level: the same blur hides more of a fine level than of a coarse.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Random = np.random.Generator
Pixels = NDArray[np.uint8]
"""(S, S, 3) RGB."""

MOST_CHANGES = 3
"""Changes that one image undergoes at most."""


def change(image: Pixels, rng: Random) -> Pixels:
    """A copy of a square image, (S, S, 3) uint8 RGB, after at most `MOST_CHANGES` changes in random order."""
    changed = 0
    for number in rng.permutation(len(_CHANGES)):
        share, make = _CHANGES[number]
        if rng.random() < share:
            image = make(image, rng)
            changed += 1
        if changed == MOST_CHANGES:
            break
    return image


def _resample(image: Pixels, rng: Random) -> Pixels:
    enlarge = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)[int(rng.integers(3))]
    return _through(image, rng.uniform(0.4, 0.8), enlarge)


def _blur(image: Pixels, rng: Random) -> Pixels:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.2)), np.uint8)


def _noise(image: Pixels, rng: Random) -> Pixels:
    return _bytes(image + rng.normal(0, rng.uniform(2, 18), image.shape))


def _tone(image: Pixels, rng: Random) -> Pixels:
    value = (image / 255) ** rng.uniform(0.5, 2)
    return _bytes(((value - 0.5) * rng.uniform(0.5, 1.4) + 0.5 + rng.uniform(-0.15, 0.15)) * 255)


def _colours(image: Pixels, rng: Random) -> Pixels:
    """Other colours from mixed channels, some of them turned into their negative."""
    mix = np.eye(3) * rng.uniform(0.3, 1) + rng.uniform(-0.4, 0.6, (3, 3))
    mix /= max(0.4, float(np.abs(mix.sum(1)).mean()))
    return _bytes(image @ mix.T + rng.uniform(-20, 20, 3))


def _smooth(image: Pixels, rng: Random) -> Pixels:
    """Smoothed between edges."""
    if rng.random() < 0.6:
        smooth = cv2.bilateralFilter(image, 5, rng.uniform(30, 90), rng.uniform(2, 5))
    else:
        smooth = cv2.edgePreservingFilter(image, flags=1, sigma_s=20, sigma_r=float(rng.uniform(0.15, 0.45)))
    return np.asarray(smooth, np.uint8)


def _regenerate(image: Pixels, rng: Random) -> Pixels:
    """Denoised, and detail made up from a lower resolution."""
    clean = cv2.medianBlur(image, 3) if rng.random() < 0.5 else cv2.bilateralFilter(image, 5, 40, 3)
    large = _through(np.asarray(clean, np.uint8), rng.uniform(0.4, 0.65), cv2.INTER_LANCZOS4).astype(np.float32)
    detail = large - cv2.GaussianBlur(large, (0, 0), 1.5)
    return _bytes(large + rng.uniform(0.5, 1.5) * detail + rng.normal(0, rng.uniform(0, 4), image.shape))


def _cover(image: Pixels, rng: Random) -> Pixels:
    """Letters or a dot on top."""
    side, colour = len(image), tuple(map(int, rng.integers(0, 256, 3)))
    covered = image.copy()
    if rng.random() < 0.5:
        text = "".join(map(chr, rng.integers(48, 122, 6)))
        at, size = (rng.uniform((0, 0.2), (0.5, 0.9)) * side).astype(int).tolist(), side / 160 * rng.uniform(0.5, 1.4)
        cv2.putText(covered, text, at, cv2.FONT_HERSHEY_DUPLEX, size, colour, max(1, side // 100), cv2.LINE_AA)
    else:
        at, radius = (rng.uniform(0.1, 0.9, 2) * side).astype(int).tolist(), int(side * rng.uniform(0.03, 0.1))
        cv2.circle(covered, at, radius, colour, -1, cv2.LINE_AA)
    return covered


def _jpeg(image: Pixels, rng: Random) -> Pixels:
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 96))])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


_CHANGES = (
    (0.2, _resample),
    (0.25, _blur),
    (0.25, _noise),
    (0.35, _tone),
    (0.25, _colours),
    (0.12, _smooth),
    (0.12, _regenerate),
    (0.12, _cover),
    (0.4, _jpeg),
)
"""Changes, each with how often it is made."""


def _through(image: Pixels, factor: float, enlarge: int) -> Pixels:
    """The image scaled down by a factor and back."""
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=enlarge), np.uint8)


def _bytes(values: NDArray[np.floating]) -> Pixels:
    return np.asarray(values.round().clip(0, 255), np.uint8)
