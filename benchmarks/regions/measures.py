"""Recall by area, family and domain at a threshold that clean images set, and how well regions are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.regions.changes import SINGLE
from benchmarks.regions.queries import Copy
from benchmarks.regions.ranking import Answer, image_ranking, segment_average_precision
from benchmarks.regions.systems import Found
from benchmarks.shares import mask_iou, share
from localmatch.geometry import box_iou

ALPHAS = (0.01, 0.001)
"""False alarms per clean image at which recall is told."""

STRICT, LOOSE = 0.5, 0.3
"""Intersection over union that a hit needs, of the boxes on the query and on the reference."""

SMALL, CORNERS = 0.02, ((0, 5), (5, 10), (10, 20), (20, 10**9))
"""Largest area of regions of which recall is told by the corners that they show; from how many to below how many."""

Row = dict[str, Any]


def judge(copy: Copy, found: Sequence[Found]) -> Row:
    """What a system made of one planted region: the score of its best hit, strict and loose, and how it was drawn."""
    right = [one for one in found if one.reference == copy.reference]
    ious = [min(box_iou(f.query_box, copy.query_box), box_iou(f.reference_box, copy.reference_box)) for f in right]
    strict, loose = (
        max((f for f, iou in zip(right, ious, strict=True) if iou >= least), key=lambda f: f.score, default=None)
        for least in (STRICT, LOOSE)
    )
    row: Row = {
        "strict": None if strict is None else strict.score,
        "loose": None if loose is None else loose.score,
        "mask_iou": None if strict is None or strict.mask is None else mask_iou(strict.mask, copy.mask),
        "reference_iou": None if strict is None else box_iou(strict.reference_box, copy.reference_box),
    }
    best = max(found, key=lambda f: f.score, default=None)
    row["first"] = best is not None and best.reference == copy.reference
    return row


def threshold(clean: NDArray[np.float64], alpha: float) -> float | None:
    """The score that must be exceeded for a conformal p of at most alpha; None where so few images cannot tell."""
    rank = int(np.floor(alpha * (len(clean) + 1)))
    return None if rank < 1 else float(np.sort(clean)[::-1][rank - 1])


def false_alarms(clean: NDArray[np.float64], alpha: float) -> Row | None:
    """Share of either half of the clean images over the threshold of the other; None where half are too few."""
    halves = clean[::2], clean[1::2]
    levels = [threshold(half, alpha) for half in halves]
    if None in levels:
        return None
    return share([bool(score > level) for level, half in zip(levels, halves[::-1], strict=True) for score in half])


def summary(rows: Sequence[Row], clean: NDArray[np.float64], answers: Sequence[Answer]) -> Row:
    """All numbers of a system.

    Args:
        rows: From `judge`, with "family", "area", "domain" and, if they are to be told by it, "corners".
        clean: Scores of clean images, 0 where nothing was found. They set the threshold; false alarms are counted on
            either half of them at the threshold that the other half sets.
        answers: What was found on all queries and clean images.
    """
    areas = sorted({row["area"] for row in rows})
    out: Row = {
        name: {"mean": _mean(rows, name)}
        | {f"{area:g}": _mean([row for row in rows if row["area"] == area], name) for area in areas}
        for name in ("mask_iou", "reference_iou")
    }
    out["source_recall_at_1"] = share([row["first"] for row in rows])
    out["segment_average_precision"] = segment_average_precision(answers)
    out["image_average_precision"], out["image_recall_at_90_precision"] = image_ranking(answers)
    for alpha in ALPHAS:
        level = threshold(clean, alpha)
        if level is None:
            out[f"far_{alpha}"] = f"needs {int(np.ceil(1 / alpha)) - 1} clean images to set it, had {len(clean)}"
            continue
        out[f"far_{alpha}"] = {
            "threshold": level,
            "measured": false_alarms(clean, alpha),
            "recall": {kind: recall(rows, kind, level) for kind in ("strict", "loose")},
        }
    return out


def recall(rows: Sequence[Row], kind: str, level: float) -> Row:
    """Recall over a threshold by area and group of families, by family, by domain, and by corners of small regions."""

    def of(chosen: Callable[[Row], bool]) -> Row:
        return share([row[kind] is not None and row[kind] > level for row in rows if chosen(row)])

    areas = sorted({row["area"] for row in rows})
    groups = {"plain": ("plain",), "single": SINGLE, "combined": ("combined",), "several": ("several",)}
    return {
        "by_area": {
            f"{area:g}": {
                name: of(lambda r, a=area, f=members: r["area"] == a and r["family"] in f)  # type: ignore[misc]
                for name, members in groups.items()
            }
            for area in areas
        },
        "by_family": {f: of(lambda r, f=f: r["family"] == f) for f in sorted({r["family"] for r in rows})},  # type: ignore[misc]
        "by_domain": {d: of(lambda r, d=d: r["domain"] == d) for d in sorted({r["domain"] for r in rows})},  # type: ignore[misc]
        "by_corners": {
            f"from {least}": of(lambda r, a=least, b=most: r["area"] <= SMALL and a <= r.get("corners", -1) < b)  # type: ignore[misc]
            for least, most in CORNERS
        },
    }


def _mean(rows: Sequence[Row], name: str) -> float | None:
    values = [row[name] for row in rows if row[name] is not None]
    return float(np.mean(values)) if values else None
