"""Images in: folders, files, lists, WebDataset tars and Parquet tables become sources, and sources become RGB arrays.

Every failure is an `ImageError` or a `Skipped` record that names the image and says why; nothing here stops a run.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from localmatch.errors import ImageError, LocalmatchError

_RASTER = ".avif .bmp .dib .gif .j2k .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tga .tif .tiff .webp"
SUFFIXES = frozenset(_RASTER.split())
"""Endings that make a file in a folder or an archive an image."""

MAX_PIXELS = 100_000_000
"""Larger images are refused before a pixel is decoded (decompression bombs)."""

_INSIDE = re.compile(r"(.*?\.(?:tar|parquet))::(.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Source:
    """Where an image comes from.

    Attributes:
        name: Absolute path; inside a tar or Parquet file with a member: `photos.tar::cat.jpg`, `photos.parquet::17`.
    """

    name: str

    @property
    def container(self) -> str:
        """The file that holds the image."""
        inside = _INSIDE.match(self.name)
        return inside[1] if inside else self.name

    @property
    def member(self) -> str | None:
        """The name inside a tar, or the row of a Parquet file; None for a plain file."""
        inside = _INSIDE.match(self.name)
        return inside[2] if inside else None


@dataclass(frozen=True)
class Skipped:
    """An input that was passed over, and why."""

    name: str
    reason: str


def expand(inputs: Iterable[str | os.PathLike[str]]) -> Iterator[Source | Skipped]:
    """Sources of files, folders (recursive, sorted), `*.txt` lists, `.tar` and `.parquet` files.

    A file that comes twice, by its name or by a link, is given once. Folders that links lead back to are left out.
    """
    seen: set[str] = set()
    for item in inputs:
        for found in _expand_one(os.path.abspath(os.fspath(item)), set()):
            if isinstance(found, Source):
                real = os.path.realpath(found.name)
                if real in seen:
                    found = Skipped(found.name, "the same file came before; used once")
                seen.add(real)
            yield found


def _expand_one(path: str, lists: set[str]) -> Iterator[Source | Skipped]:
    suffix = os.path.splitext(path)[1].lower()
    try:
        if os.path.isdir(path):
            yield from _folder(path)
        elif not os.path.exists(path):
            yield Skipped(path, "no such file")
        elif suffix == ".txt":
            yield from _list(path, lists)
        elif suffix == ".tar":
            yield from _tar(path)
        elif suffix == ".parquet":
            yield from (Source(f"{path}::{row}") for row in range(_parquet_rows(path)))
        else:
            yield Source(path)
    except (OSError, tarfile.TarError, ImageError) as error:
        yield Skipped(path, _reason(error))


def _folder(path: str) -> Iterator[Source | Skipped]:
    visited: set[str] = set()
    failures: list[Skipped] = []

    def failed(error: OSError) -> None:
        failures.append(Skipped(str(error.filename), _reason(error)))

    for folder, folders, files in os.walk(path, followlinks=True, onerror=failed):
        real = os.path.realpath(folder)
        if real in visited:
            folders.clear()
            yield Skipped(folder, "a link to a folder already visited")
            continue
        visited.add(real)
        folders.sort()
        for name in sorted(files):
            suffix = os.path.splitext(name)[1].lower()
            if suffix in SUFFIXES:
                yield Source(os.path.join(folder, name))
            elif suffix in (".tar", ".parquet"):
                yield from _expand_one(os.path.join(folder, name), set())
    yield from failures


def _list(path: str, lists: set[str]) -> Iterator[Source | Skipped]:
    if path in lists:
        yield Skipped(path, "a list that names itself")
        return
    with open(path, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            if entry := line.rstrip("\r\n"):
                yield from _expand_one(os.path.abspath(os.path.join(os.path.dirname(path), entry)), lists | {path})


def _tar(path: str) -> Iterator[Source]:
    with tarfile.open(path, "r:", errors="surrogateescape") as archive:
        for member in archive:
            if member.isfile() and os.path.splitext(member.name)[1].lower() in SUFFIXES:
                yield Source(f"{path}::{member.name}")


def read(source: Source) -> NDArray[np.uint8]:
    """Decode an image to (H, W, 3) uint8 RGB, upright by its EXIF, on white where it is transparent.

    The first frame of an animation is read; 16-bit images are scaled by their range.

    Raises:
        ImageError: The image cannot be read; the message names it and says why.
    """
    try:
        with Image.open(_bytes(source)) as image:
            return to_rgb(image)
    except ImageError as error:
        raise ImageError(f"{source.name}: {error}") from None
    except Exception as error:  # decoders raise anything on hostile files: OSError, SyntaxError, struct.error, ...
        raise ImageError(f"{source.name}: {_reason(error)}") from error


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """A PIL image as (H, W, 3) uint8 RGB; see `read`."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height} pixels, over the limit of {MAX_PIXELS:,}: scale it down first")
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("I", "F") or upright.mode.startswith("I;16"):
        return _scaled(np.asarray(upright).astype(np.float32))
    if upright.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in upright.info:
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright.convert("RGBA"))
    return np.ascontiguousarray(upright.convert("RGB"), dtype=np.uint8)


def _scaled(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Wide gray values to uint8: by 257 where they fit 16 bits, else by their own range."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low >= 0 and 255 < high <= 65535:
        low, high = 0.0, 65535.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0 if high > 1 else 1.0
    gray = np.nan_to_num((values - low) / max(high - low, 1e-9) * 255).clip(0, 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)


def _bytes(source: Source) -> io.BytesIO | str:
    if source.member is None:
        return source.container
    if source.container.lower().endswith(".parquet"):
        return io.BytesIO(_parquet_row(source.container, int(source.member)))
    with tarfile.open(source.container, "r:", errors="surrogateescape") as archive:
        file = archive.extractfile(source.member)
        if file is None:
            raise ImageError("no such file in the archive")
        return io.BytesIO(file.read())


def _parquet_rows(path: str) -> int:
    return int(_parquet_file(path).metadata.num_rows)


def _parquet_row(path: str, row: int) -> bytes:
    """The image bytes of one row: of the first column that is binary, or a struct with `bytes` (Hugging Face's)."""
    import pyarrow as pa

    file = _parquet_file(path)
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if row >= rows:
            row -= rows
            continue
        for field in file.schema_arrow:
            nested = pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
            if nested or pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
                value = file.read_row_group(group, columns=[field.name])[field.name][row].as_py()
                data = value["bytes"] if nested and value else value
                if not data:
                    raise ImageError(f"row has no image bytes in column {field.name!r}")
                return bytes(data)
        raise ImageError("no column holds image bytes: expected a binary column, or a struct with a field `bytes`")
    raise ImageError("no such row")


def _parquet_file(path: str):  # type: ignore[no-untyped-def]  # pyarrow has no types
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise LocalmatchError("reading .parquet needs pyarrow: pip install 'localmatch[parquet]'") from error
    try:
        return pq.ParquetFile(Path(path))
    except Exception as error:
        raise ImageError(f"not a readable Parquet file: {error}") from error


def printable(text: str) -> str:
    """A name or message as it can be shown: bytes that are not UTF-8 and control characters are escaped."""
    shown = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def _reason(error: BaseException) -> str:
    """A one-line reason without the path, which stands beside it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__
