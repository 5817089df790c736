"""What an audit costs, stage by stage, and what SIFT costs on the same images in the same run.

    python -m benchmarks.stages --index train.lmx --queries DIR --references DIR --out benchmarks/results/stages.json

Without `--references` SIFT is left out. Queries are the middles of images, brought to 512 x 512.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track

import localmatch as lm
from benchmarks.environment import environment
from benchmarks.features import root_sift
from benchmarks.local_features import FeatureIndex
from benchmarks.pictures import Pixels, images_in, load
from benchmarks.regions.queries import REFERENCE_SIDE
from localmatch.audit import find_regions

SIDE = 512
"""Of the queries."""

STAGES = {
    "patches and descriptors": "localmatch.audit.encode_query",
    "neighbours in the index": "localmatch.audit.search",
    "votes": "localmatch.audit.find_peaks",
    "neighbours in the shortlist": "localmatch.audit.match_shortlist",
    "alignments": "localmatch.audit.find_alignments",
    "look at pixels": "localmatch.audit._looked",
    "first look": "localmatch.audit._alike",
    "verification": "localmatch.verification.verify",
    "regions": "localmatch.audit.find_parts",
}
PARTS = {
    "network, in all stages": "localmatch.descriptor.quantised.QuantisedNet.activations",
    "reading references again": "localmatch.api.Index._levels",
}
"""Functions of the stages, and of what is a part of several."""

console: Console = Console(stderr=True)


def main() -> None:
    """Time the stages and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--queries", type=Path, nargs="+", required=True)
    parser.add_argument("--references", type=Path, nargs="*", default=[])
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    queries = _queries(images_in(arguments.queries), arguments.count)
    result: dict[str, Any] = {"environment": environment(), "queries": len(queries), "side": SIDE}
    result["localmatch"] = time_stages(arguments.index, queries)
    if arguments.references:
        index = FeatureIndex(images_in(arguments.references), root_sift(), REFERENCE_SIDE)
        result["sift"] = _mean_time(index.search, queries)
        console.print(f"{'SIFT':32} {result['sift']:.3f} s")
    arguments.out.write_text(json.dumps(result, indent=1))
    for name, seconds in result["localmatch"].items():
        console.print(f"{name:32} {seconds:.3f} s")


def time_stages(path: Path, queries: Sequence[Pixels]) -> dict[str, float]:
    """Seconds a query in each stage, in the parts of stages, and in all."""
    seconds: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                seconds[name] += time.perf_counter() - start

        return run

    with ExitStack() as stack:
        for name, target in {**STAGES, **PARTS}.items():
            stack.enter_context(mock.patch(target, timed(name, resolve_name(target))))
        searcher = lm.Index.open(path)._searcher()
        find_regions(searcher, queries[0])  # reads the index into memory
        seconds.clear()
        total = _mean_time(lambda image: find_regions(searcher, image), queries)
    return {name: seconds[name] / len(queries) for name in (*STAGES, *PARTS)} | {"all": total}


def _mean_time(search: Callable[[Pixels], object], queries: Sequence[Pixels]) -> float:
    start = time.perf_counter()
    for query in track(queries, "searching", console=console):
        search(query)
    return (time.perf_counter() - start) / len(queries)


def _queries(paths: Sequence[Path], count: int) -> list[Pixels]:
    """The middles of images whose short side is brought to `SIDE`, drawn with a fixed seed."""
    chosen = np.random.default_rng(0).permutation(len(paths))[:count]
    return [np.asarray(ImageOps.fit(Image.fromarray(load(paths[i])), (SIDE, SIDE)), np.uint8) for i in chosen]


if __name__ == "__main__":
    main()
