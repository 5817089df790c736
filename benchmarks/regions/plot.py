"""Recall against area, one line a system, and the tables of the README, from a result file.

python -m benchmarks.regions.plot benchmarks/results/regions.json --out docs/regions.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

GROUPS = ("plain", "single", "combined")
TITLES = {"plain": "plain copies", "single": "one change", "combined": "several changes"}


def main() -> None:
    """Draw and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--alpha", default="0.01", help="false-alarm rate, as the result file names it")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    systems = json.loads(arguments.result.read_text())["systems"]
    told = {name: one[f"far_{arguments.alpha}"] for name, one in systems.items()}
    told = {name: one for name, one in told.items() if isinstance(one, dict)}
    draw(told, arguments.out)
    print("\n\n".join([table(told), families(told)]))


def draw(told: dict[str, Any], out: Path) -> None:
    """One panel a group of families."""
    figure, axes = pyplot.subplots(1, len(GROUPS), figsize=(11, 3.4), sharey=True, layout="constrained")
    for axis, group in zip(axes, GROUPS, strict=True):
        for name, one in told.items():
            by_area = one["recall"]["strict"]["by_area"]
            areas = [float(area) for area in by_area]
            recall = [by_area[area][group]["share"] for area in by_area]
            axis.plot(
                areas, recall, marker="o", markersize=4, linewidth=2.4 if name == "localmatch" else 1.2, label=name
            )
        axis.set_xscale("log")
        axis.set_xticks(areas, [f"{100 * area:g}%" for area in areas], fontsize=8)
        axis.minorticks_off()
        axis.set_title(TITLES[group], fontsize=10)
        axis.set_xlabel("area of the query that was copied", fontsize=9)
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("recall", fontsize=9)
    axes[0].set_ylim(-0.03, 1.03)
    axes[-1].legend(fontsize=8, loc="upper left")
    figure.savefig(out, dpi=110)


def table(told: dict[str, Any]) -> str:
    """Recall by area: plain, one change, several changes."""
    areas = list(next(iter(told.values()))["recall"]["strict"]["by_area"])
    lines = ["| system | " + " | ".join(f"{100 * float(area):g}%" for area in areas) + " | false alarms |"]
    lines.append("|---|" + "--:|" * (len(areas) + 1))
    for name, one in told.items():
        by_area = one["recall"]["strict"]["by_area"]
        cells = [" / ".join(_percent(by_area[area][group]) for group in GROUPS) for area in areas]
        lines.append(f"| {name} | {' | '.join(cells)} | {_percent(one['measured'])} |")
    return "\n".join(lines)


def families(told: dict[str, Any]) -> str:
    """Recall by family, over all areas."""
    names = list(next(iter(told.values()))["recall"]["strict"]["by_family"])
    lines = ["| family | " + " | ".join(told) + " |", "|---|" + "--:|" * len(told)]
    for family in names:
        cells = [_percent(one["recall"]["strict"]["by_family"][family]) for one in told.values()]
        lines.append(f"| {family} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _percent(one: dict[str, Any]) -> str:
    return f"{100 * one['share']:.0f}" if one["n"] else ""


if __name__ == "__main__":
    main()
