"""How likely the pixels of a view are a copy of an aligned reference, as the pair network sees them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from localmatch.pairs.network import PairNet
from localmatch.records import Level, Mapping
from localmatch.views import View
from localmatch.warping import warp
from localmatch.weights import fused, load_weights

SHIPPED = Path(__file__).with_name("localmatch-pairs-v2.safetensors")
"""The weights that come with the package."""

SHIPPED_SHA256 = "b01f72851d33338f5c8652afc178ccd02372792337abba3cb3296583c1f42833"
"""SHA-256 of the shipped file."""

STEPS = 16
"""Log-odds are rounded to so many steps of one: sums are then the same, whatever order they were taken in."""


@cache
def pair_network() -> PairNet:
    """The shipped network, ready to run; read once.

    Raises:
        WeightsError: The file is missing or damaged.
    """
    network = PairNet()
    load_weights(network, SHIPPED, SHIPPED_SHA256)
    network.eval().requires_grad_(False)
    network.branch, network.joint, network.fusion = map(fused, (network.branch, network.joint, network.fusion))
    return network


@torch.inference_mode()
def copy_odds(view: View, reference: list[Level], mapping: Mapping) -> NDArray[np.float32]:
    """Log-odds that pixels of a view are a copy of the aligned reference and no second photograph of it.

    Args:
        view: Where on the query.
        reference: Pyramid of the reference.
        mapping: Query -> reference.

    Returns:
        (h, w) float32.
    """
    (level,) = view.finest(0, 1)
    warped, _ = warp(reference, level, mapping)
    odds = pair_network()(torch.stack([level.gray, torch.from_numpy(warped)])[None])[0]
    return view.to_pixels((odds * STEPS).round_().div_(STEPS).numpy(), level)
