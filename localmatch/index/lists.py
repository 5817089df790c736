"""Inverted lists of int8 descriptors: those whose centroids are near, by an HNSW graph if they are many, read whole.

Only centroids are vertices of the graph, so a descriptor costs its own bytes and no links, and what is compared in the
lists is exact. (Sivic and Zisserman, "Video Google", ICCV 2003; with a graph over the centroids: Baranchuk, Babenko and
Malkov, "Revisiting the inverted indices for billion-scale approximate nearest neighbors", ECCV 2018.)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from localmatch.descriptor.encode import QUANTISATION
from localmatch.descriptor.network import DIMENSION
from localmatch.errors import CorruptIndexError
from localmatch.index.graph import Graph, GraphBuilder, best_of_runs
from localmatch.kernels import match_topk

LENGTH = 128
"""Descriptors a list on average. Of 1.4 million descriptors the nearest is in the 64 lists of the nearest centroids for
91 of 100 queries; a graph of all (M 12, ef 48) found 86 in three times the time and four times the bytes."""

SAMPLE, ROUNDS = 32, 3
"""k-means learns centroids from so many descriptors each, in so many rounds."""


def files(stem: str) -> set[str]:
    """Names of the files of lists."""
    return {f"{stem}.hnsw", f"{stem}-offsets.npy", f"{stem}-rows.npy"}


def write_lists(folder: Path, stem: str, descriptors: Sequence[NDArray[np.int8]]) -> NDArray[np.int64]:
    """Group descriptors into lists and write them.

    Args:
        folder: Where.
        stem: Begins the files' names.
        descriptors: Parts, each (N, 64); the same in the same order give the same files.

    Returns:
        (N,) which descriptor each row is, counted over all parts.

    Raises:
        LocalmatchError: Less was written than there is.
    """
    table = np.concatenate([np.zeros((0, DIMENSION), np.int8), *descriptors])
    centroids = _centroids(table)
    nearest = _nearest(table, centroids)
    order = np.argsort(nearest, kind="stable")
    graph = GraphBuilder()
    graph.add(centroids)
    graph.save(folder / f"{stem}.hnsw")
    offsets = np.searchsorted(nearest[order], np.arange(len(centroids) + 1)).astype(np.int64)
    np.save(folder / f"{stem}-offsets.npy", offsets)
    np.save(folder / f"{stem}-rows.npy", table[order])
    return order


class Lists:
    """Lists opened for search; rows stay on disk until they are read.

    Attributes:
        count: Descriptors.
        rows: (count, 64) int8, memory-mapped.
    """

    def __init__(self, folder: Path, stem: str, count: int) -> None:
        """Check and open; `count` is what the manifest says.

        Raises:
            CorruptIndexError: The files are not sound lists of that many descriptors.
        """
        path = folder / f"{stem}-rows.npy"
        try:
            # Copy on write, as torch takes no array that is read-only; nothing writes.
            self.rows = np.load(path, mmap_mode="c" if count else None, allow_pickle=False)
            offsets = np.load(folder / f"{stem}-offsets.npy", allow_pickle=False)
        except (OSError, ValueError, EOFError, SyntaxError) as error:
            raise CorruptIndexError(f"{path}: {error}. Restore the file or rebuild the index.") from error
        if self.rows.shape != (count, DIMENSION) or self.rows.dtype != np.int8 or not self.rows.flags.c_contiguous:
            found = f"{self.rows.shape} {self.rows.dtype}"
            raise CorruptIndexError(f"{path}: {found}, expected {(count, DIMENSION)} int8. Rebuild the index.")
        if offsets.ndim != 1 or offsets.dtype != np.int64 or not len(offsets):
            raise CorruptIndexError(f"{folder}: {stem}-offsets.npy does not hold offsets. Rebuild the index.")
        if offsets[0] != 0 or offsets[-1] != count or (np.diff(offsets) < 0).any():
            raise CorruptIndexError(f"{folder}: the lists of {stem} do not hold {count} rows. Rebuild the index.")
        self.count = count
        self._offsets = torch.from_numpy(offsets)
        self._graph = Graph(folder / f"{stem}.hnsw", len(offsets) - 1)

    def search(self, descriptors: NDArray[np.int8], k: int, probes: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The k nearest rows of (N, 64) int8 queries, each in as many lists as `probes` says.

        Returns:
            row (N, k) int64 and similarity (N, k) int32, best first; row -1 and similarity `graph.NOTHING` where fewer
            were found.
        """
        lists, _ = self._graph.search(descriptors, min(probes, self._graph.count))
        return best_of_runs(descriptors, lists.astype(np.int32), self.rows, k, self._offsets)


def _centroids(table: NDArray[np.int8]) -> NDArray[np.int8]:
    """Spherical k-means (Dhillon and Modha, 2001): (L, 64) distinct centroids as long as descriptors are."""
    count = -(-len(table) // LENGTH)
    shuffled = np.random.default_rng(0).permutation(len(table))
    centroids = table[np.sort(shuffled[:count])]
    sample = table[np.sort(shuffled[: SAMPLE * count])]
    for _ in range(ROUNDS if count else 0):
        nearest = _nearest(sample, centroids)
        order = np.argsort(nearest, kind="stable")
        used, first = np.unique(nearest[order], return_index=True)
        mean = np.add.reduceat(sample[order], first, axis=0, dtype=np.int64).astype(np.float64)
        mean *= QUANTISATION / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1)
        centroids[used] = mean.round().clip(-127, 127).astype(np.int8)
    # Equal vectors break graphs.
    return np.unique(centroids, axis=0)


def _nearest(descriptors: NDArray[np.int8], centroids: NDArray[np.int8]) -> NDArray[np.int32]:
    """(N,) number of the nearest centroid."""
    offsets = torch.tensor([0, len(centroids)])
    nearest = match_topk(torch.from_numpy(descriptors), torch.from_numpy(centroids), offsets).row[0]
    return np.asarray(nearest.numpy(), np.int32)
