"""Files that lose nothing, however the process ends: whole or not there, or a journal of what was done so far."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside a file, to be written; it takes the file's place when the block ends without an error."""
    beside = path.with_name(path.name + ".tmp")
    yield beside
    beside.replace(path)


class Journal:
    """Values by name, on disk as they come, so that work that was killed goes on where it was."""

    def __init__(self, path: Path, about: Any) -> None:
        """Go on with the journal at `path` if it is about the same, else begin it.

        Args:
            path: A file of JSON lines.
            about: Whatever the values depend on, as JSON.
        """
        self.path = path
        head = hashlib.sha256(json.dumps(about).encode()).hexdigest() + "\n"
        try:
            lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            kept = lines[1:] if lines[:1] == [head] else []
            self.values: dict[str, Any] = dict(json.loads(line) for line in kept)
        except (OSError, ValueError, TypeError, RecursionError):  # not ours: begin anew
            kept, self.values = [], {}
        path.write_text("".join([head, *kept]))

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """The value of a name; computed, as JSON, unless this run or the one before it did."""
        if name not in self.values:
            line = json.dumps([name, compute()])
            with self.path.open("a") as file:
                file.write(line + "\n")
            self.values[name] = json.loads(line)[1]
        return self.values[name]

    def close(self) -> None:
        """The whole is written elsewhere: the journal is not needed any more."""
        self.path.unlink()
