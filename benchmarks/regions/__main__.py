"""Recall of copied regions by area, at a stated false-alarm rate, of localmatch and its peers on the same queries.

    python -m benchmarks.regions --references DIR --clean DIR --hosts DIR [--overlays DIR] --out results/regions.json

Hosts and clean images are in no index and no training set. A hit names the right reference, or one that shows the same
there, with IoU of 0.5 or more of the boxes on the query and on the reference. Half of the clean queries set each
system's threshold; on the other half its false alarms are counted. The result file is written after each system, and
keeps those that it holds of the same queries.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.environment import environment
from benchmarks.pictures import Pixels, count_corners, images_in, limited, load, shows_the_same, size_of
from benchmarks.regions.measures import LOOSE, judge, summary
from benchmarks.regions.queries import AREAS, EVALUATION, FAMILIES, HOST_SIDE, Copy, make_query
from benchmarks.regions.ranking import Answer, Segment
from benchmarks.regions.systems import DEFAULT, SYSTEMS, Found, Search, Setup
from benchmarks.splits import BACKGROUND, split_clean
from localmatch.files import Journal
from localmatch.geometry import box_iou

LARGEST_OF_SEVERAL = 0.10
EACH = {"plain": 8, "combined": 8, "several": 2}
"""Queries of an area in a round; of other families, of which there are many, one."""

SAME = "split", "counts", "areas", "families", "first_seed"
"""What results have to share to be of the same queries."""

console: Console = Console(stderr=True)


@dataclass(frozen=True)
class Material:
    """What all systems are measured on.

    Attributes:
        references, hosts, overlays: Image files, for `make_query`.
        sizes: (width, height) of the references.
        domains: Name of the kind of image that each reference is.
        plan: Family, area and seed of each query.
        clean: Images that show nothing of a reference.
    """

    references: Sequence[Path]
    hosts: Sequence[Path]
    overlays: Sequence[Path]
    sizes: Sequence[tuple[int, int]]
    domains: Sequence[str]
    plan: Sequence[tuple[str, float, int]]
    clean: Sequence[Path]


def main() -> None:
    """Run the benchmark and write one JSON file."""
    arguments = _arguments()
    evaluation = arguments.first_seed >= EVALUATION
    material, background = _material(arguments, evaluation)
    result: dict[str, Any] = {
        "split": "evaluation" if evaluation else "development",
        "counts": {"references": len(material.references), "background": len(background)}
        | {"queries": len(material.plan), "clean": len(material.clean)},
        "areas": arguments.areas,
        "families": arguments.families,
        "first_seed": arguments.first_seed,
    }
    result["systems"] = _measured_before(arguments.out, result)
    journal = Journal(
        arguments.out.with_suffix(".journal"), [*(result[name] for name in SAME), environment()["commit"]]
    )
    for name in arguments.systems:
        console.print(f"{name}: building")
        search, cost = SYSTEMS[name](Setup(material.references, background, arguments.work, arguments.weights))
        result["systems"][name] = {"environment": environment(), **_measure(name, search, material, cost, journal)}
        arguments.out.write_text(json.dumps(result, indent=1))
    journal.close()


def _material(arguments: argparse.Namespace, evaluation: bool) -> tuple[Material, list[Path]]:
    """Queries and clean images of the split, and the images to calibrate on."""
    references, clean, hosts, overlays = (
        images_in(folders) for folders in (arguments.references, arguments.clean, arguments.hosts, arguments.overlays)
    )
    hosts = sorted(hosts)[:: arguments.hold_out_every]
    split = split_clean(clean, hosts, arguments.background)
    plan = [
        (family, area, seed)
        for area in arguments.areas
        for family in arguments.families
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.rounds * EACH.get(family, 1))
        if family != "several" or area <= LARGEST_OF_SEVERAL
    ]
    material = Material(
        references,
        hosts,
        overlays,
        sizes=[size_of(path) for path in track(references, "reading sizes", console=console)],
        domains=[_domain(path, arguments.references) for path in references],
        plan=plan,
        clean=(split.evaluation if evaluation else split.development)[: arguments.clean_queries],
    )
    return material, list(split.background)


def _measure(name: str, search: Search, material: Material, cost: dict[str, Any], journal: Journal) -> dict[str, Any]:
    """All numbers of one system, and its answers to single queries."""
    rows, answers, clean = [], [], []
    for family, area, seed in track(material.plan, name, console=console):
        found = journal.once(
            f"{name} {family} {area} {seed}", partial(_search_copies, search, material, family, area, seed)
        )
        rows += found["rows"]
        answers.append(Answer.of(*found["answer"]))
    for path in track(material.clean, f"{name}, clean", console=console):
        found = journal.once(f"{name} {path}", partial(_search_clean, search, material, path))
        clean.append(found["score"])
        answers.append(Answer.of(*found["answer"]))
    cost["seconds_per_query"] = float(np.mean([row["seconds"] for row in rows]))
    cost["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # of all systems so far
    return {"cost": cost, **summary(rows, np.array(clean), answers), "rows": rows, "clean": clean}


def _search_copies(search: Search, material: Material, family: str, area: float, seed: int) -> dict[str, Any]:
    """What a system makes of one query of the plan, as JSON."""
    query = make_query(material.references, material.hosts, material.overlays, family, area, seed)
    start = time.perf_counter()
    found = search(query.image)
    about = {"family": family, "area": area, "seed": seed, "seconds": time.perf_counter() - start}
    found = [_by_its_first_name(one, query.copies, material.references) for one in found]
    rows = [
        judge(one, found)
        | about
        | {"domain": material.domains[one.reference], "corners": count_corners(query.image, one.mask)}
        for one in query.copies
    ]
    return {"rows": rows, "answer": _segments(query.image, query.copies, found, material.sizes)}


def _by_its_first_name(found: Found, copies: Sequence[Copy], references: Sequence[Path]) -> Found:
    """What was found, as of the reference that was copied from where it names another that shows the same there."""
    for copy in copies:
        if copy.reference != found.reference and box_iou(copy.reference_box, found.reference_box) >= LOOSE:
            named, copied = references[found.reference], references[copy.reference]
            if shows_the_same(named, copied, copy.reference_box):
                return replace(found, reference=copy.reference)
    return found


def _search_clean(search: Search, material: Material, path: Path) -> dict[str, Any]:
    """What a system makes of a clean image, as JSON."""
    image, _ = limited(load(path), HOST_SIDE)
    found = search(image)
    score = max((one.score for one in found), default=0.0)
    return {"score": score, "answer": _segments(image, (), found, material.sizes)}


def _measured_before(out: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Systems that a result file holds already, measured on the same queries; so systems can be run one at a time."""
    if not out.exists():
        return {}
    before = json.loads(out.read_text())
    same = all(before.get(name) == result[name] for name in SAME)
    return dict(before["systems"]) if same else {}


