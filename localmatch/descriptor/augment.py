"""Pairs of views of one window, with the places that correspond: what the descriptor learns to be blind to.

The second view is changed as copies are (`changes.py`), turned, scaled, seen in perspective, and mostly a piece in
another image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from kornia.feature import gftt_response
from kornia.geometry import transform_points, warp_perspective
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from localmatch.descriptor.changes import Pixels, Random, change

WINDOW, VIEW = 160, 112
"""Sides of the training window and of the views cut out of its middle, in level pixels."""

ROTATION, LOG2_SCALE, PERSPECTIVE, SHIFT = math.radians(22), 0.35, 0.04, 6.0
"""Strongest geometric change: radians, octaves, corner displacement as a share of the view, level pixels."""

JITTER = 0.7
"""Standard deviation, in level pixels, of the error put on corresponding places, as a corner detector would."""

HOSTED, PIECE, PIECE_SHIFT = 0.75, (32, 170), 43.2
"""Share of second views that are a piece in a host; the least and longest side of pieces, and the widest range of their
middles, in level pixels."""

TRIES, FLAT = 3, 6.0
"""Windows are drawn so often until one has such a standard deviation, in gray levels."""

LARGEST_CHANGED = 320
"""Windows are scaled down to this side before they are changed, which bounds the time."""

MILD_NOISE = 0.01
"""Standard deviation of the noise of some first views."""

FEATHER = (1.0, 6.0)
"""Standard deviations, in level pixels, of the filter that softens the edges of some pieces."""

PEAK_RADIUS, PEAK_WEIGHT = 4, 60.0
"""Corners whose response is the highest within so many level pixels are drawn so much more often: patches have them for
centres."""

HIDDEN = 0.65
"""Places of which more is of another image do not correspond."""

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


@torch.no_grad()
def make_views(plain: Tensor, changed: Tensor, points: int) -> Views:
    """Make views of training windows, on their device; draws from torch's global generators.

    Args:
        plain: (B, 1, 160, 160) gray in [0, 1].
        changed: The same, after the changes of a copy.
        points: Corresponding places a window.
    """
    batch = len(plain)
    border = (WINDOW - VIEW) // 2
    first = plain[..., border:-border, border:-border]
    first = first + MILD_NOISE * torch.randn(first.shape).to(first) * (torch.rand(batch, 1, 1, 1) < 0.3).to(first)
    homography = _random_homography(batch).to(plain.device)
    second = warp_perspective(changed, _about_middle(homography, WINDOW, VIEW), (VIEW, VIEW), padding_mode="border")
    covered = _covered(batch).to(plain.device)
    # Hosts come from the unchanged windows of others.
    host = plain.roll(1, 0)[..., border:-border, border:-border].flip(-1)
    second = second + covered * (host - second)
    first_xy = _corners(first, points)
    second_xy = transform_points(_about_middle(homography, VIEW, VIEW), first_xy - 0.5) + 0.5
    second_xy = second_xy + JITTER * torch.randn(second_xy.shape).to(plain.device)
    return Views(first.clamp(0, 1), second.clamp(0, 1), first_xy, second_xy, _visible(second_xy, covered))


def _corners(gray: Tensor, points: int) -> Tensor:
    """Random places, drawn in proportion to the fourth root of their corner response, peaks often; (B, P, 2)."""
    response = gftt_response(gray)
    peak = response == functional.max_pool2d(response, 2 * PEAK_RADIUS + 1, 1, PEAK_RADIUS)
    weight = response.clamp_min(1e-9).pow(0.25) * torch.where(peak, PEAK_WEIGHT, 1.0)
    index = torch.multinomial(weight[:, 0, EDGE:-EDGE, EDGE:-EDGE].flatten(1), points)
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
    """How much of views is of another image, (B, 1, S, S) in [0, 1]: all but a piece of most views.

    Pieces are turned rectangles and ellipses; many are so small that every window in them reaches into the host. Some
    have soft edges, some the host shines through, and some views have a hole.
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
    piece = torch.where(torch.rand(batch, 1, 1) < 0.6, rectangle, ellipse) | (torch.rand(batch, 1, 1) > HOSTED)
    shown = torch.stack([_feathered(one) if torch.rand(()) < 0.25 else one.float() for one in piece])
    shown *= torch.where(torch.rand(batch, 1, 1) < 0.15, torch.empty(batch, 1, 1).uniform_(0.5, 1), 1.0)
    for number in torch.nonzero(torch.rand(batch) < 0.15).flatten().tolist():
        (column, row), hole = torch.randint(VIEW, (2,)).tolist(), int(torch.randint(6, 30, ()))
        shown[number, row : row + hole, column : column + hole] = 0
    return 1 - shown[:, None]


def _feathered(piece: Tensor) -> Tensor:
    """A mask (S, S) with soft edges."""
    sigma = float(torch.empty(()).uniform_(*FEATHER))
    return torch.from_numpy(cv2.GaussianBlur(piece.float().numpy(), (0, 0), sigma))


def _visible(xy: Tensor, covered: Tensor) -> Tensor:
    """Whether places lie inside the view, off its edges, and not under the host."""
    inside = ((xy > EDGE) & (xy < VIEW - EDGE)).all(-1)
    pixel = xy.clamp(0, VIEW - 1).long()
    under = covered[:, 0].flatten(1).gather(1, pixel[..., 1] * VIEW + pixel[..., 0])
    return inside & (under < HIDDEN)


def cut_window(image: Pixels, rng: Random) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A random window of an image at a random pyramid scale, plain and changed; both (160, 160) uint8 gray."""
    height, width = image.shape[:2]
    largest = min(height, width) / WINDOW
    scale = min(0.5 * 2 ** (4 * rng.beta(1, 1.6)), largest)
    side = max(32, min(round(WINDOW * scale), height, width))
    for _ in range(TRIES):
        x, y = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
        window = np.ascontiguousarray(image[y : y + side, x : x + side])
        if window.std() > FLAT:
            break
    if side > LARGEST_CHANGED:
        shape = (LARGEST_CHANGED, LARGEST_CHANGED)
        window = np.asarray(cv2.resize(window, shape, interpolation=cv2.INTER_AREA), np.uint8)
    return _to_window(window), _to_window(change(window, rng))


def _to_window(image: Pixels) -> NDArray[np.uint8]:
    interpolation = cv2.INTER_AREA if len(image) > WINDOW else cv2.INTER_LINEAR
    resized = cv2.resize(image, (WINDOW, WINDOW), interpolation=interpolation)
    return np.asarray(cv2.cvtColor(resized, cv2.COLOR_RGB2GRAY), np.uint8)
