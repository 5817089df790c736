"""HNSW graphs (hnswlib) of int8 descriptors: built, checked before they are loaded, searched.

hnswlib trusts its files: a flipped bit crashes the process or loads silently (see `check_graph`). The int8 descriptors
are stored as whole float32 numbers, whose inner products are exact below 2^24: similarities are the same on every CPU.
(Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using HNSW graphs", 2016.)
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import hnswlib
import numpy as np
import torch
from numpy.typing import NDArray

from localmatch.descriptor.network import DIMENSION
from localmatch.errors import CorruptIndexError, LocalmatchError
from localmatch.kernels import rerank_topk

LINKS, EF_CONSTRUCTION = 12, 80
"""hnswlib's M and ef_construction."""

EF_SEARCH = 16
"""Candidates kept during a search, where fewer are asked for."""

WHOLE = 1 << 17
"""Up to so many vertices all are compared: no slower there than the graph, which finds 75 to 84% of the 32 nearest."""

NOTHING = -(1 << 30)
"""Similarity where there is nothing: less than any, and no sum with another overflows."""

_HEADER = struct.Struct("<6Q2I3QdQ")
_LEVEL0_LINKS = 4 * (2 * LINKS + 1)
_ROW = np.dtype(
    [
        ("count", "<u2"),
        ("deleted", "u1"),
        ("unused", "u1"),
        ("links", "<u4", (2 * LINKS,)),
        ("vector", "<f4", (DIMENSION,)),
        ("label", "<u8"),
    ]
)
_UPPER = np.dtype([("count", "<u2"), ("unused", "<u2"), ("links", "<u4", (LINKS,))])


class GraphBuilder:
    """A graph that grows; the same vectors in the same order give the same file."""

    def __init__(self) -> None:
        self._index = hnswlib.Index("ip", DIMENSION)
        self._index.init_index(1 << 14, LINKS, EF_CONSTRUCTION, random_seed=1)

    def __len__(self) -> int:
        return int(self._index.get_current_count())

    def add(self, descriptors: NDArray[np.int8]) -> None:
        """Add (N, 64) int8 descriptors; their labels count on from those before."""
        if not len(descriptors):
            return
        size = len(self) + len(descriptors)
        if size > self._index.get_max_elements():
            self._index.resize_index(max(size, 2 * self._index.get_max_elements()))
        # One thread: insertion order decides the graph.
        self._index.add_items(descriptors.astype(np.float32), np.arange(len(self), size), num_threads=1)

    def save(self, path: Path) -> None:
        """Write the graph; hnswlib returns normally when the disk is full, so the size is compared.

        Raises:
            LocalmatchError: Fewer bytes were written than the graph has.
        """
        self._index.save_index(str(path))
        written = path.stat().st_size if path.exists() else 0
        if written != self._index.index_file_size():
            raise LocalmatchError(
                f"{path}: wrote {written} of {self._index.index_file_size()} bytes. Is the disk full?"
            )


