"""Two images -> by how much the pixels of one are displaced against the other, and what that leaves unexplained."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def displacement(
    own: NDArray[np.float32],
    other: NDArray[np.float32],
    window: float,
    weight: NDArray[np.float32] | None = None,
    damping: float = 1e-4,
    spacing: int = 1,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How pixels of `other` are displaced against `own`: the Lucas-Kanade step (IJCAI 1981).

    Args:
        own, other: (h, w) contrast-normalised images.
        window: Standard deviation, in pixels, of the Gaussian window in which the displacement is constant.
        weight: (h, w) of the pixels; None for equal ones.
        damping: Gradient energy at which the displacement is halved.
        spacing: Pixels between the windows, n.

    Returns:
        step: (h / n, w / n, 2) float32 (x, y), in pixels; sizes are rounded up.
        unexplained: (h / n, w / n) float32, the energy of what it leaves of the images' difference, over theirs: about
            2 where they have nothing in common.
    """
    both, difference = (own + other) / 2, other - own
    dx, dy = (cv2.Sobel(both, cv2.CV_32F, *order, ksize=3) / 8 for order in ((1, 0), (0, 1)))
    size = -(-own.shape[1] // spacing), -(-own.shape[0] // spacing)

    def around(values: NDArray[np.float32]) -> NDArray[np.float32]:
        weighted = values if weight is None else weight * values
        coarse = weighted if spacing == 1 else cv2.resize(weighted, size, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.GaussianBlur(coarse, (0, 0), window / spacing), np.float32)

    least = damping if weight is None else damping * around(np.ones_like(own))
    xx, yy, xy = around(dx * dx) + least, around(dy * dy) + least, around(dx * dy)
    xt, yt = around(dx * difference), around(dy * difference)
    determinant = xx * yy - xy * xy
    u, v = (xy * yt - yy * xt) / determinant, (xy * xt - xx * yt) / determinant
    left = around(difference * difference) + u * xt + v * yt
    return np.dstack([u, v]), left / (around(own * own) + 1e-3)
