"""Recall of copied regions by area, at a stated false-alarm rate, of localmatch and its peers on the same queries.

    python -m benchmarks.regions --references DIR --clean DIR --hosts DIR [--overlays DIR] --out results/regions.json

Hosts and clean images are in no index and no training set. A hit names the right reference, with IoU of 0.5 or more of
the boxes on the query and on the reference. Half of the clean queries set each system's threshold; on the other half
its false alarms are counted. The result file is written after each system, and keeps those that it
holds of the same queries.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.environment import environment
from benchmarks.pictures import images_in, limited, load
from benchmarks.regions.measures import judge, summary
from benchmarks.regions.queries import AREAS, FAMILIES, HOST_SIDE, Query, make_query
from benchmarks.regions.systems import PEERS, SYSTEMS, Search, Setup

LARGEST_OF_SEVERAL = 0.25
EACH = {"plain": 8, "combined": 8, "several": 2}
"""Queries of an area in a round; of other families, of which there are many, one."""

console: Console = Console(stderr=True)


def main() -> None:
    """Run the benchmark and write one JSON file."""
    arguments = _arguments()
    references, clean, hosts, overlays = (
        images_in(folders) for folders in (arguments.references, arguments.clean, arguments.hosts, arguments.overlays)
    )
    hosts = sorted(hosts)[:: arguments.hold_out_every]
    rng = np.random.default_rng(0)
    background = [clean[i] for i in rng.permutation(len(clean))[: arguments.background]]
    others = [path for path in clean if path not in set(background)] + hosts
    clean_queries = [others[i] for i in rng.permutation(len(others))[: arguments.clean_queries]]
    plan = [
        (family, area, seed)
        for area in AREAS
        for family in arguments.families
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.rounds * EACH.get(family, 1))
        if family != "several" or area <= LARGEST_OF_SEVERAL
    ]
    result: dict[str, Any] = {
        "environment": environment(),
        "split": "evaluation" if arguments.first_seed >= 1000 else "development",
        "counts": {"references": len(references), "background": len(background), "queries": len(plan)}
        | {"clean": len(clean_queries)},
        "families": arguments.families,
        "systems": {},
    }
    result["systems"] = _measured_before(arguments.out, result)
    for name in arguments.systems:
        console.print(f"{name}: building")
        search, cost = SYSTEMS[name](Setup(references, background, arguments.work, arguments.weights))
        rows = []
        for family, area, seed in track(plan, name, console=console):
            query = make_query(references, hosts, overlays, family, area, seed)
            domains = [_domain(references[copy.reference], arguments.references) for copy in query.copies]
            rows += _rows(search, query, domains, seed)
        scores = [_best(search, path) for path in track(clean_queries, f"{name}, clean", console=console)]
        halves = np.array(scores[::2]), np.array(scores[1::2])
        cost["seconds_per_query"] = float(np.mean([row["seconds"] for row in rows]))
        result["systems"][name] = {"cost": cost, **summary(rows, *halves), "rows": rows, "clean": scores}
        arguments.out.write_text(json.dumps(result, indent=1))


def _measured_before(out: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Systems that a result file holds already, measured on the same queries; so systems can be run one at a time."""
    if not out.exists():
        return {}
    before = json.loads(out.read_text())
    same = all(before[name] == result[name] for name in ("split", "counts", "families"))
    return dict(before["systems"]) if same else {}


def _rows(search: Search, query: Query, domains: Sequence[str], seed: int) -> list[dict[str, Any]]:
    start = time.perf_counter()
    found = search(query.image)
    about = {"family": query.family, "area": query.area, "seed": seed, "seconds": time.perf_counter() - start}
    return [judge(copy, found) | about | {"domain": one} for copy, one in zip(query.copies, domains, strict=True)]


def _domain(path: Path, roots: Sequence[Path]) -> str:
    """The folder below one of the given ones in which a reference lies."""
    root = next(root for root in roots if path.is_relative_to(root))
    return path.relative_to(root).parts[0] if path.parent != root else root.name


def _best(search: Search, path: Path) -> float:
    return max((one.score for one in search(limited(load(path), HOST_SIDE)[0])), default=0.0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=Path, nargs="+", required=True)
    parser.add_argument("--clean", type=Path, nargs="+", required=True, help="images in no index")
    parser.add_argument("--hosts", type=Path, nargs="+", required=True, help="images that copies are pasted into")
    parser.add_argument("--overlays", type=Path, nargs="*", default=[], help="images with alpha, as object shapes")
    parser.add_argument("--hold-out-every", type=int, default=5, help="use every n-th host by sorted path")
    parser.add_argument("--background", type=int, default=150, help="images of --clean to calibrate on")
    parser.add_argument("--clean-queries", type=int, default=400)
    parser.add_argument(
        "--rounds",
        type=int,
        default=1,
        help="queries of each area and single change; of plain and combined ones eight times as many",
    )
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--first-seed", type=int, default=1000, help="1000 evaluates, 0 to 999 are for development")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(PEERS))
    parser.add_argument("--weights", type=Path, default=Path("."), help="folder with the weights of TFeat and ALIKED")
    parser.add_argument("--work", type=Path, default=Path("."), help="where indexes are kept and used again")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