class Graph:
    """A graph opened for search; the vertices of a small one are all compared, which takes less time and is exact."""

    def __init__(self, path: Path, count: int) -> None:
        """Check and load; `count` is what the manifest says.

        Raises:
            CorruptIndexError: The file is not a sound graph of that many vectors.
        """
        check_graph(path, count)
        self.count = count
        self._vectors = _vectors(path, count) if count <= WHOLE else None
        self._index = hnswlib.Index("ip", DIMENSION)
        if self._vectors is None:
            try:
                self._index.load_index(str(path))
            except RuntimeError as error:
                raise CorruptIndexError(f"{path}: hnswlib cannot load it: {error}") from error

    def search(self, descriptors: NDArray[np.int8], k: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The k nearest vertices of (N, 64) int8 queries.

        Returns:
            vertex (N, k) int64 and similarity (N, k) int32, best first; vertex -1 and similarity `NOTHING` where the
            graph has fewer than k vertices in reach.
        """
        if self._vectors is not None:
            everything = np.zeros((len(descriptors), 1), np.int32)
            return best_of_runs(descriptors, everything, self._vectors, k, torch.tensor([0, self.count]))
        vertex = np.full((len(descriptors), k), -1, np.int64)
        similarity = np.full((len(descriptors), k), NOTHING, np.int32)
        reach = min(k, self.count)
        self._index.set_ef(max(reach, EF_SEARCH))
        while reach and len(descriptors):
            try:
                labels, distance = self._index.knn_query(descriptors.astype(np.float32), reach)
            except RuntimeError:  # fewer vertices are connected than asked for
                reach //= 2
                continue
            vertex[:, :reach] = labels
            similarity[:, :reach] = 1 - distance
            break
        return vertex, similarity


def best_of_runs(
    descriptors: NDArray[np.int8], runs: NDArray[np.int32], rows: NDArray[np.int8], k: int, offsets: torch.Tensor
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """`rerank_topk` as a search: row and similarity, each (N, k), best first; -1 and `NOTHING` where fewer are."""
    queries = torch.from_numpy(np.ascontiguousarray(descriptors))
    score, row = rerank_topk(queries, torch.from_numpy(runs), torch.from_numpy(rows), k, offsets)
    return row.numpy().astype(np.int64), np.maximum(score.numpy(), NOTHING)


def _vectors(path: Path, count: int) -> NDArray[np.int8]:
    """The vectors of a checked graph file by their labels, (count, 64) int8."""
    rows = np.fromfile(path, _ROW, count, offset=_HEADER.size)
    vectors = np.empty((count, DIMENSION), np.int8)
    vectors[rows["label"]] = rows["vector"]
    return vectors


def check_graph(path: Path, count: int) -> None:
    """Check header, vectors, labels and every link of a graph file, so that hnswlib never leaves its arrays.

    Raises:
        CorruptIndexError: Says what was found and what was expected.
    """

    def require(holds: object, what: str) -> None:
        if not holds:
            raise CorruptIndexError(f"{path}: {what}. Restore the file or rebuild the index.")

    size = path.stat().st_size
    require(size >= _HEADER.size, f"{size} bytes, shorter than a header")
    with path.open("rb") as file:
        # Not closed by hand: arrays look into it for as long as an error's traceback lives.
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    (offset0, capacity, found, row_size, label_offset, data_offset, top, entry, upper, lower, links, mult, _) = (
        _HEADER.unpack_from(data)
    )
    layout = (offset0, row_size, label_offset, data_offset, upper, lower, links)
    expected = (0, _ROW.itemsize, _ROW.itemsize - 8, _LEVEL0_LINKS, LINKS, 2 * LINKS, LINKS)
    require(layout == expected, f"layout {layout}, expected {expected}")
    require(found == count and count <= capacity < 1 << 40, f"{found} of {capacity} vectors, expected {count}")
    require(0 < mult < 10, f"level factor {mult}")
    if not count:
        require(size == _HEADER.size, "bytes after an empty graph")
        return
    end = _HEADER.size + count * _ROW.itemsize
    require(size >= end + 4 * count, "the file ends early")
    rows = np.frombuffer(data, _ROW, count, _HEADER.size)
    _check_rows(rows, require)
    levels = _check_upper(data, end, size, count, require)
    require(entry < count and top == levels[entry] == levels.max(), "a wrong entry point")


def _check_rows(rows: NDArray[np.void], require) -> None:  # type: ignore[no-untyped-def]
    count = len(rows)
    used = np.arange(2 * LINKS) < rows["count"][:, None]
    require((rows["count"] <= 2 * LINKS).all(), "too many links")
    require((rows["links"][used] < count).all(), "a link out of range")
    require(
        (np.bincount(rows["label"].clip(0, count), minlength=count + 1)[:count] == 1).all(), "labels not 0 to n - 1"
    )
    require(not rows["deleted"].any(), "a vector marked as deleted")
    vectors = rows["vector"]
    require((np.abs(vectors) <= 127).all() and (vectors == np.rint(vectors)).all(), "a vector that is not int8")


def _check_upper(data: mmap.mmap, start: int, size: int, count: int, require) -> NDArray[np.int64]:  # type: ignore[no-untyped-def]
    """Walk the lists of the upper levels; the level of each vertex."""
    levels = np.zeros(count, np.int64)
    lists: list[tuple[int, int]] = []
    position = start
    for vertex in range(count):
        require(position + 4 <= size, "the file ends early")
        length = int.from_bytes(data[position : position + 4], "little")
        position += 4
        if length:
            require(length % _UPPER.itemsize == 0 and position + length <= size, "a list of a wrong length")
            levels[vertex] = length // _UPPER.itemsize
            lists.append((vertex, position))
            position += length
    require(position == size, "bytes after the last list")
    for vertex, at in lists:
        upper = np.frombuffer(data, _UPPER, levels[vertex], at).copy()
        require((upper["count"] <= LINKS).all(), "too many links")
        for level, row in enumerate(upper, 1):
            linked = row["links"][: row["count"]]
            require((linked < count).all() and (levels[linked] >= level).all(), "a link out of range")
    return levels
