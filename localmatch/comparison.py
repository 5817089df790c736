"""A view of the query and a reference, cell by cell: how alike are their descriptors, once the reference is warped?

The reference is warped into the query's frame, so that scale, rotation and mirror are undone, and described; its dense
maps are compared with the query's within a small search window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from localmatch.descriptor.encode import QUANTISATION, quantise
from localmatch.descriptor.network import STRIDE
from localmatch.descriptor.quantised import QuantisedNet
from localmatch.kernels import compare_maps
from localmatch.kernels.compare import ONE
from localmatch.records import Level, Mapping
from localmatch.views import View
from localmatch.warping import warp

LOOK_FROM, LOOK_LEVELS = 0, 2
"""A look is at the two finest levels from this index on."""

FINE_FROM, FINE_WEIGHTS = -1, (0.3, 0.4, 0.3)
"""The three finest levels from this index on decide, with these weights. Large images begin at coarser levels."""

LOOK_SEARCH, FINE_SEARCH = 2, 1
"""Radius of the search windows, in descriptor cells."""

CENTRE, WIDTH = 0.58, 0.06
"""Similarity at which a pixel is as likely copied as not, and the logistic's width; measured on held-out images."""

MATCHING = 0.6
"""Similarity over which pixels look alike."""

AROUND = 4
"""Cells beyond a view that the reference is warped for, so that convolutions see it and not padding."""

BORDER = 3
"""Cells at the edge of an image whose descriptors see more padding than image."""


@dataclass(frozen=True)
class Comparison:
    """A part of a query and a reference that it is compared with.

    Attributes:
        network: Describes the warped reference.
        view: Where on the query.
        reference: Pyramid of the reference.
    """

    network: QuantisedNet
    view: View
    reference: list[Level]

    @torch.inference_mode()
    def similarity(self, level: Level, mapping: Mapping, radius: int = LOOK_SEARCH) -> NDArray[np.float32]:
        """Best cosine similarity of each cell of the view with the warped reference's cells in a search window.

        Returns:
            (h, w) float32; 0 where the reference does not reach.
        """
        own = self.view.maps[level.index]
        warped, inside = warp(self.reference, level, mapping, AROUND * STRIDE)
        active = self.network.activations(self.network.normalised(torch.from_numpy(warped)))
        other = quantise(self.network.dense_map(active).permute(1, 2, 0))
        place = torch.tensor([[[ONE, 0, AROUND * ONE], [0, ONE, AROUND * ONE]]], dtype=torch.int32)
        best, _ = compare_maps(torch.from_numpy(own), torch.from_numpy(other), place, radius)
        start = STRIDE * AROUND
        reached = inside[start::STRIDE, start::STRIDE][: own.shape[0], : own.shape[1]]
        return np.asarray(best[0].clamp_min(0).numpy() / QUANTISATION**2 * reached, np.float32)

    def look(self, mapping: Mapping) -> float:
        """How alike the view and the reference are at a glance: the upper quartile of similarity, about 0 to 1."""
        looks = [self.similarity(level, mapping) for level in self.view.finest(LOOK_FROM, LOOK_LEVELS)]
        return max(float(np.percentile(look, 75)) for look in looks)

    def alike(self, mapping: Mapping) -> NDArray[np.bool_]:
        """Which pixels of the view look like the warped reference, (h, w)."""
        similar = [
            self.view.to_pixels(_trusted(self.similarity(level, mapping)), level)
            for level in self.view.finest(LOOK_FROM, LOOK_LEVELS)
        ]
        return np.asarray(np.mean(similar, axis=0) > MATCHING, bool)

    def evidence(self, mapping: Mapping) -> NDArray[np.float32]:
        """Calibrated evidence, (h, w) float32 in [0, 1], that pixels of the view show what the reference shows."""
        total = np.zeros(self.view.size[::-1], np.float32)
        levels = self.view.finest(FINE_FROM, len(FINE_WEIGHTS))
        weights = FINE_WEIGHTS[: len(levels)]
        for level, weight in zip(levels, weights, strict=True):
            similarity = _trusted(self.similarity(level, mapping, FINE_SEARCH))
            total += weight / sum(weights) * self.view.to_pixels(similarity, level)
        return np.asarray(1 / (1 + np.exp((CENTRE - total) / WIDTH)), np.float32)


def _trusted(similarity: NDArray[np.float32]) -> NDArray[np.float32]:
    """The map with its outermost cells replaced by those further in: padding makes all images alike there."""
    rows, columns = (
        np.arange(side).clip(min(BORDER, side // 2), max(side - 1 - BORDER, side // 2)) for side in similarity.shape
    )
    return np.asarray(similarity[np.ix_(rows, columns)], np.float32)
