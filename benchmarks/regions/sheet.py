"""A contact sheet of queries with what was planted outlined, to look at before anything is measured with them.

    python -m benchmarks.regions.sheet --references DIR --hosts DIR [--overlays DIR] --area 0.1 --out sheet.jpg

A row shows the query, the query with outlines, and the reference with the box that was copied.
"""

from __future__ import annotations

import argparse
from pathlib import Path

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
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    references, hosts, overlays = (
        images_in(folders) for folders in (arguments.references, arguments.hosts, arguments.overlays)
    )
    rows = [
        _row(make_query(references, hosts, overlays, family, arguments.area, arguments.seed), references)
        for family in FAMILIES
    ]
    half = (len(rows) + 1) // 2
    rows += [np.full_like(rows[0], 255)] * (2 * half - len(rows))
    Image.fromarray(np.hstack([np.vstack(rows[:half]), np.vstack(rows[half:])])).save(arguments.out)


def _row(query: Query, references: list[Path]) -> np.ndarray:
    copy = query.copies[0]
    outlined = query.image.copy()
    for one in query.copies:
        contours, _ = cv2.findContours(one.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(outlined, contours, -1, (255, 0, 80), 2)
    reference = load(references[copy.reference]).copy()
    x0, y0, x1, y1 = (round(v) for v in copy.reference_box)
    cv2.rectangle(reference, (x0, y0), (x1, y1), (255, 0, 80), max(2, reference.shape[1] // 150))
    row = np.hstack([_cell(query.image), _cell(outlined), _cell(reference)])
    cv2.putText(row, query.family, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 0, 80), 1, cv2.LINE_AA)
    return row


def _cell(image: np.ndarray) -> np.ndarray:
    scale = CELL / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:CELL, :CELL]
    cell = np.full((CELL, CELL, 3), 255, np.uint8)
    cell[: small.shape[0], : small.shape[1]] = small
    return cell


if __name__ == "__main__":
    main()
