"""The results file as a picture and as a table in Markdown.

python -m benchmarks.kernels.plot benchmarks/results/kernels.jsonl --out docs/kernels.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

COLOURS = {"eager": "#3b6fb6", "compiled": "#e08214", "faiss": "#5aae61", "OpenCV": "#9970ab"}


def main() -> None:
    """Draw how many times as long the strongest other forms take, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    records = [record for line in arguments.results.open() if "op" in (record := json.loads(line))]
    draw(records, arguments.out)
    print(table(records))


def draw(records: list[dict[str, Any]], out: Path) -> None:
    """One row a case, one dot a kind of baseline; at 1 the other form is as fast."""
    single = [record for record in records if record["threads"] == 1]
    figure, axes = plt.subplots(figsize=(8.5, 0.36 * len(single) + 1.2), layout="constrained")
    for row, record in enumerate(reversed(single)):
        for kind, best in record["ratios"].items():
            axes.plot(best["ratio"], row, "o", color=COLOURS[kind], label=kind, ms=6)
    axes.axvline(1, color="#999", lw=1)
    axes.set_xscale("log")
    axes.set_xticks([0.5, 1, 2, 5, 10, 20, 50], labels=["½", "1", "2", "5", "10", "20", "50"])
    axes.set_yticks(range(len(single)), labels=[_name(record) for record in reversed(single)], fontsize=7)
    axes.set_xlabel("times as long as localmatch (one thread)")
    axes.grid(axis="x", color="#eee")
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(handles.values(), handles.keys(), fontsize=8, loc="upper right")
    figure.savefig(out, dpi=150)


def table(records: list[dict[str, Any]]) -> str:
    """Markdown."""
    if all("busy_s" in record for record in records):
        return _gpu_table(records)
    kinds = list(COLOURS)
    lines = [f"| case | threads | ms | of floor | {' | '.join(kinds)} |", "|---|--:|--:|--:|" + "--:|" * len(kinds)]
    for record in records:
        ratios = [f"{record['ratios'][kind]['ratio']:.1f}" if kind in record["ratios"] else "" for kind in kinds]
        floor = f"{record['share_of_floor']:.0%}"
        cells = [_name(record), str(record["threads"]), f"{1e3 * record['median_s']:.1f}", floor, *ratios]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _gpu_table(records: list[dict[str, Any]]) -> str:
    """Per call, in microseconds: from call to call, and how long the GPU works on it; ratios likewise."""
    lines = ["| case | backend | call | GPU | of floor | eager | compiled |", "|---|---|--:|--:|--:|--:|--:|"]
    for record in records:
        ratios = [
            f"{record['ratios'][kind]['ratio']:.1f} / {record['busy_ratios'][kind]['ratio']:.1f}"
            if kind in record["ratios"]
            else ""
            for kind in ("eager", "compiled")
        ]
        times = [f"{1e6 * record[name]:.0f}" for name in ("median_s", "busy_s")]
        cells = [_name(record), record["backend"], *times, f"{record['share_of_floor']:.0%}", *ratios]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _name(record: dict[str, Any]) -> str:
    sizes = " ".join(f"{name} {size}" for name, size in record["shape"].items())
    return f"{record['op']} {record['dtype']}: {sizes}"


if __name__ == "__main__":
    main()
