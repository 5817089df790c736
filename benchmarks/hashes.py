"""Perceptual hashes as peers: PDQ of whole images, and imagehash's crop-resistant hash of segments (extra `peers`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import imagehash
import numpy as np
import pdqhash
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track

from benchmarks.pictures import Pixels, load
from localmatch.records import Box

BIT_ERROR_RATE = 0.25
"""imagehash's default: segments whose hashes differ in a larger share of their bits do not match."""

console: Console = Console(stderr=True)


class HashIndex(ABC):
    """Hashes of all references, each with one or several rows of bits.

    Attributes:
        boxes: The whole of each reference.
    """

    def __init__(self, references: Sequence[Path]) -> None:
        """Read and hash the references."""
        self.boxes: list[Box] = []
        rows, owner = [], []
        for number, path in enumerate(track(references, "hashing", console=console)):
            image = load(path)
            self.boxes.append((0.0, 0.0, float(image.shape[1]), float(image.shape[0])))
            bits = self.bits(image)
            rows.append(np.packbits(bits, axis=1))
            owner.append(np.full(len(bits), number))
        self._rows, self._owner = np.concatenate(rows), np.concatenate(owner)
        self._first = np.searchsorted(self._owner, np.arange(len(references)))

    @abstractmethod
    def bits(self, image: Pixels) -> NDArray[np.bool_]:
        """(N, B) hashes of an image."""

    @abstractmethod
    def score(self, distance: NDArray[np.int64], bits: int) -> NDArray[np.float64]:
        """(R,) how near references are, from the least distance of each hash (N, R) to theirs."""

    def nearest(self, image: Pixels) -> tuple[int, float]:
        """Number of the nearest reference, of the image or its mirror, and its score."""
        scores = [self._scores(one) for one in (image, np.ascontiguousarray(image[:, ::-1]))]
        best = np.max(scores, axis=0)
        return int(best.argmax()), float(best.max())

    def _scores(self, image: Pixels) -> NDArray[np.float64]:
        bits = self.bits(image)
        differing = np.bitwise_count(np.packbits(bits, axis=1)[:, None] ^ self._rows[None]).sum(2, dtype=np.int64)
        return self.score(np.minimum.reduceat(differing, self._first, axis=1), bits.shape[1])


class Pdq(HashIndex):
    """PDQ (Meta, 2019): 256 bits of a whole image; the score is the number of equal bits."""

    def bits(self, image: Pixels) -> NDArray[np.bool_]:
        """One hash."""
        vector, _ = pdqhash.compute(image)
        return np.asarray(vector, bool)[None]

    def score(self, distance: NDArray[np.int64], bits: int) -> NDArray[np.float64]:
        """Equal bits."""
        return np.asarray(bits - distance[0], np.float64)


class CropResistant(HashIndex):
    """imagehash's crop-resistant hash (Steinebach et al., ARES 2014), scored as its `ImageMultiHash` does."""

    def bits(self, image: Pixels) -> NDArray[np.bool_]:
        """One hash a segment."""
        segments = imagehash.crop_resistant_hash(Image.fromarray(image)).segment_hashes
        return np.stack([np.asarray(one.hash, bool).ravel() for one in segments])

    def score(self, distance: NDArray[np.int64], bits: int) -> NDArray[np.float64]:
        """Segments that match, less their mean distance."""
        near = distance <= BIT_ERROR_RATE * bits
        matches = near.sum(0)
        apart = np.where(near, distance, 0).sum(0) / np.maximum(matches * bits, 1)
        return np.asarray(np.where(matches > 0, matches - apart, 0.0), np.float64)


HASHES: dict[str, type[HashIndex]] = {"pdq": Pdq, "imagehash": CropResistant}
