"""Descriptors -> neighbours: the reference patches near each query patch, and what each is worth as evidence.

Absolute similarity is no evidence: a straight edge is near to every straight edge. A neighbour's evidence is its
similarity over what the query patch finds anyway: its k-th neighbour in the index, and its nearest in the background
(score normalisation as in copy detection: ISC 2021, SSCD). Neighbours that are nearly equal have a little evidence all
the same, see `ALIKE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localmatch.descriptor.encode import QUANTISATION
from localmatch.index.lists import Lists
from localmatch.index.shard import Shard
from localmatch.records import Encoded, Neighbours

NEIGHBOURS, PROBES = 16, 32
"""Neighbours a query patch, the last of which says what similarity is common in the index; and the lists of the index
that are read for them. With 64 lists the search takes twice the time, and as many copied references are shortlisted."""

BACKGROUND_PROBES = 16
"""Lists of the background that are read for the nearest patch there."""

UNKNOWN = -1
"""Where a patch was not looked up; no similarity that counts is below 0."""

STANDS_OUT = round(0.08 * QUANTISATION**2)
"""Patches whose best neighbour exceeds what is common by less are no evidence: of the patches that agree with a true
alignment they bear 0 to 1.4% of the evidence, and they are more than half of all."""

ALIKE, ALIKE_EVIDENCE = round(0.85 * QUANTISATION**2), round(0.03 * QUANTISATION**2)
"""A neighbour of at least this similarity has at least this evidence, however common it is: the corners of logos and
drawings are found everywhere, but not many that agree on one place. Of the logos that a query shows, 77% are among the
shortlisted with it and 48% without."""


class InBackground:
    """What similarity is common in the background, for each descriptor of a query; each is looked up once."""

    def __init__(self, encoded: Encoded, background: Sequence[Lists]) -> None:
        """Take a query, and lists of patches of clean images, of which there may be none."""
        self._descriptors = encoded.descriptors
        self._background = background
        self._known = np.full(len(encoded.descriptors), UNKNOWN, np.int32)

    def similarity(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """Similarity of descriptors, by their numbers (n,), to the nearest of the background."""
        wanted = np.unique(rows)
        wanted = wanted[self._known[wanted] == UNKNOWN]
        self._known[wanted] = 0
        for lists in self._background:
            _, similarity = lists.search(self._descriptors[wanted], 1, BACKGROUND_PROBES)
            self._known[wanted] = np.maximum(self._known[wanted], similarity[:, 0])
        return np.asarray(self._known[rows], np.int32)


def search(encoded: Encoded, shards: Sequence[Shard], background: InBackground) -> Neighbours:
    """Search all patches of a query, in all poses, in the index.

    Args:
        encoded: A query from `encode_query`.
        shards: The index; image numbers count on from shard to shard.
        background: What is common elsewhere.
    """
    shard, row, similarity = _nearest(encoded.descriptors, shards)
    evidence = evidence_of(similarity, _common(similarity, background)[:, None])
    query, rank = np.nonzero((evidence > 0) & (row >= 0))
    shard, row, evidence = shard[query, rank], row[query, rank], evidence[query, rank]
    columns = []
    first_image = first_place = 0
    for number, one in enumerate(shards):
        here = shard == number
        columns.append(_expand(one, query[here], row[here], evidence[here], first_image, first_place))
        first_image += one.part.images
        first_place += one.part.places
    return collect(encoded, columns)


def _nearest(
    descriptors: NDArray[np.int8], shards: Sequence[Shard]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """The nearest rows over all shards: shard, row and similarity, each (R, k), best first."""
    found = [one.lists.search(descriptors, NEIGHBOURS, PROBES) for one in shards]
    shard = np.repeat(np.arange(len(shards)), NEIGHBOURS)[None].repeat(len(descriptors), 0)
    if not found:
        empty = np.zeros((len(descriptors), 0), np.int64)
        return shard, empty, empty.astype(np.int32)
    row = np.concatenate([v for v, _ in found], axis=1)
    similarity = np.concatenate([s for _, s in found], axis=1)
    best = np.argsort(-similarity, axis=1, kind="stable")[:, :NEIGHBOURS]
    take = np.take_along_axis
    return take(shard, best, 1), take(row, best, 1), take(similarity, best, 1)


def _common(similarity: NDArray[np.int32], background: InBackground) -> NDArray[np.int32]:
    """(R,) the similarity that each descriptor finds anyway, from its neighbours (R, k)."""
    best = similarity.max(axis=1, initial=0)
    common = similarity.min(axis=1, initial=np.iinfo(np.int32).max).clip(0)
    if similarity.shape[1] < NEIGHBOURS:
        common[:] = 0
    stands_out = np.flatnonzero(best - common >= STANDS_OUT)
    best[stands_out] = np.maximum(common[stands_out], background.similarity(stands_out))
    return np.asarray(best, np.int32)


def evidence_of(similarity: NDArray[np.int32], common: NDArray[np.int32]) -> NDArray[np.int32]:
    """What neighbours are worth, from their similarity and what similarity is common; shapes broadcast."""
    return np.asarray(np.maximum(similarity - common, np.where(similarity >= ALIKE, ALIKE_EVIDENCE, 0)), np.int32)


def _expand(
    shard: Shard,
    query: NDArray[np.int64],
    row: NDArray[np.int64],
    evidence: NDArray[np.int32],
    first_image: int,
    first_place: int,
) -> tuple[NDArray[np.generic], ...]:
    """Neighbours of one shard with every place of their rows that is not removed."""
    places = shard.places
    start, stop = places.offsets[row], places.offsets[row + 1]
    length = stop - start
    pair = np.repeat(np.arange(len(query)), length)
    place = np.arange(len(pair)) - np.repeat(np.cumsum(length) - length, length) + start[pair]
    left = shard.alive[places.image[place]]
    pair, place = pair[left], place[left]
    image = places.image[place] + np.int32(first_image)
    return query[pair], image, place + first_place, places.xy[place], places.level[place], evidence[pair]


def collect(encoded: Encoded, columns: Sequence[tuple[NDArray[Any], ...]]) -> Neighbours:
    """One sorted record of the neighbours of all shards."""
    if not columns:
        none = np.zeros(0, np.int64)
        columns = [(none, none, none, np.zeros((0, 2)), none, none)]
    row, image, place, xy, level, evidence = (np.concatenate(column) for column in zip(*columns, strict=True))
    patches = encoded.patches
    patch, pose = encoded.patch[row], encoded.pose[row]
    order = np.lexsort((-evidence, place, patch, pose, image))
    # A pair that was found twice, as the patch is and sharpened, counts once.
    pairs = np.column_stack([image, pose, patch, place])[order]
    order = order[np.r_[True, (pairs[1:] != pairs[:-1]).any(1)][: len(order)]]
    return Neighbours(
        reference=image[order].astype(np.int32),
        pose=pose[order],
        query_patch=patch[order],
        reference_patch=place[order].astype(np.int64),
        query_xy=patches.xy[patch[order]],
        reference_xy=xy[order].astype(np.float32),
        query_level=patches.level[patch[order]],
        reference_level=level[order].astype(np.int8),
        evidence=evidence[order].astype(np.int32),
    )
