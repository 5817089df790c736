"""Which backend serves a call, and why the others do not."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

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


def check_offsets(offsets: Tensor, count: int) -> None:
    """Refuse offsets of groups that do not rise from 0 to `count`.

    Raises:
        ValueError: Shows how they begin.
    """
    rows = offsets.cpu()
    if rows.ndim != 1 or not len(rows) or rows[0] != 0 or rows[-1] != count or (rows.diff() < 0).any():
        raise ValueError(f"expected offsets rising from 0 to {count}, got {rows[:3].tolist()} ...")


def backends() -> list[Backend]:
    """All backends, fastest first, each live or with the reason why not."""
    isa = "" if library.unavailable_reason("cpp") else f", {library.ISAS[library.isa()]}"
    interpreted = os.environ.get(INTERPRETER) == "1"
    return [
        Backend("cuda", ("cuda",), library.unavailable_reason("cuda") or _no_gpu(), str(library.path("cuda"))),
        Backend(
            "triton",
            ("cpu", "cuda") if interpreted else ("cuda",),
            _no_triton() or (None if interpreted else _no_gpu()),
            "in its interpreter" if interpreted else "compiled at the first call",
        ),
        Backend("cpp", ("cpu",), library.unavailable_reason("cpp"), f"{library.path('cpp')}{isa}"),
        Backend("torch", ("cpu", "cuda"), None, "reference, always there"),
    ]


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
    everything = {one.name: one for one in backends()}
    for candidate in serving:
        one = everything[candidate]
        # Interpreted kernels are for tests: only a name chooses them.
        automatic = name == "auto" and not (candidate == "triton" and device.type == "cpu")
        if one.live and device.type in one.devices and (name == candidate or automatic):
            return candidate
    reasons = "; ".join(f"{one.name}: {_reason(one, device, serving)}" for one in everything.values())
    raise BackendError(
        f"backend {name!r} cannot serve ({reasons}). Choose one of {', '.join(serving)} or auto for this op."
    )


def _reason(one: Backend, device: torch.device, serving: tuple[str, ...]) -> str:
    if one.name not in serving:
        return "does not have this op"
    if one.reason is None and device.type not in one.devices:
        return f"does not take tensors on {device.type}"
    return one.reason or "live"


def _no_gpu() -> str | None:
    return None if torch.cuda.is_available() else "torch sees no GPU (torch.cuda.is_available() is False)"


@cache
def _no_triton() -> str | None:
    # Asked at every call of every op: finding a module searches the disk.
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed: pip install 'localmatch[triton]'"
    return None
