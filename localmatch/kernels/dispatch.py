"""Which backend serves a call, and why the others do not."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from localmatch.errors import BackendError
from localmatch.kernels import library

VARIABLE = "LOCALMATCH_BACKEND"
"""Environment variable that names a backend for all calls."""

INTERPRETER = "TRITON_INTERPRET"
"""Environment variable of Triton that runs its kernels on the CPU, slowly, to test them; read when it is imported."""


@dataclass(frozen=True)
class Backend:
    """A backend and whether it can serve here.

    Attributes:
        name: "cuda" (CUDA C++), "triton", "cpp" (C++ for the CPU) or "torch" (the reference).
        devices: Kinds of device whose tensors it takes.
        reason: Why it cannot serve; None when it is live.
        detail: Where it comes from.
    """

    name: str
    devices: tuple[str, ...]
    reason: str | None
    detail: str

    @property
    def live(self) -> bool:
        """Whether calls can use it."""
        return self.reason is None


def register(name: str, schema: str, implementation: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """Make an op known to torch, so that `torch.compile` keeps it whole.

    Not `torch.library.custom_op`: it imports torch's compiler at the first call, which takes two seconds.
    """
    torch.library.define(f"localmatch::{name}", schema)
    torch.library.impl(f"localmatch::{name}", "default", implementation)
    torch.library.register_fake(f"localmatch::{name}", fake)


def checks_values(tensor: Tensor) -> bool:
    """Whether a tensor's values are checked.

    A check of values on a GPU would wait for all that is queued there. Its forms stay within their memory whatever the
    values are, and give results without meaning where these do not fit.
    """
    return tensor.device.type == "cpu"


def check_offsets(offsets: Tensor, count: int) -> int:
    """Refuse offsets of groups that do not rise from 0 to `count`; the size of the largest group.

    Raises:
        ValueError: Shows how they begin.
    """
    rows = offsets.numpy(force=True)
    sizes = np.diff(rows) if rows.ndim == 1 else rows
    if rows.ndim != 1 or not len(rows) or rows[0] != 0 or rows[-1] != count or (sizes < 0).any():
        raise ValueError(f"expected offsets rising from 0 to {count}, got {rows[:3].tolist()} ...")
    return int(sizes.max(initial=0))


def backends() -> list[Backend]:
    """All backends, fastest first, each live or with the reason why not."""
    isa = "" if library.unavailable_reason("cpp") else f", {library.ISAS[library.isa()]}"
    details = {
        "cuda": str(library.path("cuda")),
        "triton": "in its interpreter" if _interpreted() else "compiled at the first call",
        "cpp": f"{library.path('cpp')}{isa}",
        "torch": "reference, always there",
    }
    return [Backend(name, _devices(name), _reason(name), detail) for name, detail in details.items()]


def _devices(name: str) -> tuple[str, ...]:
    """Kinds of device whose tensors a backend takes."""
    if name == "torch" or (name == "triton" and _interpreted()):
        return ("cpu", "cuda")
    return ("cpu",) if name == "cpp" else ("cuda",)


def _reason(name: str) -> str | None:
    """Why a backend cannot serve; None when it can."""
    if name == "torch":
        return None
    if name == "triton":
        return _no_triton() or (None if _interpreted() else _no_gpu())
    return library.unavailable_reason(name) or (_no_gpu() if name == "cuda" else None)


def choose(backend: str | None, device: torch.device, serving: tuple[str, ...]) -> str:
    """The backend that serves a call.

    Args:
        backend: A name, or None for LOCALMATCH_BACKEND or, where that is not set, the fastest live one.
        device: Where the tensors are.
        serving: Backends that have this op, fastest first on a device that several of them take.

    Raises:
        BackendError: The named backend does not exist, cannot serve here, or does not have this op.
    """
    name = backend or os.environ.get(VARIABLE) or "auto"
    for candidate in serving:
        # Interpreted kernels are for tests: only a name chooses them.
        automatic = name == "auto" and not (candidate == "triton" and device.type == "cpu")
        if (name == candidate or automatic) and device.type in _devices(candidate) and _reason(candidate) is None:
            return candidate
    reasons = "; ".join(f"{one.name}: {_refusal(one, device, serving)}" for one in backends())
    raise BackendError(
        f"backend {name!r} cannot serve ({reasons}). Choose one of {', '.join(serving)} or auto for this op."
    )


def _refusal(one: Backend, device: torch.device, serving: tuple[str, ...]) -> str:
    if one.name not in serving:
        return "does not have this op"
    if one.reason is None and device.type not in one.devices:
        return f"does not take tensors on {device.type}"
    return one.reason or "live"


def _interpreted() -> bool:
    return os.environ.get(INTERPRETER) == "1"


def _no_gpu() -> str | None:
    return None if torch.cuda.is_available() else "torch sees no GPU (torch.cuda.is_available() is False)"


@cache
def _no_triton() -> str | None:
    # Asked at every call of every op: finding a module searches the disk.
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed: pip install 'localmatch[triton]'"
    return None
