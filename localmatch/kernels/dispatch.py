"""Which backend serves a call, and why the others do not."""

from __future__ import annotations

import os
from dataclasses import dataclass

from localmatch.errors import BackendError
from localmatch.kernels import library

VARIABLE = "LOCALMATCH_BACKEND"
"""Environment variable that names a backend for all calls."""

PREFERENCE = ("cpp", "torch")
"""Backends from fastest to the reference."""


@dataclass(frozen=True)
class Backend:
    """A backend and whether it can serve here.

    Attributes:
        name: "cpp" (compiled C++) or "torch" (the reference).
        reason: Why it cannot serve; None when it is live.
        detail: Where it comes from.
    """

    name: str
    reason: str | None
    detail: str

    @property
    def live(self) -> bool:
        """Whether calls can use it."""
        return self.reason is None


def backends() -> list[Backend]:
    """All backends, fastest first, each live or with the reason why not."""
    return [
        Backend("cpp", library.unavailable_reason(), str(library.PATH)),
        Backend("torch", None, "reference, always there"),
    ]


def choose(backend: str | None) -> str:
    """The backend that serves a call.

    Args:
        backend: A name, or None for LOCALMATCH_BACKEND or, where that is not set, the fastest live one.

    Raises:
        BackendError: The named backend does not exist or cannot serve here.
    """
    name = backend or os.environ.get(VARIABLE) or "auto"
    everything = backends()
    for candidate in everything:
        if candidate.live and name in (candidate.name, "auto"):
            return candidate.name
    reasons = "; ".join(f"{b.name}: {b.reason or 'live'}" for b in everything)
    raise BackendError(f"backend {name!r} cannot serve ({reasons}). Choose one of {', '.join(PREFERENCE)} or auto.")
