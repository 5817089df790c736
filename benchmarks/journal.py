"""Results on disk as they come, so that a run that was killed goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Journal:
    """Values by name, in a file of JSON lines beside the result file of a benchmark."""

    def __init__(self, result: Path, about: Any) -> None:
        """Go on with the journal of a result file if it is about the same, else begin it.

        Args:
            result: Where the benchmark writes its result.
            about: Whatever values depend on, as JSON: split, counts, commit.
        """
        self.path = result.with_suffix(".journal")
        head = json.dumps(about)
        lines = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        if whole[:1] != [head + "\n"]:
            whole = [head + "\n"]
        self.values: dict[str, Any] = dict(json.loads(line) for line in whole[1:])
        self.path.write_text("".join(whole))

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """The value of a name; computed, as JSON, unless this run or the one before it did."""
        if name not in self.values:
            line = json.dumps([name, compute()])
            with self.path.open("a") as file:
                file.write(line + "\n")
            self.values[name] = json.loads(line)[1]
        return self.values[name]

    def close(self) -> None:
        """The result is written: the journal is not needed any more."""
        self.path.unlink()
