"""The static page: a gallery that opens from disk, without a server or a network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader

from localmatch.files import replacing
from localmatch.images import printable
from localmatch.overlay import COLOURS, outlines
from localmatch.report.pictures import PICTURED
from localmatch.report.results import decode_mask

KINDS = {"pixel": "the same pixels", "structure": "the same structure, rendered anew"}
"""Kinds of copies in plain words."""


def write_page(folder: Path, records: Sequence[dict[str, Any]], summary: dict[str, Any]) -> None:
    """Write `index.html` from the records of `results.jsonl` and the summary."""
    environment = Environment(loader=PackageLoader("localmatch.report", "."), autoescape=True)
    environment.filters["printable"] = printable
    template = environment.get_template("page.html.j2")
    audited = [record for record in records if "error" not in record]
    worst_first = sorted(audited, key=lambda record: -record["score"])
    html = template.render(
        queries=[_view(folder, record, summary["settings"]["alpha"]) for record in worst_first],
        errors=[record for record in records if "error" in record],
        summary=summary,
        legend=[(_css(kind), words) for kind, words in KINDS.items()],
        style=(Path(__file__).with_name("page.css")).read_text(),
        script=(Path(__file__).with_name("page.js")).read_text(),
    )
    with replacing(folder / "index.html") as beside:
        beside.write_text(html, encoding="utf-8", errors="backslashreplace")


def _view(folder: Path, record: dict[str, Any], alpha: float) -> dict[str, Any]:
    """What the template shows of one query."""
    pictures = record["pictures"]
    regions = []
    for number, region in enumerate(record["regions"], 1):
        polygons = [" ".join(f"{x},{y}" for x, y in c.reshape(-1, 2)) for c in outlines(decode_mask(region["mask"]))]
        regions.append(
            region
            | {
                "number": number,
                "colour": _css(region["kind"]),
                "polygons": polygons,
                "pictured": number <= PICTURED,
                "words": KINDS[region["kind"]],
                "readable": (folder / pictures / f"region-{number}-aligned.jpg").exists(),
                "likely": region["p_value"] is None or region["p_value"] <= alpha,
                "name": os.path.basename(region["reference"]),
                "size": [round(region["query_box"][side + 2] - region["query_box"][side]) for side in (0, 1)],
                "turn": _turn(region),
            }
        )
    return record | {"regions": regions, "name": os.path.basename(record["query"])}


def _css(kind: str) -> str:
    """The colour of a kind of copies in CSS."""
    return "rgb({},{},{})".format(*COLOURS[kind])


def _turn(region: dict[str, Any]) -> str:
    """The map in words: scale, rotation, mirror."""
    linear = np.array(region["affine"])[:, :2]
    scale = 1 / np.sqrt(abs(np.linalg.det(linear)))
    if region["mirrored"]:
        linear = linear * [-1, 1]
    angle = -np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))
    words = [f"scaled to {scale:.0%}" if abs(scale - 1) > 0.02 else "same size"]
    if abs(angle) > 0.7:
        words.append(f"rotated by {angle:.0f}°")
    if region["mirrored"]:
        words.append("mirrored")
    return ", ".join(words)
