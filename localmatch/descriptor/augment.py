"""Pairs of views of one window, with the places that correspond: what the descriptor learns to be blind to.

The changes are those that copies undergo: rotation, scale, perspective, colour, blur, noise, recompression, and a host
image around the copied piece.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from kornia import augmentation
from kornia.color import rgb_to_grayscale
from kornia.feature import gftt_response
from kornia.geometry import transform_points, warp_perspective
from numpy.typing import NDArray
from torch import Tensor, nn

WINDOW, VIEW = 160, 112
"""Sides of the training window and of the views cut out of its middle, in level pixels."""

ROTATION, LOG2_SCALE, PERSPECTIVE, SHIFT = math.radians(22), 0.35, 0.04, 6.0
"""Strongest geometric change: radians, octaves, corner displacement as a share of the view, level pixels."""

JITTER = 0.7
"""Standard deviation, in level pixels, of the error put on corresponding places, as a corner detector would."""

HOSTED, PIECE, PIECE_SHIFT = 0.75, (36, 170), 43.2
"""Share of second views that are a piece in a host; the least and longest side of pieces, and the widest range of their
middles, in level pixels."""

EDGE = 14
"""Corresponding places stay this far, in level pixels, from the edges of both views."""


@dataclass(frozen=True)
class Views:
    """Two views and their corresponding places.

    Attributes:
        first, second: (B, 1, 112, 112) gray in [0, 1].
        first_xy, second_xy: (B, P, 2) level pixels, top-left corner origin.
        valid: (B, P) bool; False where the place left the second view or lies under the host.
    """

    first: Tensor
    second: Tensor
    first_xy: Tensor
    second_xy: Tensor
    valid: Tensor


class ViewMaker(nn.Module):
    """Makes `Views` of training windows, on their device; draws from torch's global generators."""

    def __init__(self, points: int) -> None:
        super().__init__()
        self.points = points
        self.mild = nn.Sequential(
            augmentation.ColorJiggle(0.1, 0.1, 0.1, 0.02, p=0.3),
            augmentation.RandomGaussianNoise(std=0.01, p=0.3),
        )
        self.strong = nn.Sequential(
            augmentation.ColorJiggle(0.3, 0.4, 0.5, 0.3, p=0.7),
            augmentation.RandomGamma((0.5, 1.8), p=0.4),
            augmentation.RandomGaussianBlur((5, 5), (0.4, 1.6), p=0.35),
            augmentation.RandomSharpness(1.5, p=0.15),
            augmentation.RandomGaussianNoise(std=0.03, p=0.35),
        )

    @torch.no_grad()
    def forward(self, plain: Tensor, recompressed: Tensor) -> Views:
        """Make the views; both inputs (B, 3, 160, 160) in [0, 1], the second a recompressed form of the first."""
        batch = len(plain)
        border = (WINDOW - VIEW) // 2
        first = rgb_to_grayscale(self.mild(plain[..., border:-border, border:-border]).clamp(0, 1))
        homography = _random_homography(batch).to(plain.device)
        second = warp_perspective(
            recompressed, _about_middle(homography, WINDOW, VIEW), (VIEW, VIEW), padding_mode="border"
        )
        covered = _covered(batch).to(plain.device)
        second = torch.where(covered, second.roll(1, 0), second)
        second = rgb_to_grayscale(self.strong(second).clamp(0, 1))
        first_xy = self._corners(first)
        second_xy = transform_points(_about_middle(homography, VIEW, VIEW), first_xy - 0.5) + 0.5
        second_xy = second_xy + JITTER * torch.randn(second_xy.shape).to(plain.device)
        return Views(first, second, first_xy, second_xy, _visible(second_xy, covered))

    def _corners(self, gray: Tensor) -> Tensor:
        """Random places, drawn in proportion to the fourth root of their corner response; (B, P, 2)."""
        inner = gftt_response(gray)[:, 0, EDGE:-EDGE, EDGE:-EDGE].clamp_min(1e-9).pow(0.25).flatten(1)
        index = torch.multinomial(inner, self.points)
        side = VIEW - 2 * EDGE
        corner = torch.stack([index % side, index // side], -1).float() + EDGE
        return corner + torch.rand(corner.shape).to(corner.device)


def _random_homography(batch: int) -> Tensor:
    """Rotation, scale, aspect, shear, shift and perspective about the view's middle; (B, 3, 3)."""
    angle = (2 * torch.rand(batch) - 1) * ROTATION
    scale = 2 ** ((2 * torch.rand(batch) - 1) * LOG2_SCALE)
    aspect = 2 ** ((2 * torch.rand(batch) - 1) * 0.12)
    shear = (2 * torch.rand(batch) - 1) * 0.08
    tilt = (2 * torch.rand(batch, 2) - 1) * PERSPECTIVE / VIEW
    shift = (2 * torch.rand(batch, 2) - 1) * SHIFT
    cos, sin, zero, one = angle.cos() * scale, angle.sin() * scale, torch.zeros(batch), torch.ones(batch)
    rows = [cos * aspect, shear - sin, shift[:, 0], sin * aspect, cos, shift[:, 1], tilt[:, 0], tilt[:, 1], one + zero]
    return torch.stack(rows, 1).reshape(batch, 3, 3)


def _about_middle(homography: Tensor, source: int, target: int) -> Tensor:
    """The homography between pixel indices of square images of two sides, both with the middle as its origin."""
    to_target, to_source = _translation((target - 1) / 2), _translation(-(source - 1) / 2)
    return to_target.to(homography) @ homography @ to_source.to(homography)


def _translation(offset: float) -> Tensor:
    return torch.tensor([[[1, 0, offset], [0, 1, offset], [0, 0, 1]]], dtype=torch.float32)


def _covered(batch: int) -> Tensor:
    """Which pixels of views lie under another image, (B, 1, S, S) bool: all but a piece of most views.

    Pieces are turned rectangles and ellipses; many are so small that every window in them reaches into the host.
    """
    side = torch.exp(torch.empty(batch, 2).uniform_(*map(math.log, PIECE)))
    middle = (torch.rand(batch, 2) - 0.5) * PIECE_SHIFT
    angle = torch.where(torch.rand(batch) < 0.5, 0.0, torch.rand(batch) * math.pi)[:, None, None]
    axis = torch.arange(VIEW) - (VIEW - 1) / 2
    x, y = axis - middle[:, 0, None, None], axis[:, None] - middle[:, 1, None, None]
    along = 2 * (x * angle.cos() + y * angle.sin()) / side[:, 0, None, None]
    across = 2 * (y * angle.cos() - x * angle.sin()) / side[:, 1, None, None]
    rectangle = torch.maximum(along.abs(), across.abs()) < 1
    ellipse = along.square() + across.square() < 1.3
    piece = torch.where(torch.rand(batch, 1, 1) < 0.6, rectangle, ellipse)
    covered = ~piece & (torch.rand(batch, 1, 1) < HOSTED)
    return covered[:, None]


def _visible(xy: Tensor, covered: Tensor) -> Tensor:
    """Whether places lie inside the view, off its edges, and not under the host."""
    inside = ((xy > EDGE) & (xy < VIEW - EDGE)).all(-1)
    pixel = xy.clamp(0, VIEW - 1).long()
    under = covered[:, 0].flatten(1).gather(1, pixel[..., 1] * VIEW + pixel[..., 0])
    return inside & ~under


def cut_window(image: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A random window of an image at a random pyramid scale, plain and recompressed; both (160, 160, 3) uint8."""
    height, width = image.shape[:2]
    largest = min(height, width) / WINDOW
    scale = min(0.5 * 2 ** (4 * rng.beta(1, 1.6)), largest)
    side = max(32, min(round(WINDOW * scale), height, width))
    x, y = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
    window = np.ascontiguousarray(image[y : y + side, x : x + side])
    if rng.random() < 0.5:
        quality = int(rng.integers(20, 96))
        _, encoded = cv2.imencode(".jpg", window, [cv2.IMWRITE_JPEG_QUALITY, quality])
        recompressed = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    elif rng.random() < 0.5:
        smaller = max(16, round(side * rng.uniform(0.5, 1)))
        recompressed = np.asarray(cv2.resize(window, (smaller, smaller), interpolation=cv2.INTER_AREA), np.uint8)
    else:
        recompressed = window
    return _to_window(window), _to_window(recompressed)


def _to_window(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    interpolation = cv2.INTER_AREA if len(image) > WINDOW else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (WINDOW, WINDOW), interpolation=interpolation), np.uint8)
