"""A shard: the unit that is built, stored, searched, removed from and compacted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from localmatch.errors import CorruptIndexError
from localmatch.index.lists import Lists, files, write_lists
from localmatch.index.store import Part, check_files, file_table, new_part
from localmatch.patches import on_level
from localmatch.records import Encoded

MAX_PLACES = 64
"""Places kept of a patch that occurs more often."""

MAX_IMAGES = 1 << 16
"""Images of a shard are numbered in 16 bits."""

LEVELS = -40, 40
"""Level indices that are believed of a file; those of images are well within."""


@dataclass(frozen=True)
class Places:
    """Where the rows of the lists occur.

    Attributes:
        offsets: (V + 1,) int64; row v occurs at places offsets[v] to offsets[v + 1].
        image: (P,) uint16 number of the image within the shard.
        pixel: (P, 2) uint16 level pixel, x and y, that is the centre.
        level: (P,) int8.
        xy: (P, 2) float32 centre in image pixels.
    """

    offsets: NDArray[np.int64]
    image: NDArray[np.uint16]
    pixel: NDArray[np.uint16]
    level: NDArray[np.int8]
    xy: NDArray[np.float32]


class ShardBuilder:
    """Collects encoded images; equal descriptors share one row: what is everywhere is no evidence, and costs little."""

    def __init__(self) -> None:
        self.images: list[dict[str, str | int]] = []
        self._descriptors: list[NDArray[np.int8]] = []
        self._code: dict[bytes, int] = {}
        self._count: list[int] = []
        self._places: list[tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint16], NDArray[np.int8]]] = []

    def add(self, name: str, encoded: Encoded) -> None:
        """Add one image."""
        number = len(self.images)
        width, height = encoded.size
        # JSON escapes what a file name holds beyond UTF-8 (surrogates), and gives it back.
        self.images.append({"name": name, "width": width, "height": height})
        patches = encoded.patches
        pixel = (patches.xy / _scale(np.array([encoded.size]), patches.level)).astype(np.uint16)
        image = np.full(len(patches), number, np.uint16)
        self.add_patches(image, pixel, patches.level, encoded.descriptors)

    def add_patches(
        self,
        image: NDArray[np.uint16],
        pixel: NDArray[np.uint16],
        level: NDArray[np.int8],
        descriptors: NDArray[np.int8],
    ) -> None:
        """Add places, as in `Places`, with their descriptors."""
        codes = np.empty(len(descriptors), np.int64)
        keep = np.ones(len(descriptors), bool)
        new = []
        for row, descriptor in enumerate(descriptors):
            code = self._code.setdefault(bytes(descriptor), len(self._count))
            if code == len(self._count):
                self._count.append(0)
                new.append(row)
            codes[row] = code
            keep[row] = self._count[code] < MAX_PLACES
            self._count[code] += int(keep[row])
        self._descriptors.append(descriptors[new])
        self._places.append((codes[keep], image[keep], pixel[keep], level[keep]))

    def write(self, folder: Path) -> Part:
        """Write the shard below an index folder; the caller lists it in the manifest."""
        empty = (np.zeros(0, np.int64), np.zeros(0, np.uint16), np.zeros((0, 2), np.uint16), np.zeros(0, np.int8))
        code, image, pixel, level = (np.concatenate(column) for column in zip(empty, *self._places, strict=True))
        with new_part(folder, "shards", "shard") as path:
            rows = write_lists(path, "descriptors", self._descriptors)
            row = np.empty(len(rows), np.int64)
            row[rows] = np.arange(len(rows))
            order = np.argsort(row[code], kind="stable")
            arrays = {
                "count": np.asarray(self._count, np.uint8)[rows],
                "image": image[order],
                "pixel": pixel[order],
                "level": level[order],
            }
            save_file(
                {name: np.ascontiguousarray(array) for name, array in arrays.items()}, path / "patches.safetensors"
            )
            (path / "images.json").write_text(json.dumps(self.images))
        return Part(path.name, file_table(path), len(self.images), (len(self._count),), len(order))


class Shard:
    """A shard opened for search: digests compared, arrays and lists checked."""

    def __init__(self, folder: Path, part: Part) -> None:
        """Open `part` of the index at `folder`.

        Raises:
            CorruptIndexError: A file was changed or does not hold what the manifest says.
        """
        self.part = part
        self.path = folder / "shards" / part.name
        check_files(self.path, part, {*files("descriptors"), "patches.safetensors", "images.json"})
        try:
            self.images = _parse_images(self.path / "images.json", part.images)
            self.places = _parse_places(self.path / "patches.safetensors", part, self.images)
        except (OSError, ValueError, LookupError, TypeError, OverflowError, SafetensorError, RecursionError) as error:
            raise CorruptIndexError(f"{self.path}: {error}. Restore the shard or rebuild the index.") from error
        self.lists = Lists(self.path, "descriptors", part.descriptors[0])
        self.alive = np.ones(part.images, bool)
        self.alive[list(part.removed)] = False
        self._row = np.repeat(np.arange(part.descriptors[0], dtype=np.int32), np.diff(self.places.offsets))
        self._by_image = np.argsort(self.places.image, kind="stable")
        self._image_offsets = np.searchsorted(self.places.image[self._by_image], np.arange(part.images + 1))

    def places_of(self, image: int) -> NDArray[np.int64]:
        """Numbers of the places of an image."""
        return self._by_image[self._image_offsets[image] : self._image_offsets[image + 1]]

    def descriptors_at(self, place: NDArray[np.int64]) -> NDArray[np.int8]:
        """(N, 64) int8 descriptors of places."""
        return np.asarray(self.lists.rows[self._row[place]], np.int8)

    def compacted(self) -> ShardBuilder:
        """A builder with what is left after removals, ready to be written."""
        builder = ShardBuilder()
        builder.images = [image for image, alive in zip(self.images, self.alive, strict=True) if alive]
        number = (np.cumsum(self.alive) - 1).astype(np.uint16)
        left = self.alive[self.places.image]
        builder.add_patches(
            number[self.places.image[left]],
            self.places.pixel[left],
            self.places.level[left],
            self.descriptors_at(np.flatnonzero(left)),
        )
        return builder


def _parse_images(path: Path, count: int) -> list[dict[str, str | int]]:
    images = json.loads(path.read_text())
    if not isinstance(images, list) or len(images) != count:
        raise ValueError(f"images.json does not list {count} images")
    for image in images:
        if type(image["name"]) is not str or type(image["width"]) is not int or type(image["height"]) is not int:
            raise TypeError(f"an image without name and size: {str(image)[:80]}")
    return images


def _parse_places(path: Path, part: Part, images: list[dict[str, str | int]]) -> Places:
    arrays = load_file(path)
    shapes = {
        "count": ((part.descriptors[0],), np.uint8),
        "image": ((part.places,), np.uint16),
        "pixel": ((part.places, 2), np.uint16),
        "level": ((part.places,), np.int8),
    }
    for name, (shape, kind) in shapes.items():
        if arrays[name].shape != shape or arrays[name].dtype != kind:
            raise ValueError(f"{name} is {arrays[name].shape} {arrays[name].dtype}, expected {shape} {kind.__name__}")
    count, image, pixel, level = (arrays[name] for name in shapes)
    offsets = np.r_[0, count.cumsum(dtype=np.int64)]
    if offsets[-1] != part.places:
        raise ValueError(f"rows with {offsets[-1]} places, expected {part.places}")
    if (image >= part.images).any() or (level < LEVELS[0]).any() or (level > LEVELS[1]).any():
        raise ValueError("a place out of range")
    size = np.array([[one["width"], one["height"]] for one in images], np.int64).reshape(-1, 2)[image]
    if (pixel >= on_level(size, level[:, None])).any():
        raise ValueError("a position out of range")
    return Places(offsets, image, pixel, level, ((pixel + 0.5) * _scale(size, level)).astype(np.float32))


def _scale(size: NDArray[np.int64], level: NDArray[np.int8]) -> NDArray[np.float64]:
    """(N, 2) image pixels per level pixel, of images of (width, height) that broadcast to (N, 2), on N levels."""
    return np.asarray(size / on_level(size, level[:, None]), np.float64)
