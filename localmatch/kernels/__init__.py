"""Compiled kernels: each op is defined in plain torch and has faster forms of the same name, signature and result.

`backends()` tells which forms are live. A `backend=` argument, or the environment variable LOCALMATCH_BACKEND, names
one; a named backend never falls back: it serves or raises `BackendError`.
"""

from localmatch.kernels.compare import compare_maps
from localmatch.kernels.convolve import convolve
from localmatch.kernels.cost import Device, Estimate, estimate
from localmatch.kernels.dispatch import Backend, backends
from localmatch.kernels.match import Matches, match_topk
from localmatch.kernels.rerank import rerank_topk
from localmatch.kernels.splat import splat_evidence
from localmatch.kernels.vote import vote_topk
from localmatch.kernels.zncc import local_zncc

__all__ = [
    "Backend",
    "Device",
    "Estimate",
    "Matches",
    "backends",
    "compare_maps",
    "convolve",
    "estimate",
    "local_zncc",
    "match_topk",
    "rerank_topk",
    "splat_evidence",
    "vote_topk",
]
