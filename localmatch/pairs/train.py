"""Training of the pair network: places of copies against those of second photographs that the detector aligned.

What is written over a window of either is what the network is to say of it: `COPY`, `HOST` or `SECOND` where it is not,
and `UNSURE` where nothing is asked. The loss is binary cross-entropy where there is contrast; second photographs count
more where the detector took them for alike. The same is asked of the mean over all that is copied, or was taken for
alike, in a window: that is what is judged, and small copies count as much as large ones there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from localmatch.descriptor.network import STRIDE
from localmatch.pairs.network import PairNet
from localmatch.structure import contrast
from localmatch.weights import save_weights

HOST, COPY, UNSURE, SECOND = range(4)
"""What a pixel of a window shows; `SECOND` is what the detector took for alike."""

SECOND_WEIGHT, FLAT_WEIGHT, WHOLES_WEIGHT = 3.0, 0.03, 0.5
"""How much `SECOND` counts, flat pixels, which tell nothing, and the loss of means."""

CONTRAST_WINDOW, TONE = 15, 0.2
"""Side of the windows of contrast, in pixels; standard deviation of the logarithm of the gamma of either image."""


@dataclass(frozen=True)
class Recipe:
    """What decides the weights, together with the windows.

    Attributes:
        steps: Optimiser steps.
        batch: Windows of copies a step, and as many of second photographs.
        side: Of the windows that are cut out of the given ones, in pixels.
        learning_rate: Peak of a one-cycle schedule, for AdamW.
        seed: Of all random draws.
    """

    steps: int = 2000
    batch: int = 8
    side: int = 192
    learning_rate: float = 4e-3
    seed: int = 0


def train(
    copies: NDArray[np.uint8],
    seconds: NDArray[np.uint8],
    output: Path,
    recipe: Recipe | None = None,
    report: Callable[[int, float], None] | None = None,
) -> None:
    """Train a pair network from scratch and write its weights to `output` (safetensors).

    Args:
        copies: (N, 3, S, S) uint8: the query and the aligned reference, in gray, and what each pixel shows.
        seconds: The same of second photographs.
        output: File to write.
        recipe: The settings.
        report: Called with (step, loss) every 50 steps.
    """
    recipe = recipe or Recipe()
    rng = np.random.default_rng(recipe.seed)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        network = PairNet().train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1
    )
    mean = 0.0
    for step in range(1, recipe.steps + 1):
        chosen = [
            _window(windows[int(rng.integers(len(windows)))], recipe.side, rng)
            for windows in (copies, seconds)
            for _ in range(recipe.batch)
        ]
        loss = pair_loss(network, torch.from_numpy(np.stack(chosen)), rng)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        mean += (loss.item() - mean) * max(0.02, 1 / step)
        if report is not None and step % 50 == 0:
            report(step, mean)
    record = {"recipe": asdict(recipe), "copies": len(copies), "seconds": len(seconds), "loss": mean}
    save_weights(network, output, json.dumps(record))


def pair_loss(network: PairNet, windows: Tensor, rng: np.random.Generator) -> Tensor:
    """The loss of a batch of windows (B, 3, S, S) uint8, each image in a tone of its own."""
    images, shown = windows[:, :2].float() / 255, windows[:, 2, ::STRIDE, ::STRIDE]
    there = np.stack([contrast(image.numpy(), CONTRAST_WINDOW)[::STRIDE, ::STRIDE] for image in images[:, 0]])
    weight = (torch.from_numpy(there) + FLAT_WEIGHT) * (shown != UNSURE)
    gamma = torch.from_numpy(np.exp(rng.normal(0, TONE, (len(images), 2, 1, 1))).astype(np.float32))
    odds = network(images.clamp_min(1e-3) ** gamma)
    copied, judged = (shown == COPY).float(), weight * ((shown == COPY) | (shown == SECOND))
    asked = weight * (1 + (SECOND_WEIGHT - 1) * (shown == SECOND))
    places = functional.binary_cross_entropy_with_logits(odds, copied, asked, reduction="sum") / asked.sum()
    area = judged.sum((1, 2))
    means = (odds * judged).sum((1, 2))[area > 0] / area[area > 0]
    wholes = functional.binary_cross_entropy_with_logits(means, copied.amax((1, 2))[area > 0])
    return places + WHOLES_WEIGHT * wholes


def _window(given: NDArray[np.uint8], side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A part of a window (3, S, S), mirrored and turned at random."""
    y, x = rng.integers(0, given.shape[1] - side + 1, 2).tolist()
    part = given[:, y : y + side, x : x + side]
    if rng.random() < 0.5:
        part = part[:, :, ::-1]
    return np.ascontiguousarray(np.rot90(part, int(rng.integers(4)), (1, 2)))
