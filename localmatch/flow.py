"""What affine map and homography leave over: a smooth flow, of a copy that was bent.

A flow also brings the second photograph of a carpet into register, which an affine map does not. So register is no
evidence here; what only a copy has is that the pixels are then the same, down to the grain.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from localmatch.records import Level, Mapping
from localmatch.registration import displacement
from localmatch.views import View
from localmatch.warping import normalised, warp

COARSE, FINE, ROUNDS = (5, 4, 3, 2), (3, 2, 1, 0), 2
"""The flow is found from coarse to fine, on the finest levels from these indices on, in so many steps each."""

WINDOW, LARGEST_STEP = 4.0, 2.0
"""Standard deviation of the Gaussian windows in which flow is constant, and the largest step, in level pixels."""

DAMPING = 0.02
"""Gradient energy at which a step is halved; of contrast-normalised pixels."""

BEYOND = 1e-3
"""Weight of pixels that do not look alike: they take the flow of those around."""

SAME_FROM, SAME_WINDOW, SAME_DIFFERENCE = 0, 3.0, 0.03
"""Pixels are the same where, on the finest level from this index on and in Gaussian windows of this deviation in level
pixels, the images differ by less than this share of their energy: 48 to 87% of the texture of bent copies, at most 17%
of that of second photographs. Finer levels are interpolated, and differ by that alone."""

SAME_FLOOR = 1e-3
"""Energy below which pixels show nothing to compare."""


def find_flow(
    view: View, reference: list[Level], mapping: Mapping, alike: NDArray[np.bool_], from_levels: Sequence[int]
) -> Mapping:
    """The mapping with the flow, beyond that which it has, by which the reference equals the view.

    Iterated Lucas-Kanade steps (IJCAI 1981) on contrast-normalised pixels, from coarse to fine.

    Args:
        view: Where on the query.
        reference: Pyramid of the reference.
        mapping: Query -> reference.
        alike: (h, w) which pixels of the view look like the reference.
        from_levels: `COARSE` or `FINE`.
    """
    flow = np.zeros((*alike.shape, 2), np.float32) if mapping.flow is None else mapping.flow
    levels = {level.index: level for first in from_levels for level in view.finest(first, 1)}
    for level in levels.values():
        own, chosen = normalised(level.gray.numpy()), view.on_level(alike.astype(np.float32), level)
        for _ in range(ROUNDS):
            warped, inside = warp(reference, level, Mapping(mapping.affine, flow, view.corner))
            step, _ = displacement(own, normalised(warped), WINDOW, chosen * inside + BEYOND, DAMPING)
            pixels = step.clip(-LARGEST_STEP, LARGEST_STEP) * np.array(level.scale, np.float32)
            flow = flow + view.resample(pixels, level)
    return Mapping(mapping.affine, flow, view.corner)


def same_pixels(view: View, reference: list[Level], mapping: Mapping) -> NDArray[np.float32]:
    """Which pixels of a view are the same as those of the warped reference, brightness and contrast apart.

    Returns:
        (1, h, w) float32 in [0, 1].
    """
    (level,) = view.finest(SAME_FROM, 1)
    warped, _ = warp(reference, level, mapping)
    own, other = normalised(level.gray.numpy()), normalised(warped)
    difference, energy = (cv2.GaussianBlur(one, (0, 0), SAME_WINDOW) for one in ((other - own) ** 2, own * own))
    same = difference < SAME_DIFFERENCE * (energy + SAME_FLOOR)
    return view.resample(same.astype(np.float32), level)[None]
