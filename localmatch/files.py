"""Files that are there whole or not at all, however the process ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside a file, to be written; it takes the file's place when the block ends without an error."""
    beside = path.with_name(path.name + ".tmp")
    yield beside
    beside.replace(path)
