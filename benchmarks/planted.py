"""Share of planted copies that are found, by area and change, at a stated false-alarm rate; SIFT beside it.

    python -m benchmarks.planted --references DIR --clean DIR --hosts DIR [--deepblend DIR] --out results/planted.json

A copy is found when a region names the right reference with query-box IoU >= 0.5 and scores over the threshold, which
the calibrated index sets; SIFT's is set by its scores of the same clean images in the same way. Hosts and clean test
images are in no index, background or training set: of --hosts, every n-th image by sorted path is used, those that
`train-descriptor --hold-out-every n` left. A run that was killed goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

import localmatch as lm
from benchmarks.environment import environment
from benchmarks.pictures import images_in, load
from benchmarks.planted_systems import ALPHA, Found, build, console, localmatch_system, sift_system
from benchmarks.planting import CHANGES, Planted, plant
from benchmarks.regions.measures import threshold
from benchmarks.shares import mask_iou, share
from benchmarks.splits import BACKGROUND, split_clean
from localmatch.files import Journal
from localmatch.geometry import box_iou

IOU = 0.5
PLAIN_TIMES = 3
"""Times as many plain copies as others: their share should be near one, which a few cannot show."""

AREA_BINS: tuple[tuple[float, float], ...] = ((0.0, 0.05), (0.05, 0.12), (0.12, 1.0))


def main() -> None:
    """Run the benchmark and write one JSON file."""
    arguments = _arguments()
    references = images_in(arguments.references)
    extra = images_in([p / "data" for p in arguments.deepblend]) if arguments.deepblend else []
    references_all = references + [p for p in extra if "mask" not in p.name]
    clean = images_in(arguments.clean)
    hosts = sorted(images_in(arguments.hosts))[:: arguments.hold_out_every]
    split = split_clean(clean, hosts, arguments.background)
    clean_queries = split.evaluation[: arguments.clean_queries]
    draw = partial(plant, references, hosts)
    plan = [
        (change, arguments.first_seed + number)
        for change in CHANGES
        for number in range(arguments.queries * (PLAIN_TIMES if change == "plain" else 1))
    ]
    with tempfile.TemporaryDirectory() as folder:
        index, cost = build(arguments.index or Path(folder) / "index.lmx", references_all, split.background)
        result: dict[str, Any] = {"environment": environment(), "split": arguments.split, "cost": cost}
        result["counts"] = {
            "references": len(references_all),
            "background": len(split.background),
            "planted": len(plan),
            "clean": len(clean_queries),
        }
        about = [arguments.first_seed, result["counts"], result["environment"]["commit"]]
        journal = Journal(arguments.out.with_suffix(".journal"), about)
        measured = partial(measure, plan=plan, draw=draw, references=references, clean=clean_queries, journal=journal)
        scores = index.background.scores if index.background is not None else np.zeros(0)
        result["localmatch"] = measured("localmatch", localmatch_system(index), scores)
        if arguments.deepblend:
            result["deepblend"] = [row for folder in arguments.deepblend for row in deepblend(index, folder)]
    result["cost"]["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    arguments.out.write_text(json.dumps(result, indent=1))
    if not arguments.no_sift:
        console.print("SIFT baseline: indexing")
        system = sift_system(references)
        scores = np.array([row["score"] for row in _ask_clean("SIFT", system, split.background, journal)])
        result["sift"] = measured("SIFT", system, scores)
    arguments.out.write_text(json.dumps(result, indent=1))
    journal.close()
    print(json.dumps({k: v for k, v in result.items() if k != "environment"}, indent=1))


def measure(
    name: str,
    system: Callable[[Any], Found],
    background: NDArray[np.float64],
    plan: Sequence[tuple[str, int]],
    draw: Callable[[str, int], Planted],
    references: Sequence[Path],
    clean: Sequence[Path],
    journal: Journal,
) -> dict[str, Any]:
    """Recall by area and change, false-alarm rate, mask IoU and seconds a query.

    Args:
        name: Of the system.
        system: The system.
        background: Its scores of the clean images that set the threshold.
        plan: Change and seed of each planted copy.
        draw: Makes a planted copy.
        references: What copies are taken from.
        clean: Images on which false alarms are counted.
        journal: Of this run.
    """
    level = threshold(background, ALPHA)
    if level is None:
        raise SystemExit(f"{len(background)} clean images cannot set a threshold for alpha {ALPHA}: give more.")
    rows = [
        journal.once(f"{name} {change} {seed}", partial(_judge, system, draw, references, change, seed))
        for change, seed in track(plan, name, console=console)
    ]
    alarms = _ask_clean(name, system, clean, journal)
    return {"threshold": level, **summary(rows, alarms, level), "rows": rows, "clean": alarms}


def _ask_clean(
    name: str, system: Callable[[Any], Found], paths: Sequence[Path], journal: Journal
) -> list[dict[str, Any]]:
    """What a system says of clean images."""
    bar = track(paths, f"{name}, clean", console=console)
    return [journal.once(f"{name} {path}", partial(_strongest, system, path)) for path in bar]


def _strongest(system: Callable[[Any], Found], path: Path) -> dict[str, Any]:
    return {"image": path.name, "score": max((found.score for found in system(load(path))), default=0.0)}


def _judge(
    system: Callable[[Any], Found],
    draw: Callable[[str, int], Planted],
    references: Sequence[Path],
    change: str,
    seed: int,
) -> dict[str, Any]:
    """What a system made of one planted copy."""
    query = draw(change, seed)
    start = time.perf_counter()
    found = system(query.image)
    seconds = time.perf_counter() - start
    reference = str(references[query.reference])
    right = [f for f in found if f.reference == reference and box_iou(f.box, query.query_box) >= IOU]
    hit = max(right, key=lambda f: f.score, default=None)
    return {
        "change": query.change,
        "area": query.area,
        "domain": references[query.reference].parts[-2],
        "score": None if hit is None else hit.score,
        "first": bool(right) and found[0].reference == reference,
        "mask_iou": None if hit is None or hit.mask is None else mask_iou(hit.mask, query.mask),
        "seconds": seconds,
    }


def summary(rows: Sequence[dict[str, Any]], clean: Sequence[dict[str, Any]], level: float) -> dict[str, Any]:
    """The numbers that are reported, at a threshold."""
    over: list[dict[str, Any]] = [row for row in rows if row["area"] >= 0.05]
    ious = [row["mask_iou"] for row in rows if row["mask_iou"] is not None]

    def found(of: Sequence[dict[str, Any]], least: float = level) -> dict[str, float]:
        return share([row["score"] is not None and row["score"] > least for row in of])

    by_area = {f"{a}-{b}": [row for row in rows if a <= row["area"] < b] for a, b in AREA_BINS}
    return {
        "far": share([one["score"] > level for one in clean]),
        "plain_over_5_percent": found([row for row in over if row["change"] == "plain"]),
        "all_over_5_percent": found(over),
        "located_over_5_percent": found(over, 0.0),
        "by_area": {name: found(of) for name, of in by_area.items()},
        "located_by_area": {name: found(of, 0.0) for name, of in by_area.items()},
        "by_change_over_5_percent": {c: found([row for row in over if row["change"] == c]) for c in CHANGES},
        "mean_mask_iou": float(np.mean(ious)) if ious else None,
        "seconds_per_query": float(np.mean([row["seconds"] for row in rows])),
    }


def deepblend(index: lm.Index, folder: Path) -> list[dict[str, Any]]:
    """Real composites: is the pasted object found in its source, and the background in its target?"""
    rows = []
    for path in sorted((folder / "results").glob("[1-5]_*_pass.png")):
        number = path.name[0]
        audit = index.audit(path, ALPHA)
        row: dict[str, Any] = {"query": path.name, "flagged": audit.flagged}
        for role in ("source", "target"):
            own = [r for r in audit.regions if Path(r.reference).name == f"{number}_{role}.png"]
            row[role] = [{"p": r.p_value, "box": r.query_box, "area": r.area_fraction} for r in own]
        rows.append(row)
    return rows


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=Path, nargs="+", required=True)
    parser.add_argument("--clean", type=Path, nargs="+", required=True, help="images in no index")
    parser.add_argument("--hosts", type=Path, nargs="+", required=True, help="images that copies are pasted into")
    parser.add_argument("--hold-out-every", type=int, default=5, help="use every n-th host")
    parser.add_argument("--deepblend", type=Path, nargs="*", default=[])
    parser.add_argument("--background", type=int, default=BACKGROUND, help="clean images to calibrate on")
    parser.add_argument("--queries", type=int, default=20, help="planted copies a change; three times as many plain")
    parser.add_argument("--clean-queries", type=int, default=400, help="clean images of the other half, at most")
    parser.add_argument("--first-seed", type=int, default=1000, help="1000 evaluates, 0 to 999 are for development")
    parser.add_argument("--no-sift", action="store_true")
    parser.add_argument("--index", type=Path, help="keep the index here, and use it again")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.split = "evaluation" if arguments.first_seed >= 1000 else "development"
    return arguments


if __name__ == "__main__":
    main()
