"""Audits as JSON: one object a query, and a summary with confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from localmatch.records import Region
from localmatch.result import Audit

CONFIDENCE = 0.95
"""Of the interval of the flagged share (Wilson 1927)."""


def audit_record(audit: Audit) -> dict[str, Any]:
    """One query as a JSON object."""
    height, width = audit.image.shape[:2]
    return {
        "query": audit.query,
        "width": width,
        "height": height,
        "score": audit.score,
        "p_value": audit.p_value,
        "flagged": audit.flagged,
        "regions": [region_record(region) for region in audit.regions],
    }


def region_record(region: Region) -> dict[str, Any]:
    """One region as a JSON object; boxes are [x0, y0, x1, y1] in pixels, the mask is COCO RLE."""
    return {
        "reference": region.reference,
        "reference_id": region.reference_id,
        "query_box": list(region.query_box),
        "reference_box": list(region.reference_box),
        "affine": region.affine.tolist(),
        "mirrored": region.mirrored,
        "mask": encode_mask(region.mask),
        "score": region.score,
        "p_value": region.p_value,
        "area_fraction": region.area_fraction,
        "references_sharing": region.references_sharing,
        "kind": region.kind,
    }


def encode_mask(mask: NDArray[np.bool_]) -> dict[str, list[int]]:
    """COCO's uncompressed run lengths: column by column, the first run is of zeros."""
    flat = np.asarray(mask, bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.r_[0, edges, flat.size]).tolist() if flat.size else []
    return {"size": list(mask.shape), "counts": [0, *runs] if flat.size and flat[0] else runs}


def decode_mask(record: dict[str, list[int]]) -> NDArray[np.bool_]:
    """The (H, W) mask of `encode_mask`."""
    height, width = record["size"]
    values = np.arange(len(record["counts"])) % 2 == 1
    return np.repeat(values, record["counts"]).reshape((height, width), order="F")


def flagged_share(records: Sequence[dict[str, Any]]) -> dict[str, float] | None:
    """The share of audited queries that are flagged, with its Wilson interval; None where none can be."""
    decided = [record["flagged"] for record in records if record.get("flagged") is not None]
    if not decided:
        return None
    interval = binomtest(sum(decided), len(decided)).proportion_ci(CONFIDENCE, method="wilson")
    return {
        "share": sum(decided) / len(decided),
        "low": float(interval.low),
        "high": float(interval.high),
        "confidence": CONFIDENCE,
    }
