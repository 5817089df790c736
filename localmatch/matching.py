"""Shortlisted references -> neighbours: all patches of the query against all of the few references that won votes.

The index says which references to look at, from the few best neighbours of each patch among all; here every patch is
compared with all patches of those references, exactly, and only mutual nearest neighbours count. So a small region gets
all the pairs that it has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from localmatch.index.lists import Lists
from localmatch.index.shard import SUBPIXEL, Shard
from localmatch.kernels import match_topk
from localmatch.neighbours import ALIKE, STANDS_OUT, collect, evidence_of, in_background
from localmatch.records import Encoded, Neighbours, Peaks

SHORTLIST = 96
"""References that are compared exactly."""

COHORT = 16
"""What a patch finds anyway is its similarity to the so-manieth best of the shortlisted references."""


def shortlist(neighbours: Neighbours, peaks: Peaks) -> list[int]:
    """The references with the strongest peaks, best first."""
    reference = neighbours.reference[peaks.first]
    _, first = np.unique(reference, return_index=True)
    return [int(number) for number in reference[np.sort(first)][:SHORTLIST]]


def match_shortlist(
    encoded: Encoded, shards: Sequence[Shard], background: Sequence[Lists], references: Sequence[int]
) -> Neighbours:
    """Mutual nearest neighbours of a query, plain and mirrored, in each of some references.

    Args:
        encoded: A query from `encode_query`.
        shards: The index; image numbers count on from shard to shard.
        background: Lists of patches of clean images; may be empty.
        references: Numbers of the references.
    """
    if encoded.mirrored is None:
        raise ValueError("expected an image encoded as a query, got one encoded as a reference")
    tables = [_table(shards, number) for number in references]
    place, xy, level, rows = (np.concatenate(column) for column in zip(*tables, strict=True))
    offsets = np.cumsum([0, *(len(table[0]) for table in tables)])
    columns = []
    for mirrored, descriptors in enumerate((encoded.descriptors, encoded.mirrored)):
        found = match_topk(
            torch.from_numpy(descriptors), torch.from_numpy(rows), torch.from_numpy(offsets), mutual=True
        )
        best, rows_of, mutual = found.best.numpy(), found.row.numpy(), found.mutual.numpy()
        common = _common(best)
        which, patch = np.nonzero(((best - common >= STANDS_OUT) | (best >= ALIKE)) & (rows_of >= 0))
        row = rows_of[which, patch]
        both = mutual[row] == patch
        which, patch, row = which[both], patch[both], row[both]
        common = in_background(descriptors, common, np.unique(patch), background)
        evidence = evidence_of(best[which, patch], common[patch])
        left = evidence > 0
        which, patch, row, evidence = which[left], patch[left], row[left], evidence[left]
        image = np.asarray(references, np.int32)[which]
        columns.append((patch + mirrored * len(descriptors), image, place[row], xy[row], level[row], evidence))
    return collect(encoded, columns)


def _table(
    shards: Sequence[Shard], number: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int8], NDArray[np.int8]]:
    """Places, positions, levels and descriptors of the patches of a reference."""
    first_place = 0
    for shard in shards:
        if number < shard.part.images:
            place = shard.places_of(number)
            xy = (shard.places.xy[place] / SUBPIXEL).astype(np.float32)
            return place + first_place, xy, shard.places.level[place], shard.descriptors_at(place)
        number -= shard.part.images
        first_place += shard.part.places
    raise IndexError(f"no reference {number}")


def _common(best: NDArray[np.int32]) -> NDArray[np.int32]:
    """(N,) the similarity that each query patch finds anyway, from its best ones (S, N) in the shortlist."""
    if len(best) < COHORT:
        return np.zeros(best.shape[1], np.int32)
    return np.asarray(-np.partition(-best, COHORT - 1, axis=0)[COHORT - 1], np.int32).clip(0)
