"""Average precision over all queries: of regions as VSC2022 defines it, and of images as isc2021 does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from localmatch.records import Box

PRECISION = 0.9
"""Recall of images is told at this precision."""


class Segment(NamedTuple):
    """A reference's number and the boxes on query and reference, as fractions of the images; `score` where found."""

    reference: int
    query_box: Box
    reference_box: Box
    score: float = 0.0


@dataclass(frozen=True)
class Answer:
    """What is on a query, nothing for clean ones, and what a system found there."""

    true: tuple[Segment, ...]
    found: tuple[Segment, ...]

    @classmethod
    def of(cls, true: Sequence[Sequence[Any]], found: Sequence[Sequence[Any]]) -> Answer:
        """From segments, or from what JSON makes of them."""
        first, second = (
            tuple(Segment(number, tuple(own), tuple(other), score) for number, own, other, score in segments)
            for segments in (true, found)
        )
        return cls(first, second)


def segment_average_precision(answers: Sequence[Answer]) -> float:
    """Micro average precision of regions (Pizzi et al., "The 2023 Video Similarity Dataset and Challenge", 2023).

    Of all regions that score over a threshold, precision is the share of their area that is right and recall the share
    of the true area that they cover, each the geometric mean of both sides; boxes of one query and one reference are
    united first. The paper has intervals of time for boxes.
    """
    true, found = _pairs([answer.true for answer in answers]), _pairs([answer.found for answer in answers])
    total = sum((np.array([_area(boxes) for boxes in _sides(segments)]) for segments in true.values()), np.zeros(2))
    events = sorted((segment.score, pair) for pair, segments in found.items() for segment in segments)[::-1]
    shown, right, last_recall, result = np.zeros(2), np.zeros(2), 0.0, 0.0
    before: dict[tuple[int, int], NDArray[np.float64]] = defaultdict(lambda: np.zeros((2, 2)))
    for number, (score, pair) in enumerate(events):
        seen = [segment for segment in found[pair] if segment.score >= score]
        now = np.array([_areas(*sides) for sides in zip(_sides(seen), _sides(true.get(pair, [])), strict=True)])
        shown, right = shown + now[:, 0] - before[pair][:, 0], right + now[:, 1] - before[pair][:, 1]
        before[pair] = now
        if number + 1 < len(events) and events[number + 1][0] == score:
            continue  # equal scores pass a threshold together
        recall = float(np.sqrt((right / total).prod()))
        result += (recall - last_recall) * float(np.sqrt((right / shown).prod()))
        last_recall = recall
    return result


def image_ranking(answers: Sequence[Answer]) -> tuple[float, float]:
    """Micro average precision of (query, reference) pairs, and their recall at 90% precision (Douze et al., 2021)."""
    true = {(query, segment.reference) for query, answer in enumerate(answers) for segment in answer.true}
    best: dict[tuple[int, int], float] = {}
    for query, answer in enumerate(answers):
        for segment in answer.found:
            pair = query, segment.reference
            best[pair] = max(best.get(pair, 0.0), segment.score)
    ranked = sorted(best, key=lambda pair: -best[pair])
    scores, right = np.array([best[pair] for pair in ranked]), np.cumsum([pair in true for pair in ranked])
    if not len(ranked):
        return 0.0, 0.0
    last = np.append(scores[1:] != scores[:-1], True)  # equal scores pass a threshold together
    recall, precision = right[last] / len(true), (right / np.arange(1, len(ranked) + 1))[last]
    return float((np.diff(recall, prepend=0.0) * precision).sum()), float(recall[precision >= PRECISION].max(initial=0))


def _pairs(segments: Sequence[Sequence[Segment]]) -> dict[tuple[int, int], list[Segment]]:
    """Segments of each query by query and reference."""
    pairs: dict[tuple[int, int], list[Segment]] = defaultdict(list)
    for query, own in enumerate(segments):
        for segment in own:
            pairs[query, segment.reference].append(segment)
    return dict(pairs)


def _sides(segments: Sequence[Segment]) -> Iterator[list[Box]]:
    yield [segment.query_box for segment in segments]
    yield [segment.reference_box for segment in segments]


def _area(boxes: Sequence[Box]) -> float:
    return _areas(boxes, [])[0]


def _areas(boxes: Sequence[Box], others: Sequence[Box]) -> tuple[float, float]:
    """The area of the union of boxes, and of what it shares with the union of others."""
    every = np.array([*boxes, *others], np.float64).reshape(-1, 4)
    x, y = np.unique(every[:, ::2]), np.unique(every[:, 1::2])

    def covered(some: Sequence[Box]) -> NDArray[np.bool_]:
        cells = np.zeros((max(len(y) - 1, 0), max(len(x) - 1, 0)), bool)
        for x0, y0, x1, y1 in some:
            cells[np.searchsorted(y, y0) : np.searchsorted(y, y1), np.searchsorted(x, x0) : np.searchsorted(x, x1)] = 1
        return cells

    area, own = np.outer(np.diff(y), np.diff(x)), covered(boxes)
    return float(area[own].sum()), float(area[own & covered(others)].sum())
