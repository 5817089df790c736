"""Procedural training images: line drawings and textures, which photographs alone do not teach."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 512
"""Side of a procedural image, in pixels."""

_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, cv2.FONT_HERSHEY_PLAIN)


def draw(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random line drawing or texture, (512, 512, 3) uint8."""
    return _line_drawing(rng) if rng.random() < 0.6 else _texture(rng)


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def _line_drawing(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Strokes, outlines, circles, filled shapes, hatching and text on plain paper."""
    paper = 255 if rng.random() < 0.7 else int(rng.integers(0, 256))
    image = np.full((SIDE, SIDE, 3), paper, np.uint8)
    ink = (0, 0, 0) if rng.random() < 0.6 else _colour(rng)
    for _ in range(int(rng.integers(15, 90))):
        colour = ink if rng.random() < 0.8 else _colour(rng)
        x, y = rng.integers(0, SIDE, 2).tolist()
        size = int(rng.integers(6, 160))
        width = int(rng.integers(1, 6)) if rng.random() < 0.8 else -1
        kind = rng.integers(0, 6)
        if kind == 0:
            cv2.line(image, (x, y), tuple(rng.integers(0, SIDE, 2).tolist()), colour, abs(width), cv2.LINE_AA)
        elif kind == 1:
            cv2.rectangle(image, (x, y), (x + size, y + int(rng.integers(6, 160))), colour, width, cv2.LINE_AA)
        elif kind == 2:
            axes = (size // 2 + 1, int(rng.integers(3, 80)))
            cv2.ellipse(image, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, colour, width, cv2.LINE_AA)
        elif kind == 3:
            corners = np.array([x, y]) + rng.integers(-size, size + 1, (int(rng.integers(3, 8)), 2))
            cv2.polylines(image, [corners.astype(np.int32)], bool(rng.random() < 0.7), colour, abs(width), cv2.LINE_AA)
        elif kind == 4:
            text = "".join(chr(c) for c in rng.integers(33, 122, int(rng.integers(1, 9))))
            font = _FONTS[int(rng.integers(len(_FONTS)))]
            cv2.putText(image, text, (x, y), font, float(rng.uniform(0.4, 3)), colour, abs(width), cv2.LINE_AA)
        else:
            step = int(rng.integers(4, 14))
            for offset in range(0, size, step):
                cv2.line(image, (x + offset, y), (x + offset - size // 3, y + size), colour, 1, cv2.LINE_AA)
    return image


def _texture(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Noise of several octaves, blended between two colours, sometimes with a woven grid."""
    field = np.zeros((SIDE, SIDE), np.float32)
    for octave in range(int(rng.integers(2, 6)), 9):
        side = max(2, SIDE >> (8 - octave))
        noise = rng.standard_normal((side, int(side * rng.uniform(0.5, 1)) + 1)).astype(np.float32)
        field += cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) * rng.uniform(0.2, 1)
    if rng.random() < 0.4:
        y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
        period = rng.uniform(6, 60, 2)
        field += rng.uniform(0.5, 2) * (np.sin(2 * np.pi * x / period[0]) + np.sin(2 * np.pi * y / period[1]))
    low, high = field.min(), field.max()
    blend = ((field - low) / (high - low + 1e-6))[..., None]
    first, second = rng.integers(0, 256, 3), rng.integers(0, 256, 3)
    return np.asarray(first * (1 - blend) + second * blend, np.uint8)
