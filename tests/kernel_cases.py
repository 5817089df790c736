"""What kernel tests call: the ops' cases, with inputs made from a seed, and the forms that can run here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from localmatch.kernels import (
    backends,
    compare_maps,
    convolve,
    library,
    local_zncc,
    match_topk,
    rerank_topk,
    splat_evidence,
    vote_topk,
)
from localmatch.kernels.vote import LEVELS

HALF_BIN = 320
LIVE = {one.name: one.reason for one in backends()}


def forms(backends: tuple[str, ...]) -> list[pytest.param]:
    """The compiled forms of an op: (backend, instruction set); those that cannot run here say why."""
    found = []
    for name in backends:
        for number, isa in enumerate(library.ISAS if name == "cpp" else ("",)):
            reason = LIVE[name] or (f"this CPU has no {isa}" if isa and not library.supports(number) else None)
            marks = [pytest.mark.skip(reason=f"{name}: {reason}")] if reason else []
            if name == "cuda" or (name == "triton" and torch.cuda.is_available()):
                marks.append(pytest.mark.gpu)
            found.append(pytest.param((name, isa), id=f"{name}-{isa}".strip("-"), marks=marks))
    return found


@dataclass(frozen=True)
class Case:
    """A call of an op.

    Attributes:
        op: The public function.
        backends: Those that have the op, the reference left out.
        make: Makes its arguments from a size and a seed.
        sizes: What `make` takes: empty, one, odd, tails, larger than a block.
        options: Keyword arguments.
    """

    op: Callable[..., tuple[Tensor, ...] | Tensor]
    backends: tuple[str, ...]
    make: Callable[..., tuple[object, ...]]
    sizes: tuple[tuple[int, ...], ...]
    options: tuple[dict[str, object], ...] = ({},)


def int8(rng: np.random.Generator, *shape: int) -> Tensor:
    """Descriptors, extremes included, with equal rows that make ties."""
    values = rng.integers(-128, 128, shape).astype(np.int8)
    if len(values) > 4:
        values[rng.integers(len(values), size=len(values) // 3)] = values[0]
    return torch.from_numpy(values)


def ragged(rng: np.random.Generator, groups: int, count: int) -> Tensor:
    """Offsets of `groups` groups, some of them empty."""
    inner = np.sort(rng.integers(0, count + 1, max(groups - 1, 0)))
    return torch.from_numpy(np.r_[0, inner, count].astype(np.int64) if groups else np.zeros(1, np.int64))


def match_input(seed: int, queries: int, rows: int, segments: int, dimension: int) -> tuple[object, ...]:
    rng = np.random.default_rng(seed)
    return int8(rng, queries, dimension), int8(rng, rows, dimension), ragged(rng, segments, rows)


def rerank_input(seed: int, queries: int, width: int, rows: int, k: int, dimension: int) -> tuple[object, ...]:
    rng = np.random.default_rng(seed)
    candidates = np.stack([rng.permutation(max(rows, width))[:width] for _ in range(queries)] or [np.zeros(width)])
    candidates = np.where((candidates < rows) & (rng.random(candidates.shape) < 0.9), candidates, -1)[:queries]
    return int8(rng, queries, dimension), torch.from_numpy(candidates.astype(np.int32)), int8(rng, rows, dimension), k


def runs_input(seed: int, queries: int, width: int, runs: int, rows: int, k: int, dimension: int) -> tuple[object, ...]:
    rng = np.random.default_rng(seed)
    query, candidates, _, _ = rerank_input(seed, queries, width, runs, k, dimension)
    return query, candidates, int8(rng, rows, dimension), k, ragged(rng, runs, rows)


def compare_input(
    seed: int, size: int, reference: int, alignments: int, radius: int, dimension: int
) -> tuple[object, ...]:
    rng = np.random.default_rng(seed)
    linear = (rng.uniform(-1.3, 1.3, (alignments, 2, 2)) * 65536).astype(np.int32)
    shift = (rng.uniform(-0.3, 1.3, (alignments, 2, 1)) * 65536 * max(reference, 1)).astype(np.int32)
    affine = torch.from_numpy(np.concatenate([linear, shift], 2))
    return int8(rng, size, size + 3, dimension), int8(rng, reference + 1, reference, dimension), affine, radius


def convolve_input(seed: int, height: int, width: int, inputs: int, outputs: int, stride: int) -> tuple[object, ...]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (inputs // 4, height, width, 4)).astype(np.uint8)
    weights = rng.integers(-128, 128, (outputs, inputs, 3, 3)).astype(np.int8)
    bias = rng.integers(-20_000, 20_000, outputs).astype(np.int32)
    # Powers of two, so that many results are halves.
    scale = (2.0 ** -rng.integers(8, 14, outputs)).astype(np.float32)
    return *map(torch.from_numpy, (image, weights, bias, scale)), stride


def vote_input(seed: int, count: int, groups: int, peaks: int, spread: int = 3000) -> tuple[object, ...]:
    rng = np.random.default_rng(seed)
    columns = (
        rng.integers(0, max(count // 4, 1), count).astype(np.int32),
        rng.integers(0, max(count // 3, 1), count).astype(np.int64),
        rng.integers(-spread, spread, (count, 2)).astype(np.int32),
        rng.integers(0, 2 * spread, (count, 2)).astype(np.int32),
        rng.integers(0, LEVELS, count).astype(np.int32),
        rng.integers(0, 50, count).astype(np.int32),
    )
    return ragged(rng, groups, count), *map(torch.from_numpy, columns), HALF_BIN, peaks


def zncc_input(seed: int, height: int, width: int, radius: int) -> tuple[object, ...]:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 256, (height, width)).astype(np.uint8)
    first[: height // 3] = 255  # flat
    second = np.where(rng.random(first.shape) < 0.5, first, 255 - first).astype(np.uint8)
    inside = rng.random(first.shape) < 0.9
    return *map(torch.from_numpy, (first, second, inside)), radius


def splat_input(seed: int, maps: int, patches: int, height: int, width: int) -> tuple[object, ...]:
    rng = np.random.default_rng(seed)
    xy = rng.integers(0, 16 * (np.array([width, height]) + 40), (patches, 2)).astype(np.int32)
    radius, evidence = rng.integers(1, 60, patches).astype(np.int32), rng.integers(0, 256, patches).astype(np.int32)
    return ragged(rng, maps, patches), *map(torch.from_numpy, (xy, radius, evidence)), (height, width)


CASES = (
    Case(
        match_topk,
        ("triton", "cpp"),
        match_input,
        (
            (0, 0, 0, 64),
            (0, 7, 2, 64),
            (3, 0, 2, 64),
            (1, 1, 1, 4),
            (9, 47, 1, 64),
            (33, 100, 7, 20),
            (130, 700, 3, 128),
            (1031, 1700, 2, 64),
        ),
        ({}, {"second": True}, {"mutual": True}, {"second": True, "mutual": True}),
    ),
    Case(
        rerank_topk,
        ("triton", "cpp"),
        rerank_input,
        ((0, 5, 3, 2, 64), (3, 0, 5, 2, 64), (2, 4, 0, 3, 64), (1, 1, 1, 1, 4), (65, 40, 300, 7, 64), (7, 90, 80, 0, 8),
         (5, 33, 50, 60, 20), (9, 70, 500, 10, 128)),
    ),
    Case(
        rerank_topk,
        ("triton", "cpp"),
        runs_input,
        ((0, 5, 3, 9, 2, 64), (3, 0, 5, 9, 2, 64), (2, 4, 0, 0, 3, 64), (1, 1, 1, 1, 1, 4), (65, 4, 9, 300, 7, 64),
         (7, 9, 8, 60, 0, 8), (5, 3, 5, 20, 60, 20), (300, 8, 40, 500, 10, 128), (4, 3, 5, 90, 5, 100),
         (3, 9, 9, 12_000, 7, 64)),
    ),
    Case(
        compare_maps,
        ("cuda", "triton", "cpp"),
        compare_input,
        ((0, 5, 1, 1, 64), (4, 0, 2, 1, 64), (1, 1, 1, 0, 4), (5, 9, 0, 1, 64), (7, 12, 3, 2, 64), (6, 8, 2, 1, 20),
         (11, 20, 2, 3, 128), (9, 14, 2, 1, 64), (8, 9, 1, 1, 128), (8, 9, 2, 2, 128), (6, 8, 2, 2, 32),
         (6, 8, 1, 3, 64)),
    ),
    Case(
        convolve,
        ("cpp",),
        convolve_input,
        ((0, 5, 4, 8, 1), (5, 0, 4, 8, 2), (1, 1, 4, 8, 1), (1, 1, 4, 8, 2), (3, 33, 8, 24, 1), (33, 65, 16, 8, 2),
         (70, 50, 64, 64, 1), (67, 31, 24, 48, 2)),
    ),
    Case(
        vote_topk,
        ("cuda", "cpp"),
        vote_input,
        ((0, 0, 4), (0, 3, 4), (1, 1, 4), (2, 1, 1), (7, 3, 0), (7, 3, 1), (33, 5, 4), (400, 4, 4), (3001, 17, 4)),
    ),
    Case(
        local_zncc,
        ("cuda", "cpp"),
        zncc_input,
        ((0, 5, 2), (5, 0, 2), (1, 1, 0), (1, 1, 9), (3, 40, 5), (40, 3, 5), (37, 53, 0), (90, 131, 7), (70, 20, 64)),
    ),
    Case(
        splat_evidence,
        ("cuda", "cpp"),
        splat_input,
        ((0, 0, 5, 5), (2, 0, 5, 5), (1, 1, 1, 1), (1, 3, 0, 4), (3, 40, 33, 70), (4, 300, 100, 17)),
    ),
)  # fmt: skip


def device(backend: str) -> str:
    return "cuda" if torch.cuda.is_available() and backend in ("cuda", "triton") else "cpu"


def moved(arguments: tuple[object, ...], where: str) -> list[object]:
    return [one.to(where) if isinstance(one, Tensor) else one for one in arguments]


def assert_equal(found: tuple[Tensor, ...] | Tensor, expected: tuple[Tensor, ...] | Tensor) -> None:
    if isinstance(found, Tensor):
        found, expected = (found,), (expected,)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a.cpu(), b.cpu())


def use(form: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The backend of a form, with its instruction set chosen."""
    backend, isa = form
    if isa:
        monkeypatch.setenv(library.ISA_VARIABLE, isa)
    return backend
