"""The systems that are compared, each as a function from an image to the regions that it finds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import localmatch as lm
from benchmarks.sift import SiftIndex
from localmatch.records import Box


@dataclass(frozen=True)
class Found:
    """A region that a system found.

    Attributes:
        reference: Number of the reference.
        query_box, reference_box: (x0, y0, x1, y1) in pixels of the files.
        score: Higher is surer; compared only within the system.
        mask: (H, W) bool on the query, for systems that draw one.
    """

    reference: int
    query_box: Box
    reference_box: Box
    score: float
    mask: NDArray[np.bool_] | None = None


Search = Callable[[NDArray[np.uint8]], list[Found]]
System = tuple[Search, dict[str, Any]]
"""How to search, and what building it cost."""


def localmatch_system(references: Sequence[Path], background: Sequence[Path], folder: Path) -> System:
    """Localmatch with an index in `folder`; one that is there is used as it is."""
    start, cost = time.perf_counter(), {}
    if (folder / "manifest.json").exists():
        index = lm.Index.open(folder)
    else:
        index = lm.Index.build(references, folder)
        cost["build_s"] = time.perf_counter() - start
    if index.background is None:
        index.calibrate(background)
    cost["bytes_per_image"] = index.info()["bytes_per_image"]
    numbers = {str(path): number for number, path in enumerate(references)}

    def search(image: NDArray[np.uint8]) -> list[Found]:
        regions = index.audit(image, alpha=0.5).regions
        # References that are in the index beside those of the benchmark have no number here.
        return [Found(numbers.get(r.reference, -1), r.query_box, r.reference_box, r.score, r.mask) for r in regions]

    return search, cost


def sift_system(references: Sequence[Path], _: Sequence[Path], __: Path) -> System:
    """RootSIFT, FLANN and RANSAC, plain and mirrored; its score is the number of inliers."""
    start = time.perf_counter()
    index = SiftIndex(references)

    def search(image: NDArray[np.uint8]) -> list[Found]:
        return [Found(m.reference, m.box, m.reference_box, float(m.inliers)) for m in index.search(image)]

    return search, {"build_s": time.perf_counter() - start}


SYSTEMS: dict[str, Callable[[Sequence[Path], Sequence[Path], Path], System]] = {
    "localmatch": localmatch_system,
    "sift": sift_system,
}
