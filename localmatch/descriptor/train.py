"""Self-supervised training of the descriptor: two views of a window, InfoNCE over the places that correspond.

Loss: van den Oord et al., "Representation Learning with Contrastive Predictive Coding" (2018), symmetric, over all
places of the batch. Every step draws from generators seeded by (seed, step), so that a resumed run equals an
uninterrupted one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from localmatch.descriptor import synthetic
from localmatch.descriptor.augment import Views, cut_window, make_views
from localmatch.descriptor.network import DescriptorNet, read_at
from localmatch.descriptor.weights import load_network
from localmatch.errors import BackendError
from localmatch.files import replacing
from localmatch.weights import save_weights

TEMPERATURE = 0.06
"""Softmax temperature of InfoNCE; lower looks at harder negatives only."""

NEAR = 10.0
"""Places of one view nearer than this, in level pixels, are not negatives of each other: they show the same thing."""

CHECKPOINT_EVERY = 250
"""Steps between checkpoints; a killed run loses at most these."""


@dataclass(frozen=True)
class Recipe:
    """What decides the weights, together with the images.

    Attributes:
        steps: Optimiser steps.
        windows: Training windows a step.
        points: Corresponding places a window.
        learning_rate: Peak of a cosine schedule with warm-up, for AdamW.
        synthetic_share: Share of windows that are procedural drawings and textures.
        seed: Of all random draws.
        bfloat16: Whether convolutions are computed in bfloat16: in half the time where the processor has instructions
            for it, in more where it has not.
    """

    steps: int = 7000
    windows: int = 32
    points: int = 48
    learning_rate: float = 2e-3
    synthetic_share: float = 0.15
    seed: int = 0
    bfloat16: bool = False


def train(
    images: Sequence[Path],
    output: Path,
    recipe: Recipe | None = None,
    report: Callable[[int, float, float], None] | None = None,
    start: Path | None = None,
    device: str = "cpu",
    workers: int = 1,
) -> None:
    """Train a descriptor network, from scratch or from other weights, or go on where a killed run stopped.

    Writes the weights to `output` (safetensors), a checkpoint beside it while it runs, and a record of loss and
    in-batch rank-1 (`output` with suffix `.jsonl`).

    Args:
        images: Image files; unreadable ones are replaced by procedural images.
        output: File to write.
        recipe: The settings; the defaults are for training from scratch.
        report: Called with (step, loss, rank1) every 50 steps.
        start: Weights to begin with; None for random ones.
        device: Where views are made and the network is trained; "cuda" where torch has a GPU.
        workers: Processes that read images and cut windows.

    Raises:
        BackendError: The device is not there.
    """
    recipe = recipe or Recipe()
    network, digest = (_initialised(recipe.seed), None) if start is None else load_network(start)
    came = {"recipe": asdict(recipe), "images": len(images), "start": digest}
    network.train()
    _move(network, device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=1e-4)
    checkpoint, record = output.with_suffix(".checkpoint.pt"), output.with_suffix(".jsonl")
    first = _resume(checkpoint, network, optimiser, came)
    began = time.perf_counter()
    steps = range(first, recipe.steps)
    batches = DataLoader(_Windows(images, recipe), None, sampler=steps, num_workers=workers)
    with torch.random.fork_rng(), record.open("a" if first else "w") as log:
        log.write(json.dumps({**came, "from_step": first}) + "\n")
        for step, pair in zip(steps, batches, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate * _schedule(step, recipe.steps)
            torch.manual_seed(recipe.seed * 1_000_003 + step)
            plain, changed = (_floats(windows.to(device)) for windows in pair)
            views = make_views(plain, changed, recipe.points)
            loss, rank1 = info_nce(network, views, recipe.bfloat16)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if (step + 1) % 50 == 0:
                entry = {"step": step + 1, "loss": loss.item(), "rank1": rank1, "s": time.perf_counter() - began}
                log.write(json.dumps(entry) + "\n")
                log.flush()
                if report is not None:
                    report(step + 1, loss.item(), rank1)
            if (step + 1) % CHECKPOINT_EVERY == 0:
                _save_checkpoint(checkpoint, network, optimiser, came, step + 1)
    save_weights(network, output, json.dumps(came))
    checkpoint.unlink(missing_ok=True)


def info_nce(network: DescriptorNet, views: Views, bfloat16: bool = False) -> tuple[Tensor, float]:
    """Symmetric InfoNCE over all valid places of a batch of views, and the in-batch rank-1."""
    with torch.autocast(views.first.device.type, torch.bfloat16, enabled=bfloat16):
        first_map, second_map = network(views.first), network(views.second)
    first = read_at(first_map, views.first_xy)[views.valid]
    second = read_at(second_map, views.second_xy)[views.valid]
    similarity = first @ second.T
    xy = views.first_xy[views.valid]
    window = torch.arange(len(views.valid), device=xy.device)[:, None].expand_as(views.valid)[views.valid]
    same = (window[:, None] == window[None]) & (torch.cdist(xy, xy) < NEAR)
    same.fill_diagonal_(False)
    logits = (similarity / TEMPERATURE).masked_fill(same, -math.inf)
    target = torch.arange(len(logits), device=xy.device)
    loss = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
    return loss, float((logits.argmax(1) == target).float().mean())


@dataclass(frozen=True)
class _Windows(Dataset[tuple[Tensor, Tensor]]):
    """Training windows by step, plain and changed, each (B, 160, 160) uint8."""

    images: Sequence[Path]
    recipe: Recipe

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.recipe.seed, step])
        pairs = [cut_window(_image(self.images, self.recipe, rng), rng) for _ in range(self.recipe.windows)]
        plain, changed = (torch.from_numpy(np.stack(column)) for column in zip(*pairs, strict=True))
        return plain, changed


def _floats(windows: Tensor) -> Tensor:
    """(B, S, S) uint8 -> (B, 1, S, S) in [0, 1]."""
    return windows[:, None].float() / 255


def _image(images: Sequence[Path], recipe: Recipe, rng: np.random.Generator) -> NDArray[np.uint8]:
    if rng.random() >= recipe.synthetic_share and images:
        path = images[int(rng.integers(len(images)))]
        try:
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, ValueError, Image.DecompressionBombError):
            pass
    return synthetic.draw(rng)


def _initialised(seed: int) -> DescriptorNet:
    network, generator = DescriptorNet(), torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.orthogonal_(parameter, math.sqrt(2), generator=generator)
        else:
            torch.nn.init.zeros_(parameter)
    return network


def _move(network: DescriptorNet, device: str) -> None:
    try:
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    except (RuntimeError, AssertionError) as error:
        raise BackendError(f"cannot train on {device!r}: {error}. Name cpu, or install PyTorch for it.") from error


def _schedule(step: int, steps: int) -> float:
    warm_up = min(1.0, (step + 1) / 100)
    return warm_up * (0.5 + 0.5 * math.cos(math.pi * step / steps)) + 1e-3


def _save_checkpoint(
    path: Path, network: DescriptorNet, optimiser: torch.optim.Optimizer, came: dict[str, Any], step: int
) -> None:
    state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "came": came, "step": step}
    with replacing(path) as beside:
        torch.save(state, beside)


def _resume(path: Path, network: DescriptorNet, optimiser: torch.optim.Optimizer, came: dict[str, Any]) -> int:
    """Load a checkpoint of the same run; the step to go on from, 0 where there is none."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["came"] != came:
        return 0
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])
