"""The compiled library: found beside this file, loaded at the first call, spoken to through its C ABI."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localmatch.errors import BackendError

PATH = Path(__file__).with_name("_localmatch" + (".dll" if sys.platform == "win32" else ".so"))
"""Where the build puts the library."""

ABI_VERSION = 1
"""The version of csrc/localmatch.h that this file speaks."""

_STATUS = {1: "bad argument", 2: "out of memory"}


@cache
def _open() -> ctypes.CDLL | str:
    """The library, or the reason why there is none."""
    if not PATH.exists():
        return f"{PATH.name} was not built: install a C++ compiler (g++) and run `pip install --force-reinstall`"
    try:
        library = ctypes.CDLL(str(PATH))
        found = int(library.lm_abi_version())
    except (OSError, AttributeError) as error:
        return f"{PATH.name} does not load: {error}"
    if found != ABI_VERSION:
        return f"{PATH.name} speaks ABI {found}, expected {ABI_VERSION}: reinstall localmatch"
    return library


def unavailable_reason() -> str | None:
    """Why the library cannot be used; None when it can."""
    library = _open()
    return library if isinstance(library, str) else None


def call(function: str, *arguments: NDArray[np.generic] | int) -> None:
    """Call a function of the library with arrays (contiguous, passed as pointers) and int64 numbers.

    Raises:
        BackendError: The library is not there, or the function returned an error code; names the shapes.
    """
    library = _open()
    if isinstance(library, str):
        raise BackendError(library)
    status = getattr(library, "lm_" + function)(
        *(a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else ctypes.c_int64(a) for a in arguments)
    )
    if status:
        shapes = [a.shape if isinstance(a, np.ndarray) else a for a in arguments]
        raise BackendError(f"{function}: {_STATUS.get(status, f'error {status}')} for arguments {shapes}")


def thread_count() -> int:
    """Threads for a kernel: LOCALMATCH_THREADS, or as many as this process may use."""
    setting = os.environ.get("LOCALMATCH_THREADS")
    return max(1, int(setting)) if setting else len(os.sched_getaffinity(0))
