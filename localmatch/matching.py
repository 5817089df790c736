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

from localmatch.descriptor.encode import TURNED
from localmatch.geometry import POSES
from localmatch.index.shard import Shard
from localmatch.kernels import match_topk
from localmatch.neighbours import ALIKE, STANDS_OUT, InBackground, collect, evidence_of
from localmatch.records import Encoded, Neighbours, Peaks

SHORTLIST, SHORTLIST_TURNED = 64, 32
"""References that are compared exactly with the image as it is, and as many with the image in a mirror; and with it in
each of the poses that are turned."""

COHORT = 16
"""What a patch finds anyway is its similarity to the so-manieth best of the shortlisted references."""

Shortlist = list[list[int]]
"""Numbers of the references to compare with the patches in each pose, best first."""


def shortlist(neighbours: Neighbours, peaks: Peaks) -> Shortlist:
    """The references with the strongest peaks."""
    reference, pose = neighbours.reference[peaks.first], neighbours.pose[peaks.first]
    lists = [list(dict.fromkeys(reference[pose == one].tolist())) for one in range(POSES)]
    return [numbers[: SHORTLIST if one < TURNED else SHORTLIST_TURNED] for one, numbers in enumerate(lists)]


def match_shortlist(
    encoded: Encoded, shards: Sequence[Shard], background: InBackground, references: Shortlist
) -> Neighbours:
    """Mutual nearest neighbours of a query, in each pose, in each of some references.

    Args:
        encoded: A query from `encode_query`.
        shards: The index; image numbers count on from shard to shard.
        background: What is common elsewhere.
        references: From `shortlist`.
    """
    columns = []
    for pose, numbers in enumerate(references):
        first, last = np.searchsorted(encoded.pose, [pose, pose + 1])
        tables = [_table(shards, number) for number in numbers]
        if not tables:
            continue
        place, xy, level, rows = (np.concatenate(column) for column in zip(*tables, strict=True))
        offsets = torch.tensor([0, *(len(table[0]) for table in tables)]).cumsum(0)
        descriptors = torch.from_numpy(encoded.descriptors[first:last])
        found = match_topk(descriptors, torch.from_numpy(rows), offsets, mutual=True)
        best, rows_of, mutual = found.best.numpy(), found.row.numpy(), found.mutual.numpy()
        common = _common(best)
        which, patch = np.nonzero(((best - common >= STANDS_OUT) | (best >= ALIKE)) & (rows_of >= 0))
        row = rows_of[which, patch]
        both = mutual[row] == patch
        which, patch, row = which[both], patch[both], row[both]
        evidence = evidence_of(best[which, patch], np.maximum(common[patch], background.similarity(patch + first)))
        left = evidence > 0
        which, patch, row, evidence = which[left], patch[left], row[left], evidence[left]
        image = np.asarray(numbers, np.int32)[which]
        columns.append((patch + first, image, place[row], xy[row], level[row], evidence))
    return collect(encoded, columns)


def _table(
    shards: Sequence[Shard], number: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int8], NDArray[np.int8]]:
    """Places, positions, levels and descriptors of the patches of a reference."""
    first_place = 0
    for shard in shards:
        if number < shard.part.images:
            place = shard.places_of(number)
            return place + first_place, shard.places.xy[place], shard.places.level[place], shard.descriptors_at(place)
        number -= shard.part.images
        first_place += shard.part.places
    raise IndexError(f"no reference {number}")


def _common(best: NDArray[np.int32]) -> NDArray[np.int32]:
    """(N,) the similarity that each query patch finds anyway, from its best ones (S, N) in the shortlist."""
    if len(best) < COHORT:
        return np.zeros(best.shape[1], np.int32)
    return np.asarray(-np.partition(-best, COHORT - 1, axis=0)[COHORT - 1], np.int32).clip(0)
