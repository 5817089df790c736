"""Why copies are missed: how far each came through the stages of the detector.

    python -m benchmarks.regions.funnel --index train.lmx --missed benchmarks/results/regions.json --references DIR \
        --hosts DIR [--overlays DIR] --out funnel.json

The index is of the same references, calibrated, as localmatch's of the benchmark in its work folder. Searches once more
for every copy that the result file says localmatch missed, and tells the first stage that has lost it.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from unittest import mock

import numpy as np
from rich.console import Console
from rich.progress import track

import localmatch as lm
from benchmarks.environment import environment
from benchmarks.pictures import count_corners, images_in
from benchmarks.regions.queries import Copy, make_query
from localmatch.audit import find_regions
from localmatch.geometry import project, scale_of
from localmatch.records import Alignment, Neighbours

LOST = (
    "no neighbour that is right",
    "not on the shortlist",
    "no map by votes",
    "not among the maps looked at",
    "given up at the look",
    "not sure enough",
    "badly drawn",
)
"""What has become of a copy, by how far it came."""

NEAR, NEAR_LEVEL = 5.0, 2.5
"""Query pixels, and level pixels besides, by which a neighbour that is right may be off."""

OFF, OFF_SIDE = 6.0, 0.1
"""Query pixels, and shares of the copy's width besides, by which a map that is right may be off on average."""

GROUPS = "plain", "single", "combined", "several"
"""Of families, as the table tells them."""

STAGES = "search", "shortlist", "find_alignments", "choose_candidates", "_screened"
"""Functions of `localmatch.audit` whose results are looked into."""

console: Console = Console(stderr=True)


def main() -> None:
    """Write one JSON file and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--missed", type=Path, required=True, help="a result file of the benchmark")
    parser.add_argument("--references", type=Path, nargs="+", required=True)
    parser.add_argument("--hosts", type=Path, nargs="+", required=True)
    parser.add_argument("--overlays", type=Path, nargs="*", default=[])
    parser.add_argument("--hold-out-every", type=int, default=5, help="as for the benchmark")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    references, hosts, overlays = (
        images_in(folders) for folders in (arguments.references, arguments.hosts, arguments.overlays)
    )
    hosts = sorted(hosts)[:: arguments.hold_out_every]
    searcher = lm.Index.open(arguments.index)._searcher()
    told = []
    for rows in track(_missed(arguments.missed), "searching again", console=console):
        family, area, seed = (rows[0][name] for name in ("family", "area", "seed"))
        query = make_query(references, hosts, overlays, family, area, seed)
        with _looked_into() as seen:
            find_regions(searcher, query.image)
        for copy, row in zip(query.copies, rows, strict=True):
            if row["missed"]:
                corners = count_corners(query.image, copy.mask)
                told.append({**row, "corners": corners, "lost": lost(copy, row, seen)})
    arguments.out.write_text(json.dumps({"environment": environment(), "missed": told}, indent=1))
    print(table(told))


def _missed(result: Path) -> list[list[dict[str, Any]]]:
    """The rows of each query of which a copy was missed, each with whether it was."""
    measured = json.loads(result.read_text())["systems"]["localmatch"]
    level = measured["far_0.01"]["threshold"]
    queries: dict[Any, list[dict[str, Any]]] = {}
    for row in measured["rows"]:
        about = {name: row[name] for name in ("family", "area", "seed", "domain", "strict", "loose")}
        missed = row["strict"] is None or row["strict"] <= level
        queries.setdefault((row["family"], row["area"], row["seed"]), []).append(about | {"missed": missed})
    return [rows for rows in queries.values() if any(row["missed"] for row in rows)]


@contextmanager
def _looked_into() -> Iterator[dict[str, Any]]:
    """What the stages of searches within return, by their names."""
    seen: dict[str, Any] = {}

    def kept(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            seen[name] = function(*arguments)
            return seen[name]

        return run

    with ExitStack() as stack:
        for name in STAGES:
            target = f"localmatch.audit.{name}"
            stack.enter_context(mock.patch(target, kept(name, resolve_name(target))))
        yield seen


def lost(copy: Copy, row: dict[str, Any], seen: dict[str, Any]) -> str:
    """One of `LOST`.

    Args:
        copy: What was planted.
        row: What was found of it.
        seen: Results of the stages.
    """
    came = [
        _has_neighbours(copy, seen["search"]),
        any(copy.reference in references for references in seen["shortlist"]),
        _has_map(copy, seen["find_alignments"]),
        _has_map(copy, (one.alignment for one in seen["choose_candidates"])),
        _has_map(copy, (one.alignment for one in seen["_screened"])),
        row["strict"] is None and row["loose"] is not None,
    ]
    return LOST[max((stage + 1 for stage, there in enumerate(came) if there), default=0)]


def _has_neighbours(copy: Copy, neighbours: Neighbours) -> bool:
    """Whether a patch of the copy has its own place for a neighbour."""
    here = neighbours.reference == copy.reference
    xy, level = neighbours.query_xy[here], neighbours.query_level[here]
    off = np.linalg.norm(project(copy.affine, xy) - neighbours.reference_xy[here], axis=1) / scale_of(copy.affine)
    return bool((copy.shows(xy) & (off < NEAR + NEAR_LEVEL * 2 ** (level / 2))).any())


def _has_map(copy: Copy, alignments: Iterable[Alignment]) -> bool:
    """Whether one of the maps brings the copy to its place."""
    x0, y0, x1, y1 = copy.query_box
    corners = np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1], [(x0 + x1) / 2, (y0 + y1) / 2]])
    places, most = project(copy.affine, corners), (OFF + OFF_SIDE * (x1 - x0)) * scale_of(copy.affine)
    return any(
        one.reference == copy.reference
        and float(np.linalg.norm(project(one.affine, corners) - places, axis=1).mean()) < most
        for one in alignments
    )


def table(told: Sequence[dict[str, Any]]) -> str:
    """How many copies each stage lost, by area: plain / one change / several changes / several regions in a query."""
    areas = sorted({row["area"] for row in told})
    counts = Counter((row["lost"], row["area"], _group(row["family"])) for row in told)
    lines = ["| lost | " + " | ".join(f"{100 * area:g}%" for area in areas) + " |", "|---" * (len(areas) + 1) + "|"]
    for stage in LOST:
        cells = (" / ".join(str(counts[stage, area, group]) for group in GROUPS) for area in areas)
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _group(family: str) -> str:
    return family if family in GROUPS else "single"


if __name__ == "__main__":
    main()