def _segments(
    image: Pixels, copies: Sequence[Copy], found: Sequence[Found], sizes: Sequence[tuple[int, int]]
) -> tuple[list[Segment], list[Segment]]:
    """Copies and what was found, with boxes as fractions of the images; what `Answer.of` takes."""

    def segment(one: Copy | Found, score: float) -> Segment:
        boxes = (one.query_box, image.shape[1::-1]), (one.reference_box, sizes[one.reference])
        query_box, reference_box = ((x0 / w, y0 / h, x1 / w, y1 / h) for (x0, y0, x1, y1), (w, h) in boxes)
        return Segment(one.reference, query_box, reference_box, score)

    return [segment(one, 0.0) for one in copies], [segment(one, one.score) for one in found]


def _domain(path: Path, roots: Sequence[Path]) -> str:
    """The folder below one of the given ones in which a reference lies."""
    root = next(root for root in roots if path.is_relative_to(root))
    return path.relative_to(root).parts[0] if path.parent != root else root.name


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=Path, nargs="+", required=True)
    parser.add_argument("--clean", type=Path, nargs="+", required=True, help="images in no index")
    parser.add_argument("--hosts", type=Path, nargs="+", required=True, help="images that copies are pasted into")
    parser.add_argument("--overlays", type=Path, nargs="*", default=[], help="images with alpha, as object shapes")
    parser.add_argument("--hold-out-every", type=int, default=5, help="use every n-th host by sorted path")
    parser.add_argument("--background", type=int, default=BACKGROUND, help="images of --clean to calibrate on")
    parser.add_argument("--clean-queries", type=int, default=400)
    parser.add_argument(
        "--rounds",
        type=int,
        default=1,
        help="queries of each area and single change; of plain and combined ones eight times as many",
    )
    parser.add_argument("--areas", nargs="+", type=float, choices=AREAS, default=list(AREAS))
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--first-seed", type=int, default=EVALUATION, help="0 to 999 are for development")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(DEFAULT))
    parser.add_argument("--weights", type=Path, default=Path("."), help="folder with the weights of TFeat and ALIKED")
    parser.add_argument("--work", type=Path, default=Path("."), help="where indexes are kept and used again")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
