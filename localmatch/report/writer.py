"""Writes a report folder, query by query, so that a killed run goes on where it stopped."""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

import localmatch
from localmatch.api import Index
from localmatch.errors import ImageError, LocalmatchError
from localmatch.files import replacing
from localmatch.images import Skipped, Source, expand
from localmatch.index.build import Progress
from localmatch.kernels import backends
from localmatch.report.page import write_page
from localmatch.report.pictures import write_pictures
from localmatch.report.results import audit_record, flagged_share
from localmatch.result import Audit, PathLike
from localmatch.workers import in_order


def write_report(
    index: Index,
    inputs: Sequence[PathLike],
    output: PathLike,
    *,
    alpha: float,
    overwrite: bool = False,
    progress: Progress | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Audit images and write `results.jsonl`, pictures, `summary.json` and `index.html`.

    A query that cannot be read is reported with its error and the run goes on. Queries that are already in the folder's
    `results.jsonl`, from a run of the same index and settings, are not audited again.

    Args:
        index: The index.
        inputs: Images, folders, lists, tars, Parquet files.
        output: The report folder.
        alpha: False-alarm rate at which an image is flagged.
        overwrite: Replace a report of another index or other settings.
        progress: Called with the name of each query.
        workers: Processes that audit, see `workers.in_order`. The report is the same.

    Returns:
        The summary.

    Raises:
        LocalmatchError: The folder holds another report.
        CalibrationError: The index cannot show so low a false-alarm rate.
    """
    index.check_alpha(alpha)  # before anything is written
    folder = Path(output)
    settings = _settings(index, alpha)
    folder.mkdir(parents=True, exist_ok=True)
    done = _resume(folder, settings, overwrite)
    audit = partial(_audit, alpha=alpha, folder=folder)
    pending = _pending(inputs, set(done), progress)
    elsewhere = partial(Index.open, index.folder, index.weights)
    with (folder / "results.jsonl").open("a") as results:
        for record in in_order(audit, pending, index, elsewhere, workers):
            # The line is written last and whole: a query is done when it is there.
            results.write(json.dumps(record) + "\n")
            results.flush()
            done[record["query"]] = record
            if progress is not None:
                progress(record["query"])
    records = list(done.values())
    summary = _summary(index, records, settings)
    with replacing(folder / "summary.json") as beside:
        beside.write_text(json.dumps(summary, indent=1))
    write_page(folder, records, summary)
    return summary


def picture_folder(name: str) -> str:
    """Where the pictures of a query stand, below the report folder: safe for any file name."""
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in os.path.basename(name))[:40]
    return f"pictures/{stem}-{sha256(os.fsencode(name)).hexdigest()[:10]}"


def _pending(inputs: Sequence[PathLike], handled: set[str], progress: Progress | None) -> Iterator[Source | Skipped]:
    """Inputs by names that were not handled yet, each once."""
    for item in expand(inputs):
        if item.name not in handled:
            handled.add(item.name)
            yield item
        elif progress is not None:
            progress(item.name)


def _audit(index: Index, item: Source | Skipped, alpha: float, folder: Path) -> dict[str, Any]:
    if isinstance(item, Skipped):
        return {"query": item.name, "error": item.reason}
    try:
        audit: Audit = index.audit(item.name, alpha)
    except ImageError as error:
        return {"query": item.name, "error": str(error).removeprefix(f"{item.name}: ")}
    pictures = picture_folder(item.name)
    write_pictures(folder / pictures, audit)
    return audit_record(audit) | {"pictures": pictures}


def _settings(index: Index, alpha: float) -> dict[str, Any]:
    """What a report depends on, besides the queries."""
    background = index.manifest.background if index.background is not None else None
    return {
        "alpha": alpha,
        "index": str(index.folder.resolve()),
        "index_digest": _digest([(p.name, p.files, p.removed) for p in index.manifest.shards]),
        "weights_digest": index.manifest.descriptor,
        "background_digest": None if background is None else _digest(background.files),
    }


def _digest(value: object) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _resume(folder: Path, settings: dict[str, Any], overwrite: bool) -> dict[str, dict[str, Any]]:
    """Records of an earlier run of the same settings; clears what another run left where that is allowed."""
    marker, results = folder / "settings.json", folder / "results.jsonl"
    if results.exists():
        same = marker.exists() and json.loads(marker.read_text()) == settings
        if not same and not overwrite:
            raise LocalmatchError(
                f"{folder} holds a report of another index or other settings: choose another folder, "
                "or pass --overwrite."
            )
        if not same:
            results.unlink()
    with replacing(marker) as beside:
        beside.write_text(json.dumps(settings, indent=1))
    done: dict[str, dict[str, Any]] = {}
    for line in _whole_lines(results):
        record = json.loads(line)
        done[record["query"]] = record
    return done


def _whole_lines(results: Path) -> Iterator[str]:
    """Lines of a file that a kill may have cut; what follows the last whole line is cut off."""
    if not results.exists():
        return
    text = results.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        with replacing(results) as beside:
            beside.write_text(whole)
    yield from whole.splitlines()


def _summary(index: Index, records: Sequence[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    audited = [record for record in records if "error" not in record]
    calibrated = index.background is not None
    return {
        "queries": len(audited),
        "errors": len(records) - len(audited),
        "with_regions": sum(bool(record["regions"]) for record in audited),
        "flagged": sum(bool(record["flagged"]) for record in audited),
        "flagged_share": flagged_share(audited),
        "calibrated": calibrated,
        "clean_images": len(index.background.scores) if index.background is not None else 0,
        "calibrate_command": f"localmatch calibrate {shlex.quote(str(index.folder))} CLEAN_DIR",
        "settings": settings,
        "index": index.info(),
        "versions": {
            "localmatch": localmatch.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "backends": [backend.name for backend in backends() if backend.live],
        },
    }
