"""The compiled libraries: found beside this file, loaded at the first call, spoken to through their C ABI."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from localmatch.errors import BackendError

ABI_VERSION = 5
"""The version of csrc/localmatch.h that this file speaks."""

ISAS = ("generic", "neon", "avx2", "avx512")
"""Instruction sets by their number in csrc/localmatch.h, slowest first."""

ISA_VARIABLE = "LOCALMATCH_ISA"
"""Environment variable that names an instruction set instead of the fastest that the CPU has; results are the same."""

_SUFFIX = ".dll" if sys.platform == "win32" else ".so"
_STATUS = {1: "bad argument", 2: "out of memory"}


def path(name: str) -> Path:
    """Where the build puts a library: "cpp" or "cuda"."""
    return Path(__file__).with_name(f"_localmatch{'_cuda' if name == 'cuda' else ''}{_SUFFIX}")


@cache
def _open(name: str) -> ctypes.CDLL | str:
    """A library, or the reason why there is none."""
    file = path(name)
    if not file.exists():
        compiler = "the CUDA toolkit (nvcc)" if name == "cuda" else "a C++ compiler (g++)"
        return f"{file.name} was not built: install {compiler} and run `pip install --force-reinstall`"
    try:
        library = ctypes.CDLL(str(file))
        found = int(library.lm_cuda_abi_version() if name == "cuda" else library.lm_abi_version())
    except (OSError, AttributeError) as error:
        return f"{file.name} does not load: {error}"
    if found != ABI_VERSION:
        return f"{file.name} speaks ABI {found}, expected {ABI_VERSION}: reinstall localmatch"
    return library


def unavailable_reason(name: str) -> str | None:
    """Why a library cannot be used; None when it can."""
    library = _open(name)
    return library if isinstance(library, str) else None


def call(name: str, function: str, *arguments: Tensor | int | None) -> None:
    """Call a function of a library with tensors (contiguous, passed as pointers; None as null) and int64 numbers.

    Raises:
        BackendError: The library is not there, or the function returned an error code; names the shapes.
    """
    library = _open(name)
    if isinstance(library, str):
        raise BackendError(library)
    status = getattr(library, f"lm_{function}")(
        *(
            ctypes.c_int64(a) if isinstance(a, int) else ctypes.c_void_p(None if a is None else a.data_ptr())
            for a in arguments
        )
    )
    if status:
        shapes = [tuple(a.shape) if isinstance(a, Tensor) else a for a in arguments]
        text = _STATUS.get(status, f"error {status}")
        if name == "cuda" and status >= _CUDA_STATUS:
            library.lm_cuda_error.restype = ctypes.c_char_p
            text = library.lm_cuda_error(ctypes.c_int32(status - _CUDA_STATUS)).decode()
        raise BackendError(f"{function}: {text} for arguments {shapes}")


_CUDA_STATUS = 1000
"""Error codes of the CUDA library from here on are CUDA's own, after this is subtracted."""


def stream() -> int:
    """The current CUDA stream, as a number; 0, the default stream, where there is no GPU."""
    return int(torch.cuda.current_stream().cuda_stream) if torch.cuda.is_available() else 0


def supports(number: int) -> bool:
    """Whether this CPU has an instruction set, by its number in `ISAS`."""
    library = _open("cpp")
    return not isinstance(library, str) and bool(library.lm_supports(ctypes.c_int64(number)))


def isa() -> int:
    """Number of the instruction set that kernels use: LOCALMATCH_ISA, or the fastest that this CPU has.

    Raises:
        BackendError: The named one does not exist, or this CPU has not got it.
    """
    live = [number for number in range(len(ISAS)) if supports(number)]
    if not live:
        raise BackendError(unavailable_reason("cpp"))
    name = os.environ.get(ISA_VARIABLE)
    if name is None:
        return live[-1]
    if name not in [ISAS[number] for number in live]:
        raise BackendError(
            f"{ISA_VARIABLE}={name}: this CPU ({platform.machine()}) has {', '.join(ISAS[number] for number in live)}."
        )
    return ISAS.index(name)


def thread_count() -> int:
    """Threads for a kernel: LOCALMATCH_THREADS, or as many as this process may use."""
    setting = os.environ.get("LOCALMATCH_THREADS")
    return max(1, int(setting)) if setting else len(os.sched_getaffinity(0))
