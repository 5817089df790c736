"""Share of planted copies that are found, by area and change, at a stated false-alarm rate; SIFT beside it.

    python -m benchmarks.planted --references DIR --clean DIR --hosts DIR [--deepblend DIR] --out results/planted.json

A copy is found when a region names the right reference with query-box IoU >= 0.5 and has p <= alpha. Hosts and clean
test images are in no index, background or training set: of --hosts, every n-th image by sorted path is used, those
that `train-descriptor --hold-out-every n` left. Half of what is clean may be looked at in development; the index is
calibrated on it, and false alarms are counted on the other half. A run that was killed goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

import localmatch as lm
from benchmarks.environment import environment
from benchmarks.features import root_sift
from benchmarks.journal import Journal
from benchmarks.local_features import FeatureIndex
from benchmarks.pictures import images_in, load
from benchmarks.planting import CHANGES, MAX_SIDE, Planted, plant
from benchmarks.shares import mask_iou, share
from benchmarks.splits import split_clean
from localmatch.calibration import p_value
from localmatch.geometry import box_iou
from localmatch.records import Box

ALPHA, IOU = 0.01, 0.5
PLAIN_TIMES = 3
"""Times as many plain copies as others: their share should be near one, which a few cannot show."""

AREA_BINS: tuple[tuple[float, float], ...] = ((0.0, 0.05), (0.05, 0.12), (0.12, 1.0))
console: Console = Console(stderr=True)


def main() -> None:
    """Run the benchmark and write one JSON file."""
    arguments = _arguments()
    references = images_in(arguments.references)
    extra = images_in([p / "data" for p in arguments.deepblend]) if arguments.deepblend else []
    references_all = references + [p for p in extra if "mask" not in p.name]
    clean = images_in(arguments.clean)
    held_out = sorted(images_in(arguments.hosts))[:: arguments.hold_out_every]
    split = split_clean(clean, held_out)
    background = [*split.background, *split.development][: arguments.background]
    clean_queries = split.evaluation[: arguments.clean_queries]
    hosts = [path for path in held_out if path not in set(background)]
    with tempfile.TemporaryDirectory() as folder:
        index, cost = build(arguments.index or Path(folder) / "index.lmx", references_all, background)
        result: dict[str, Any] = {"environment": environment(), "split": arguments.split, "cost": cost}
        planted = {
            f"{change} {arguments.first_seed + number}": plant(references, hosts, change, arguments.first_seed + number)
            for change in CHANGES
            for number in range(arguments.queries * (PLAIN_TIMES if change == "plain" else 1))
        }
        result["counts"] = {
            "references": len(references_all),
            "background": len(background),
            "planted": len(planted),
            "clean": len(clean_queries),
        }
        about = [arguments.first_seed, result["counts"], result["environment"]["commit"]]
        journal = Journal(arguments.out, about)
        system = localmatch_system(index)
        result["localmatch"] = measure("localmatch", system, planted, references, clean_queries, journal)
        if arguments.deepblend:
            result["deepblend"] = [row for folder in arguments.deepblend for row in deepblend(index, folder)]
    result["cost"]["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    arguments.out.write_text(json.dumps(result, indent=1))
    if not arguments.no_sift:
        console.print("SIFT baseline: indexing")
        system = sift_system(references, background)
        result["sift"] = measure("SIFT", system, planted, references, clean_queries, journal)
    arguments.out.write_text(json.dumps(result, indent=1))
    journal.close()
    print(json.dumps({k: v for k, v in result.items() if k != "environment"}, indent=1))


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


class Region(NamedTuple):
    """A region that a system found: reference path, query box, score, p-value, mask or None."""

    reference: str
    box: Box
    score: float
    p: float
    mask: Any


Found = list[Region]


def localmatch_system(index: lm.Index) -> Callable[[Any], Found]:
    """Localmatch as a function from an image to what it found."""

    def run(image: Any) -> Found:
        audit = index.audit(image, ALPHA)
        return [
            Region(r.reference, r.query_box, r.score, 1.0 if r.p_value is None else r.p_value, r.mask)
            for r in audit.regions
        ]

    return run


def sift_system(references: Sequence[Path], background: Sequence[Path]) -> Callable[[Any], Found]:
    """The SIFT baseline, with its inliers calibrated on the same background in the same way."""
    index = FeatureIndex(references, root_sift(), MAX_SIDE)
    best = [index.search(load(path))[:1] for path in track(background, "calibrating SIFT", console=console)]
    scores = np.array([match[0].inliers if match else 0 for match in best], np.float64)

    def run(image: Any) -> Found:
        return [
            Region(str(references[m.reference]), m.box, float(m.inliers), p_value(m.inliers, scores), None)
            for m in index.search(image)
        ]

    return run


def measure(
    name: str,
    system: Callable[[Any], Found],
    planted: Mapping[str, Planted],
    references: Sequence[Path],
    clean: Sequence[Path],
    journal: Journal,
) -> dict[str, Any]:
    """Recall by area and change, false-alarm rate, mask IoU and seconds a query."""
    rows: list[dict[str, Any]] = []
    for drawn, query in track(planted.items(), name, len(planted), console=console):
        rows.append(journal.once(f"{name} {drawn}", partial(_judge, system, query, references)))
    flagged: list[dict[str, Any]] = []
    for path in track(clean, f"{name}, clean", console=console):
        flagged.append(journal.once(f"{name} {path}", partial(_strongest, system, path)))
    return summary(rows, flagged) | {"rows": rows, "clean": flagged}


def _strongest(system: Callable[[Any], Found], path: Path) -> dict[str, Any]:
    """What a system says of a clean image."""
    best = min(system(load(path)), key=lambda f: f.p, default=None)
    p, score = (1.0, 0.0) if best is None else (best.p, best.score)
    return {"image": path.name, "p": p, "score": score}


def _judge(system: Callable[[Any], Found], query: Planted, references: Sequence[Path]) -> dict[str, Any]:
    """What a system made of one planted copy."""
    start = time.perf_counter()
    found = system(query.image)
    seconds = time.perf_counter() - start
    reference = str(references[query.reference])
    right = [f for f in found if f.reference == reference and box_iou(f.box, query.query_box) >= IOU]
    hit = min(right, key=lambda f: f.p, default=None)
    return {
        "change": query.change,
        "area": query.area,
        "domain": references[query.reference].parts[-2],
        "located": hit is not None,
        "found": hit is not None and hit.p <= ALPHA,
        "score": None if hit is None else hit.score,
        "first": bool(right) and found[0].reference == reference,
        "mask_iou": None if hit is None or hit.mask is None else mask_iou(hit.mask, query.mask),
        "seconds": seconds,
    }


def summary(rows: Sequence[dict[str, Any]], flagged: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The numbers that are reported."""
    over: list[dict[str, Any]] = [row for row in rows if row["area"] >= 0.05]
    ious = [row["mask_iou"] for row in rows if row["mask_iou"] is not None]
    return {
        "far": share([bool(f["p"] <= ALPHA) for f in flagged]),
        "plain_over_5_percent": share([r["found"] for r in over if r["change"] == "plain"]),
        "all_over_5_percent": share([r["found"] for r in over]),
        "located_over_5_percent": share([r["located"] for r in over]),
        "by_area": {f"{a}-{b}": share([r["found"] for r in rows if a <= r["area"] < b]) for a, b in AREA_BINS},
        "located_by_area": {
            f"{a}-{b}": share([r["located"] for r in rows if a <= r["area"] < b]) for a, b in AREA_BINS
        },
        "by_change_over_5_percent": {c: share([r["found"] for r in over if r["change"] == c]) for c in CHANGES},
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
    parser.add_argument("--background", type=int, default=299, help="clean images to calibrate on")
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
