"""Compiled kernels: each op is defined in plain torch and has faster forms of the same name, signature and result.

`backends()` tells which forms are live. A `backend=` argument, or the environment variable LOCALMATCH_BACKEND, names
one; a named backend never falls back: it serves or raises `BackendError`.
"""

from localmatch.kernels.dispatch import Backend, backends
from localmatch.kernels.vote import vote_peaks

__all__ = ["Backend", "backends", "vote_peaks"]
