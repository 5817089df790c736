"""A contact sheet of queries with what was planted outlined, to look at before anything is measured with them.

    python -m benchmarks.regions.sheet --references DIR --hosts DIR [--overlays DIR] --area 0.1 --out sheet.jpg
    python -m benchmarks.regions.sheet ... --area 0.1 --missed benchmarks/results/regions.json --out missed.jpg

A row shows the query, the query with outlines, and the reference with the box that was copied. With a result file, made
of the same folders, it shows what a system missed, and why.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks.pictures import images_in, load
from benchmarks.regions.queries import AREAS, FAMILIES, Query, make_query

CELL = 240
"""Side of a picture on the sheet."""


def main() -> None:
    """Write the sheet: a row a family, the query beside the place on the reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=Path, nargs="+", required=True)
    parser.add_argument("--hosts", type=Path, nargs="+", required=True)
    parser.add_argument("--overlays", type=Path, nargs="*", default=[])
    parser.add_argument("--area", type=float, choices=AREAS, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hold-out-every", type=int, default=5, help="as for the benchmark")
    parser.add_argument("--missed", type=Path, help="a result file, whose seeds are taken")
    parser.add_argument("--system", default="localmatch", help="of the result file")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    references, hosts, overlays = (
        images_in(folders) for folders in (arguments.references, arguments.hosts, arguments.overlays)
    )
    hosts = sorted(hosts)[:: arguments.hold_out_every]
    plan = [(family, arguments.seed, family) for family in FAMILIES]
    if arguments.missed:
        plan = missed(json.loads(arguments.missed.read_text())["systems"][arguments.system], arguments.area)
    if not plan:
        raise SystemExit(f"{arguments.missed} holds nothing of area {arguments.area} that {arguments.system} missed.")
    rows = [
        _row(make_query(references, hosts, overlays, family, arguments.area, seed), references, label)
        for family, seed, label in plan
    ]
    half = (len(rows) + 1) // 2
    rows += [np.full_like(rows[0], 255)] * (2 * half - len(rows))
    Image.fromarray(np.hstack([np.vstack(rows[:half]), np.vstack(rows[half:])])).save(arguments.out)


def missed(system: dict[str, Any], area: float, alpha: str = "0.01") -> list[tuple[str, int, str]]:
    """Family, seed and the reason, of queries of which a system of a result file missed a copy."""
    level, rows, plan = system[f"far_{alpha}"]["threshold"], system["rows"], {}
    for row in rows:
        found = row["strict"] is not None and row["strict"] > level
        if row["area"] == area and not found and (row["family"], row["seed"]) not in plan:
            reason = "badly drawn" if row["loose"] is not None else "not located"
            if row["strict"] is not None:
                reason = f"score {row['strict']:.3g} of {level:.3g}"
            plan[row["family"], row["seed"]] = f"{row['family']}: {reason}"
    return [(family, seed, label) for (family, seed), label in plan.items()]


def _row(query: Query, references: Sequence[Path], label: str) -> np.ndarray:
    copy = query.copies[0]
    outlined = query.image.copy()
    for one in query.copies:
        contours, _ = cv2.findContours(one.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(outlined, contours, -1, (255, 0, 80), 2)
    reference = load(references[copy.reference]).copy()
    x0, y0, x1, y1 = (round(v) for v in copy.reference_box)
    cv2.rectangle(reference, (x0, y0), (x1, y1), (255, 0, 80), max(2, reference.shape[1] // 150))
    row = np.hstack([_cell(query.image), _cell(outlined), _cell(reference)])
    cv2.rectangle(row, (0, 0), (CELL, 22), (255, 255, 255), -1)
    cv2.putText(row, label, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 0, 80), 1, cv2.LINE_AA)
    return row


def _cell(image: np.ndarray) -> np.ndarray:
    scale = CELL / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:CELL, :CELL]
    cell = np.full((CELL, CELL, 3), 255, np.uint8)
    cell[: small.shape[0], : small.shape[1]] = small
    return cell


if __name__ == "__main__":
    main()
