"""What the command line tells people: progress bars and closing words, on stderr."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from localmatch.images import expand, printable

SHOWN_SKIPPED = 20
"""Skipped inputs named on the screen; all are counted."""

console = Console(stderr=True)


def bar_of_work() -> Progress:
    """A progress bar with counts and times."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        console=console,
    )  # fmt: skip


@contextmanager
def progress(what: str, inputs: list[Path] | None, passes: int = 1) -> Iterator[Callable[[str], None]]:
    """A progress bar over all inputs; gives the function that advances it."""
    total = None if inputs is None else passes * sum(1 for _ in expand(inputs))
    with bar_of_work() as bar:
        task = bar.add_task(what, total=total)
        yield lambda name: bar.update(task, advance=1, description=f"{what} {_short(name)}")


def _short(name: str) -> str:
    """The end of a name, safe for a progress bar, which reads brackets as markup."""
    return printable(os.path.basename(name))[-30:].replace("[", "(").replace("]", ")")


def tell_index(index: Any, as_json: bool) -> None:
    """What was passed over and what an index now holds."""
    for one in index.skipped[:SHOWN_SKIPPED]:
        console.print(printable(f"skipped {one.name}: {one.reason}"), style="yellow", highlight=False, markup=False)
    info = index.info()
    more = len(index.skipped) - SHOWN_SKIPPED
    if more > 0:
        console.print(f"... and {more} more", style="yellow")
    console.print(
        f"{info['path']}: {info['images']} images, {info['patches']} patches, {info['bytes'] / 1e6:.1f} MB, "
        f"{len(index.skipped)} inputs skipped, "
        + (f"calibrated on {info['clean_images']} clean images" if info["calibrated"] else "not calibrated")
    )
    if as_json:
        print(json.dumps(info | {"skipped": [{"name": s.name, "reason": s.reason} for s in index.skipped]}))


def tell_report(summary: dict[str, Any], output: Path) -> None:
    """How many images were flagged, and where the report is."""
    counts = f"{summary['queries']} images audited, {summary['errors']} unreadable"
    if summary["calibrated"]:
        console.print(f"{counts}, {summary['flagged']} flagged at a false-alarm rate of {summary['settings']['alpha']}")
    else:
        console.print(
            f"{counts}; [yellow]not calibrated: scores only, no p-values. Run: {summary['calibrate_command']}"
        )
    console.print(f"report: {output / 'index.html'}")
