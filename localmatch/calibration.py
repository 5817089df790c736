"""Clean images -> background: what similarity is common, and which scores images get that copied nothing.

The decision is conformal: p = (1 + #{clean scores >= s}) / (1 + n), valid whatever the scores' distribution as long as
clean images and queries are exchangeable (Vovk, Gammerman and Shafer 2005). The clean images are split into two folds;
each is scored against the background patches of the other, so that no image is normalised by itself.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localmatch.errors import CalibrationError, CorruptIndexError
from localmatch.index.graph import Graph
from localmatch.index.store import Part, check_files

FOLDS = 2
"""Graphs of background patches."""


def p_value(score: float, clean_scores: NDArray[np.float64]) -> float:
    """Conformal p-value of a score among the scores of clean images."""
    return float((1 + (clean_scores >= score).sum()) / (1 + len(clean_scores)))


def check_alpha(alpha: float, clean_images: int) -> None:
    """Refuse a false-alarm rate that so few clean images cannot show.

    Raises:
        CalibrationError: `alpha` is not in (0, 1), or below 1 / (n + 1).
    """
    if not 0 < alpha < 1:
        raise CalibrationError(f"alpha is a false-alarm rate between 0 and 1, got {alpha}.")
    if alpha < 1 / (clean_images + 1):
        needed = int(np.ceil(1 / alpha)) - 1
        raise CalibrationError(
            f"{clean_images} clean images cannot show a false-alarm rate of {alpha}: the least they can show is "
            f"{1 / (clean_images + 1):.4g}. Calibrate with at least {needed} clean images, or raise alpha."
        )


class Background:
    """An opened background: graphs of clean patches and the scores of clean images."""

    def __init__(self, folder: Path, part: Part) -> None:
        """Open the background of the index at `folder`.

        Raises:
            CorruptIndexError: A file was changed or does not hold what the manifest says.
        """
        path = folder / "background" / part.name
        check_files(path, part)
        try:
            scores = np.asarray(json.loads((path / "scores.json").read_text()), np.float64)
            if scores.shape != (part.images,) or not np.isfinite(scores).all():
                raise ValueError(f"expected {part.images} scores, got {scores.shape}")
            self.graphs = [Graph(path / f"fold-{fold}.hnsw", part.vertices[fold]) for fold in range(FOLDS)]
        except (OSError, ValueError, TypeError, IndexError, RecursionError) as error:
            raise CorruptIndexError(f"{path}: {error}. Run localmatch calibrate again.") from error
        self.scores: NDArray[np.float64] = scores
