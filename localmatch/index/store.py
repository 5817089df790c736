"""The index on disk: a manifest that lists immutable parts with their digests, written so that a kill loses nothing.

    train.lmx/
      manifest.json               everything below, with sizes and SHA-256; replaced atomically
      shards/<name>/              descriptors.hnsw, -offsets.npy, -rows.npy; patches.safetensors, images.json
      background/<name>/          fold-0.hnsw, -offsets.npy, -rows.npy; the same of fold-1; scores.json

A part is written in a folder of its own, synced, and only then listed; what is not listed is not there, and is swept at
the next write. Nothing is parsed before its digest was compared, no name leaves the folder, nothing is ever unpickled.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from localmatch.errors import CorruptIndexError, IncompatibleIndexError, IndexError_
from localmatch.files import replacing

FORMAT = 3
"""Version of the layout; another one is refused."""

_PART_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True)
class Part:
    """A folder of immutable files.

    Attributes:
        name: The folder's name.
        files: File name -> (bytes, SHA-256 hex).
        images: Images in it.
        descriptors: Distinct descriptors in its lists, in the order of their names.
        places: Patches in it, collapsed ones counted each.
        removed: Numbers, within the part, of images that were removed.
    """

    name: str
    files: dict[str, tuple[int, str]]
    images: int
    descriptors: tuple[int, ...]
    places: int = 0
    removed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """What an index consists of.

    Attributes:
        descriptor: SHA-256 of the descriptor weights.
        budget: Patches a reference.
        complete: False while its first build is under way.
        shards: In the order of image numbers.
        background: What `calibrate` learned; None before.
        background_shards: Names of the shards that were there when it learned.
        format: Layout version.
    """

    descriptor: str
    budget: int
    complete: bool = False
    shards: tuple[Part, ...] = ()
    background: Part | None = None
    background_shards: tuple[str, ...] = field(default=())
    format: int = FORMAT

    @property
    def calibrated(self) -> bool:
        """Whether the background was learned on all of today's shards; after `add` it must be learned again."""
        return self.background is not None and {s.name for s in self.shards} <= set(self.background_shards)


def read_manifest(folder: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        IndexError_: There is no index.
        CorruptIndexError: It was changed or is not a manifest.
        IncompatibleIndexError: It is of another format version.
    """
    path = folder / "manifest.json"
    try:
        text = path.read_bytes()
    except OSError as error:
        raise IndexError_(
            f"{folder} is not a localmatch index: {error.strerror}. Make one: localmatch index build"
        ) from None
    try:
        record = json.loads(text)
        if record["format"] != FORMAT:
            raise IncompatibleIndexError(
                f"{folder} has index format {record['format']!r}, this version reads {FORMAT}: rebuild it."
            )
        digest = record.pop("digest")
        if digest != _digest(record):
            raise CorruptIndexError(f"{path} was changed: its digest does not match. Restore it or rebuild the index.")
        manifest = _parse(record)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CorruptIndexError(f"{path} is not a manifest ({error!r}). Restore it or rebuild the index.") from error
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest atomically and durably, then sweep parts that it does not list."""
    record = _record(manifest)
    text = json.dumps(record | {"digest": _digest(record)}, indent=1)
    with replacing(folder / "manifest.json") as beside, beside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    _sync(folder)
    _sweep(folder, manifest)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the index for writing; released when the process ends, however it ends.

    Raises:
        IndexError_: Another process writes to it.
    """
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise IndexError_(f"{folder} is being written by another process: wait for it to end.") from None
        yield


@contextmanager
def new_part(folder: Path, kind: str, prefix: str) -> Iterator[Path]:
    """A fresh folder for a part of `kind` "shards" or "background"; synced at the end."""
    parent = folder / kind
    parent.mkdir(exist_ok=True)
    path = parent / f"{prefix}-{os.urandom(6).hex()}"
    path.mkdir()
    yield path
    for file in path.iterdir():
        _sync(file)
    _sync(path)
    _sync(parent)


def file_table(part: Path) -> dict[str, tuple[int, str]]:
    """Sizes and digests of the files of a part."""
    return {file.name: (file.stat().st_size, file_digest(file)) for file in sorted(part.iterdir())}


def check_files(folder: Path, part: Part, expected: set[str]) -> None:
    """Compare every file of a part with the manifest, which must list just the expected ones.

    Raises:
        CorruptIndexError: A file is missing, or its size or digest differs.
    """
    if set(part.files) != expected:
        raise CorruptIndexError(f"{folder}: the manifest lists {sorted(part.files)}, expected {sorted(expected)}.")
    for name, (size, digest) in part.files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise CorruptIndexError(f"{path} is missing or a link. Restore it or rebuild the index.")
        if path.stat().st_size != size or file_digest(path) != digest:
            raise CorruptIndexError(f"{path} was changed: size or SHA-256 differ. Restore it or rebuild the index.")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record(manifest: Manifest) -> dict[str, Any]:
    return dict(json.loads(json.dumps(asdict(manifest))))


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _parse(record: dict[str, Any]) -> Manifest:
    background = record["background"]
    return Manifest(
        descriptor=_expect(record["descriptor"], str),
        budget=_expect(record["budget"], int),
        complete=_expect(record["complete"], bool),
        shards=tuple(_parse_part(shard) for shard in record["shards"]),
        background=None if background is None else _parse_part(background),
        background_shards=tuple(_expect(name, str) for name in record["background_shards"]),
    )


def _parse_part(record: dict[str, Any]) -> Part:
    name = _expect(record["name"], str)
    if not _PART_NAME.fullmatch(name) or not all(_FILE_NAME.fullmatch(file) for file in record["files"]):
        raise ValueError(f"a name that no index has: {name[:80]!r} with {str(list(record['files']))[:80]}")
    images, removed = _count(record["images"]), tuple(_count(number) for number in record["removed"])
    if any(number >= images for number in removed):
        raise ValueError(f"removed image {max(removed)} of {images}")
    return Part(
        name=name,
        files={file: (_expect(size, int), _expect(digest, str)) for file, (size, digest) in record["files"].items()},
        images=images,
        descriptors=tuple(_count(number) for number in record["descriptors"]),
        places=_count(record["places"]),
        removed=removed,
    )


def _count(value: Any) -> int:
    number: int = _expect(value, int)
    if not 0 <= number < 1 << 40:
        raise ValueError(f"a count of {number}")
    return number


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {value!r:.80}")
    return value


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path, manifest: Manifest) -> None:
    """Delete parts that no manifest lists: leftovers of killed runs, and what compaction replaced."""
    listed = {"shards": {s.name for s in manifest.shards}, "background": set()}
    if manifest.background is not None:
        listed["background"].add(manifest.background.name)
    for kind, names in listed.items():
        for path in (folder / kind).glob("*"):
            if path.name not in names:
                shutil.rmtree(path, ignore_errors=True)
