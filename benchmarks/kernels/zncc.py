"""local_zncc: correlation of two aligned images around each pixel."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.kernels.runner import Case
from localmatch.kernels import local_zncc
from localmatch.kernels.zncc import BACKENDS


def cases(small: bool) -> Iterator[Case]:
    """A query, and a large one."""
    for height, width, radius in [(60, 80, 5)] if small else [(512, 512, 5), (1080, 1920, 5), (512, 512, 12)]:
        generator = torch.Generator().manual_seed(0)
        first = torch.randint(0, 256, (height, width), generator=generator, dtype=torch.uint8)
        noise = torch.randint(0, 60, (height, width), generator=generator, dtype=torch.uint8)
        second = (first // 2 + noise).to(torch.uint8)
        forms = {
            "eager: prefix sums": _exact,
            "eager: avg_pool2d": _pooled,
            "compiled: avg_pool2d": torch.compile(_pooled),
            "OpenCV: boxFilter": _opencv,
        }
        yield Case(
            "local_zncc",
            {"height": height, "width": width},
            "uint8",
            (first, second, torch.ones(height, width, dtype=torch.bool)),
            partial(local_zncc, radius=radius),
            BACKENDS,
            {name: partial(form, radius=radius) for name, form in forms.items()},
            lambda own, other: bool(np.allclose(own.numpy() / 16384, np.asarray(other), atol=2e-2)),
        )


def _exact(first: Tensor, second: Tensor, inside: Tensor, radius: int) -> Tensor:
    return local_zncc(first, second, inside, radius, backend="torch") / 16384


def _pooled(first: Tensor, second: Tensor, _: Tensor, radius: int) -> Tensor:
    a, b = first.float(), second.float()
    maps = torch.stack([a, b, a * a, b * b, a * b])[None]
    # Only pixels on the image count, as in the op.
    sums = torch.nn.functional.avg_pool2d(maps, 2 * radius + 1, 1, radius, count_include_pad=False)
    mean_a, mean_b, aa, bb, ab = sums[0]
    variance = (aa - mean_a * mean_a) * (bb - mean_b * mean_b)
    correlation: Tensor = (ab - mean_a * mean_b) / variance.clamp_min(1e-6).sqrt()
    return correlation


def _opencv(first: Tensor, second: Tensor, _: Tensor, radius: int) -> np.ndarray:
    cv2.setNumThreads(torch.get_num_threads())
    a, b = first.numpy().astype(np.float32), second.numpy().astype(np.float32)
    window = (2 * radius + 1, 2 * radius + 1)

    def total(values: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.boxFilter(values, cv2.CV_32F, window, normalize=False, borderType=cv2.BORDER_CONSTANT))

    n = total(np.ones_like(a))
    mean_a, mean_b = total(a) / n, total(b) / n
    aa, bb, ab = cv2.multiply(a, a), cv2.multiply(b, b), cv2.multiply(a, b)
    variance = (total(aa) / n - mean_a * mean_a) * (total(bb) / n - mean_b * mean_b)
    return np.asarray((total(ab) / n - mean_a * mean_b) / np.sqrt(np.maximum(variance, 1e-6)))
