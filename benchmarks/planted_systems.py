"""The systems that look for planted copies, each as a function from an image to the regions that it finds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import track

import localmatch as lm
from benchmarks.features import root_sift
from benchmarks.local_features import FeatureIndex
from benchmarks.planting import MAX_SIDE
from localmatch.records import Box

ALPHA = 0.01
console: Console = Console(stderr=True)


class Region(NamedTuple):
    """A region that a system found: reference path, query box, score, mask or None."""

    reference: str
    box: Box
    score: float
    mask: Any = None


Found = list[Region]


def build(folder: Path, references: Sequence[Path], background: Sequence[Path]) -> tuple[lm.Index, dict[str, Any]]:
    """An index, calibrated, and what it cost; one that is there is used as it is."""
    start = time.perf_counter()
    cost: dict[str, Any] = {}
    if (folder / "manifest.json").exists():
        index = lm.Index.open(folder)
    else:
        index = lm.Index.build(references, folder, progress=_counter("building", len(references)))
        cost["build_images_per_s"] = len(references) / (time.perf_counter() - start)
    cost["bytes_per_image"] = index.info()["bytes_per_image"]
    if index.background is None:
        start = time.perf_counter()
        index.calibrate(background, progress=_counter("calibrating", 2 * len(background)))
        cost["calibrate_images_per_s"] = len(background) / (time.perf_counter() - start)
    return index, cost


def _counter(what: str, total: int) -> Callable[[str], None]:
    """A progress bar that advances at every call."""
    ticks = iter(track(range(total), what, console=console))

    def advance(_: str) -> None:
        next(ticks, None)

    return advance


def localmatch_system(index: lm.Index) -> Callable[[Any], Found]:
    """Localmatch as a function from an image to what it found."""

    def run(image: Any) -> Found:
        return [Region(r.reference, r.query_box, r.score, r.mask) for r in index.audit(image, ALPHA).regions]

    return run


def sift_system(references: Sequence[Path]) -> Callable[[Any], Found]:
    """The SIFT baseline; the score is the number of inliers."""
    index = FeatureIndex(references, root_sift(), MAX_SIDE)
    return lambda image: [Region(str(references[m.reference]), m.box, float(m.inliers)) for m in index.search(image)]
