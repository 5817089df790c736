"""match_topk: query descriptors against those of shortlisted references, best (and second) of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.kernels.runner import Case
from localmatch.kernels import match_topk
from localmatch.kernels.match import BACKENDS, FLOAT_BACKENDS


def cases(small: bool) -> Iterator[Case]:
    """The prototype's size, the pipeline's, and how cost grows with rows."""
    sizes = [(500, [300] * 8, 64)] if small else [
        (4756, [4756] * 32, 128), (4756, [4756] * 32, 64), (4000, [1000] * 64, 64), (4000, [1000] * 16, 64),
        (1000, [1000] * 64, 64),
    ]  # fmt: skip
    for queries, lengths, dimension in sizes:
        for dtype in ("int8", "float32"):
            if dtype == "float32" and lengths[0] * len(lengths) < 100_000 and not small:
                continue
            yield _case(queries, lengths, dimension, dtype)


def _case(queries: int, lengths: list[int], dimension: int, dtype: str) -> Case:
    generator = torch.Generator().manual_seed(0)

    def described(count: int) -> Tensor:
        unit = torch.nn.functional.normalize(torch.randn(count, dimension, generator=generator))
        return (unit * 300).round().clamp(-127, 127)

    query, reference = described(queries), described(sum(lengths))
    kind = torch.int8 if dtype == "int8" else torch.float32
    offsets = torch.tensor([0, *np.cumsum(lengths)])
    baselines: dict[str, Any] = {
        "eager: mm + max, by reference": _by_reference,
        "compiled: mm + max": _compiled(),
    }
    if dtype == "int8":
        baselines["eager: _int_mm + max, by reference"] = _int_mm
    if _faiss() is not None:
        baselines["faiss: knn"] = _in_faiss
    return Case(
        "match_topk",
        {"queries": queries, "rows": sum(lengths), "segments": len(lengths), "dimension": dimension},
        dtype,
        # Baselines get floats, so that none of them spends time on conversion.
        (query.to(kind), reference.to(kind), offsets, query, reference),
        lambda q, r, o, _q, _r, backend: match_topk(q, r, o, backend=backend),
        BACKENDS if dtype == "int8" else FLOAT_BACKENDS,
        baselines,
        _same,
        {
            "eager: bfloat16 mm + topk": _mm_topk,
            "eager: bfloat16 bmm + max": _bmm_max,
            "eager: _int_mm + max": _int_mm_max,
            "compiled: bfloat16 bmm + max": torch.compile(_bmm_max),
        }
        if dtype == "int8"
        else {},
    )


def _same(own: Any, other: Any) -> bool:
    rounded = isinstance(other, Tensor) and other.dtype == torch.bfloat16
    found = other.float().numpy() if isinstance(other, Tensor) else np.asarray(other)
    return bool(np.allclose(own.best.float().numpy(), found, rtol=2**-7 if rounded else 1e-4, atol=0.5))


def _mm_topk(_q8: Tensor, _r8: Tensor, offsets: Tensor, query: Tensor, reference: Tensor) -> Tensor:
    score = query.bfloat16() @ reference.bfloat16().T
    return score.view(len(query), len(offsets) - 1, -1).topk(1, dim=2).values[..., 0].T


def _bmm_max(_q8: Tensor, _r8: Tensor, offsets: Tensor, query: Tensor, reference: Tensor) -> Tensor:
    rows = reference.bfloat16().view(len(offsets) - 1, -1, reference.shape[1])
    return torch.matmul(query.bfloat16(), rows.transpose(1, 2)).amax(2)


def _int_mm_max(query: Tensor, reference: Tensor, offsets: Tensor, _q: Tensor, _r: Tensor) -> Tensor:
    score = torch._int_mm(query, reference.T)
    return score.view(len(query), len(offsets) - 1, -1).amax(2).T.float()


def _by_reference(_q8: Tensor, _r8: Tensor, offsets: Tensor, query: Tensor, reference: Tensor) -> Tensor:
    bounds = offsets.tolist()
    return torch.stack([(query @ reference[a:b].T).max(1).values for a, b in zip(bounds, bounds[1:], strict=False)])


def _compiled() -> Any:
    one = torch.compile(lambda query, rows: (query @ rows.T).max(1))

    def run(_q8: Tensor, _r8: Tensor, offsets: Tensor, query: Tensor, reference: Tensor) -> Tensor:
        bounds = offsets.tolist()
        return torch.stack([one(query, reference[a:b]).values for a, b in zip(bounds, bounds[1:], strict=False)])

    return run


def _int_mm(query: Tensor, reference: Tensor, offsets: Tensor, _q: Tensor, _r: Tensor) -> Tensor:
    bounds = offsets.tolist()
    parts = [torch._int_mm(query, reference[a:b].T).max(1).values for a, b in zip(bounds, bounds[1:], strict=False)]
    return torch.stack(parts).float()


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        return None
    return faiss


def _in_faiss(_q8: Tensor, _r8: Tensor, offsets: Tensor, query: Tensor, reference: Tensor) -> Any:
    faiss = _faiss()
    faiss.omp_set_num_threads(torch.get_num_threads())
    bounds = offsets.tolist()
    own, table = query.numpy(), reference.numpy()
    return np.stack([faiss.knn(own, table[a:b], 1, metric=faiss.METRIC_INNER_PRODUCT)[0][:, 0]
                     for a, b in zip(bounds, bounds[1:], strict=False)])  # fmt: skip
