"""Which clean images calibrate, which may be looked at in development, and which only evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

BACKGROUND = 150
"""Clean images that calibrate every index."""


class CleanSplit(NamedTuple):
    """Clean images by what they serve for."""

    background: list[Path]
    development: list[Path]
    evaluation: list[Path]


def split_clean(clean: Sequence[Path], hosts: Sequence[Path], background: int = BACKGROUND) -> CleanSplit:
    """Split clean images and hosts in the same way every time; hosts are in no background."""
    rng = np.random.default_rng(0)
    chosen = [clean[i] for i in rng.permutation(len(clean))[:background]]
    taken = set(chosen)
    others = [path for path in clean if path not in taken] + list(hosts)
    others = [others[i] for i in rng.permutation(len(others))]
    return CleanSplit(chosen, others[::2], others[1::2])
