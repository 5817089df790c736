"""Clean images -> background: what similarity is common, and which scores images get that copied nothing.

The decision is conformal: p = (1 + #{clean scores >= s}) / (1 + n), valid whatever the scores' distribution as long as
clean images and queries are exchangeable (Vovk, Gammerman and Shafer 2005). The clean images are split into two folds;
each is scored against the background patches of the other, so that no image is normalised by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localmatch._version import __version__
from localmatch.audit import Searcher, find_regions
from localmatch.errors import CalibrationError, CorruptIndexError, ImageError
from localmatch.files import Journal
from localmatch.images import Skipped, Source, expand, read
from localmatch.index.build import Encode, Progress
from localmatch.index.lists import Lists, files, write_lists
from localmatch.index.store import Part, check_files, file_table, new_part
from localmatch.result import PathLike
from localmatch.workers import in_order

FOLDS = 2
"""Lists of background patches."""


def p_value(score: float, clean_scores: NDArray[np.float64]) -> float:
    """Conformal p-value of a score among the scores of clean images."""
    return float((1 + (clean_scores >= score).sum()) / (1 + len(clean_scores)))


def check_alpha(alpha: float, clean_images: int) -> None:
    """Refuse a false-alarm rate that so few clean images cannot show.

    Raises:
        CalibrationError: `alpha` is not in (0, 1), or below 1 / (n + 1).
    """
    if not 0 < alpha < 1:
        raise CalibrationError(f"alpha is a false-alarm rate between 0 and 1, got {alpha}.")
    least = 1 / (clean_images + 1)
    if alpha < least:
        raise CalibrationError(
            f"{clean_images} clean images cannot show a false-alarm rate of {alpha}: the least they can show is "
            f"{least:.4g}. Calibrate with at least {int(np.ceil(1 / alpha)) - 1} clean images, or raise alpha."
        )


class Background:
    """An opened background: lists of clean patches and the scores of clean images."""

    def __init__(self, folder: Path, part: Part) -> None:
        """Open the background of the index at `folder`.

        Raises:
            CorruptIndexError: A file was changed or does not hold what the manifest says.
        """
        path = folder / "background" / part.name
        check_files(path, part, {"scores.json"}.union(*(files(f"fold-{fold}") for fold in range(FOLDS))))
        try:
            scores = np.asarray(json.loads((path / "scores.json").read_text()), np.float64)
            if scores.shape != (part.images,) or not np.isfinite(scores).all():
                raise ValueError(f"expected {part.images} scores, got {scores.shape}")
            self.lists = [Lists(path, f"fold-{fold}", part.descriptors[fold]) for fold in range(FOLDS)]
        except (OSError, ValueError, TypeError, IndexError, RecursionError) as error:
            raise CorruptIndexError(f"{path}: {error}. Run localmatch calibrate again.") from error
        self.scores: NDArray[np.float64] = scores


def learn_background(
    folder: Path,
    searcher: Searcher,
    inputs: Sequence[PathLike],
    known: set[str],
    encode: Encode,
    progress: Progress | None,
    reopen: Callable[[], Searcher],
    workers: int,
) -> tuple[Part, list[Skipped]]:
    """Encode clean images, score each against the index, and write both as a part of the index at `folder`.

    Args:
        folder: The index.
        searcher: The index, opened.
        inputs: Clean images; those whose name is in `known` are not clean and passed over.
        known: Names of the references.
        encode: Encodes clean images as references are.
        progress: Called twice with the name of each image.
        reopen: Opens the index in another process.
        workers: Processes that score.

    Raises:
        CalibrationError: Fewer than two usable images.
    """
    clean: list[Source] = []
    skipped: list[Skipped] = []
    patches: list[list[NDArray[np.int8]]] = [[] for _ in range(FOLDS)]
    for item in encode(_not_known(expand(inputs), known)):
        if isinstance(item, Skipped):
            skipped.append(item)
        else:
            patches[len(clean) % FOLDS].append(item[1].descriptors)
            clean.append(item[0])
        if progress is not None:
            progress(item.name if isinstance(item, Skipped) else item[0].name)
    if len(clean) < FOLDS:
        raise CalibrationError(
            f"{len(clean)} usable clean images, expected at least {FOLDS}; alpha 0.01 needs at least 99."
        )
    with new_part(folder, "background", "background") as path:
        counts = [len(write_lists(path, f"fold-{fold}", descriptors)) for fold, descriptors in enumerate(patches)]
        shards = [[shard.part.files, shard.part.removed] for shard in searcher.shards]
        journal = Journal(folder / "calibrating.journal", [__version__, file_table(path), shards])
        here = _searchers(lambda: searcher, path, counts)
        elsewhere = partial(_searchers, reopen, path, counts)
        scores = _clean_scores(clean, here, elsewhere, workers, journal, progress)
        (path / "scores.json").write_text(json.dumps(scores))
        journal.close()
    return Part(path.name, file_table(path), len(scores), tuple(counts)), skipped


def _not_known(items: Iterable[Source | Skipped], known: set[str]) -> Iterable[Source | Skipped]:
    for item in items:
        yield Skipped(item.name, "in the index, so not clean") if item.name in known else item


def _searchers(open_index: Callable[[], Searcher], path: Path, counts: Sequence[int]) -> list[Searcher]:
    """For the clean images of each fold a searcher whose background are the other folds.

    Args:
        open_index: Gives the index.
        path: Folder of the lists of the folds.
        counts: Their descriptors.
    """
    lists = [Lists(path, f"fold-{fold}", count) for fold, count in enumerate(counts)]
    searcher = open_index()
    return [replace(searcher, background=lists[:fold] + lists[fold + 1 :]) for fold in range(FOLDS)]


def _clean_scores(
    clean: Sequence[Source],
    here: list[Searcher],
    elsewhere: Callable[[], list[Searcher]],
    workers: int,
    journal: Journal,
    progress: Progress | None,
) -> list[float]:
    """Scores of clean images, each normalised by the folds that it is not in; those in the journal stand."""
    scores = in_order(_score, list(enumerate(clean))[len(journal.values) :], here, elsewhere, workers)
    for number, source in enumerate(clean):
        journal.once(str(number), partial(next, scores))
        if progress is not None:
            progress(source.name)
    return list(journal.values.values())


def _score(searchers: list[Searcher], item: tuple[int, Source]) -> float:
    """The score of a clean image, which comes with its number."""
    number, source = item
    try:
        image = read(source)
    except ImageError as error:  # it was readable a moment ago
        raise CalibrationError(f"{error} It changed since it was read: calibrate again.") from error
    _, regions = find_regions(searchers[number % FOLDS], image)
    return regions[0].score if regions else 0.0
