"""All ops: one table of op x backend x shape against the definition in plain torch, bit by bit."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from localmatch.errors import BackendError
from localmatch.kernels import (
    backends,
    compare_maps,
    dispatch,
    library,
    local_zncc,
    match_topk,
    rerank_topk,
    splat_evidence,
    vote_topk,
)
from localmatch.kernels.match import NONE
from localmatch.kernels.vote import LEVELS, Votes, inverse_ratios

ROOT = Path(__file__).parent.parent
HALF_BIN = 320
TOLERANCE = {torch.float32: {"rtol": 1e-5, "atol": 1e-6}}
"""Integers are compared bit by bit."""
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
         (7, 9, 8, 60, 0, 8), (5, 3, 5, 20, 60, 20), (300, 8, 40, 500, 10, 128)),
    ),
    Case(
        compare_maps,
        ("cuda", "triton", "cpp"),
        compare_input,
        ((0, 5, 1, 1, 64), (4, 0, 2, 1, 64), (1, 1, 1, 0, 4), (5, 9, 0, 1, 64), (7, 12, 3, 2, 64), (6, 8, 2, 1, 20),
         (11, 20, 2, 3, 128)),
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
BY_FORM = [
    pytest.param(case, *form.values, id=f"{case.make.__name__.removesuffix('_input')}-{form.id}", marks=form.marks)
    for case in CASES
    for form in forms(case.backends)
]
TABLE = [
    pytest.param(*row.values, size, option, id="-".join([str(row.id), *map(str, size), *option]), marks=row.marks)
    for row in BY_FORM
    for size in row.values[0].sizes
    for option in row.values[0].options
]


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Memory that is not filled holds the largest number, and not by chance what is right."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def use(form: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The backend of a form, with its instruction set chosen."""
    backend, isa = form
    if isa:
        monkeypatch.setenv(library.ISA_VARIABLE, isa)
    return backend


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


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(("case", "form", "size", "option"), TABLE)
def test_equals_the_definition(case, form, size, option, monkeypatch) -> None:
    backend = use(form, monkeypatch)
    arguments = case.make(sum(size), *size)
    expected = case.op(*arguments, **option, backend="torch")
    assert_equal(case.op(*moved(arguments, device(backend)), **option, backend=backend), expected)


@pytest.mark.parametrize(("case", "form"), BY_FORM)
def test_strided_input(case, form, monkeypatch) -> None:
    backend = use(form, monkeypatch)
    arguments = moved(case.make(1, *case.sizes[4]), device(backend))
    strided = [
        torch.stack([one, one], -1)[..., 0] if isinstance(one, Tensor) and one.ndim > 1 else one for one in arguments
    ]
    assert any(isinstance(one, Tensor) and not one.is_contiguous() for one in strided)
    assert_equal(case.op(*strided, backend=backend), case.op(*arguments, backend=backend))


@pytest.mark.skipif(LIVE["cpp"] is not None, reason=f"cpp: {LIVE['cpp']}")
@pytest.mark.parametrize("threads", ["1", "2", "3"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.make.__name__)
def test_thread_count_does_not_matter(case, threads, monkeypatch) -> None:
    arguments = case.make(3, *case.sizes[-1])
    expected = case.op(*arguments, **case.options[-1], backend="torch")
    monkeypatch.setenv("LOCALMATCH_THREADS", threads)
    assert_equal(case.op(*arguments, **case.options[-1], backend="cpp"), expected)


@pytest.mark.parametrize("form", forms(("cpp",)))
@pytest.mark.parametrize("size", CASES[0].sizes)
def test_float_descriptors(size, form, monkeypatch) -> None:
    backend = use(form, monkeypatch)
    rng = np.random.default_rng(0)
    queries, rows, segments, dimension = size
    query, reference = (
        torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(n, dimension)).astype(np.float32)))
        for n in (queries, rows)
    )
    arguments = query, reference, ragged(rng, segments, rows)
    expected = match_topk(*arguments, second=True, mutual=True, backend="torch")
    found = match_topk(*arguments, second=True, mutual=True, backend=backend)
    for name in ("best", "second"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), **TOLERANCE[torch.float32])
    # No two of these random scores are so near that rounding could exchange them.
    assert torch.equal(found.row, expected.row)
    assert torch.equal(found.mutual, expected.mutual)


@pytest.mark.skipif(LIVE["cpp"] is not None, reason=f"cpp: {LIVE['cpp']}")
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.lists(st.integers(0, 30), max_size=6), st.integers(1, 18), st.integers(0, 2**32 - 1))
def test_match_of_ragged_references(queries: int, lengths: list[int], quads: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    offsets = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int64)
    query, reference = int8(rng, queries, 4 * quads), int8(rng, int(offsets[-1]), 4 * quads)
    both = [match_topk(query, reference, offsets, second=True, mutual=True, backend=name) for name in ("cpp", "torch")]
    assert_equal(*both)


@pytest.mark.skipif(LIVE["cpp"] is not None, reason=f"cpp: {LIVE['cpp']}")
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(1, 6), st.integers(0, 2**32 - 1), st.sampled_from([40, 400, 40_000]))
def test_votes_of_ragged_groups(count: int, groups: int, seed: int, spread: int) -> None:
    arguments = vote_input(seed, count, groups, 3, spread)
    assert_equal(*(vote_topk(*arguments, backend=name) for name in ("cpp", "torch")))


def test_the_definition_of_match_is_what_it_says() -> None:
    query, reference, offsets = match_input(5, 11, 40, 3, 16)
    found = match_topk(query, reference, offsets, second=True, mutual=True, backend="torch")
    score = query.int().numpy() @ reference.int().numpy().T
    for number, (start, stop) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        if stop - start == 0:
            assert (found.best[number] == NONE).all()
            continue
        part = score[:, start:stop]
        assert found.row[number].tolist() == (part.argmax(1) + start).tolist()
        assert found.mutual[start:stop].tolist() == part.argmax(0).tolist()
        if stop - start > 1:
            assert found.second[number].tolist() == np.sort(part, 1)[:, -2].tolist()


def test_the_definition_of_votes_is_what_it_says() -> None:
    """The docstring of the op as plain Python, slow and obvious."""
    arguments = vote_input(1, 400, 4, 4)
    score, bins = vote_topk(*arguments, backend="torch")
    expected = _votes_in_python(*(one.numpy() for one in arguments[:7]), *arguments[7:])
    assert np.array_equal(score.numpy(), expected[0])
    assert np.array_equal(bins.numpy(), expected[1])


def _votes_in_python(offsets, query_patch, reference_patch, query_xy, reference_xy, level, weight, half_bin, peaks):
    inverse = inverse_ratios().tolist()
    scores = np.zeros((len(offsets) - 1, peaks), np.int64)
    bins = np.zeros((len(offsets) - 1, peaks, 3), np.int32)
    for group in range(len(offsets) - 1):
        sides = [defaultdict(lambda: defaultdict(int)) for _ in range(2)]
        for i in range(offsets[group], offsets[group + 1]):
            for one in (level[i] - 1, level[i]):
                if one < 0:
                    continue
                shift = [((int(reference_xy[i, a]) * inverse[one] + 32768) >> 16) - int(query_xy[i, a]) for a in (0, 1)]
                x, y = shift[0] // half_bin, shift[1] // half_bin
                for place in ((one, y - dy, x - dx) for dy in (0, 1) for dx in (0, 1)):
                    for side, patch in zip(sides, (query_patch[i], reference_patch[i]), strict=True):
                        side[place][patch] = max(side[place][patch], int(weight[i]))
        score = {place: min(sum(s[place].values()) for s in sides) for place in sides[0]}
        peaked = []
        for (s, y, x), value in score.items():
            around = {(s + a - 1, y + b - 1, x + c - 1) for a, b, c in np.ndindex(3, 3, 3)} - {(s, y, x)}
            # Of equal neighbours, the lowest is the peak.
            higher = [n for n in around if score.get(n, 0) > value or (score.get(n, 0) == value and n < (s, y, x))]
            if value > 0 and not higher:
                peaked.append((-value, (s, y, x)))
        for rank, (negative, place) in enumerate(sorted(peaked)[:peaks]):
            scores[group, rank], bins[group, rank] = -negative, place
    return scores, bins


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The CUDA kernels compiled as C++, with threads for CUDA's."""
    sources = sorted(str(path) for path in (ROOT / "csrc" / "cuda").glob("*.cu"))
    built = tmp_path_factory.mktemp("cuda") / "emulated.so"
    flags = ["-std=c++20", "-O1", "-fPIC", "-shared", "-pthread", "-DLM_EMULATE", "-x", "c++"]
    subprocess.run(["g++", *flags, *sources, "-o", str(built)], check=True)
    return ctypes.CDLL(str(built))


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to compile the emulated kernels with")
@pytest.mark.parametrize(
    ("case", "size"),
    [
        pytest.param(case, size, id="-".join([case.op.__name__, *map(str, size)]))
        for case in CASES
        if "cuda" in case.backends
        for size in case.sizes
    ],
)
def test_cuda_kernels_in_emulation(case, size, emulated, monkeypatch) -> None:
    arguments = case.make(sum(size), *size)
    expected = case.op(*arguments, backend="torch")
    monkeypatch.setattr("localmatch.kernels.library._open", lambda name: emulated)
    if case.op is vote_topk:
        *columns, half_bin, peaks = arguments
        longest = dispatch.check_offsets(columns[0], len(columns[1]))
        arguments = Votes(longest, *columns), half_bin, peaks
    if case.op is splat_evidence:
        *columns, extent = arguments
        arguments = *columns, *extent
    assert_equal(sys.modules[case.op.__module__].on_cuda(*arguments), expected)


@pytest.mark.parametrize("form", forms(("triton", "cpp")))
@pytest.mark.parametrize("dimension", [128, 512, 1024])
def test_the_largest_scores_are_exact(dimension, form, monkeypatch) -> None:
    backend = use(form, monkeypatch)
    query, reference = (torch.full((n, dimension), -128, dtype=torch.int8) for n in (3, 200))
    reference[0], reference[70] = 127, 127
    query[1] = 127
    arguments = query, reference, torch.tensor([0, 60, 200])
    expected = match_topk(*arguments, second=True, mutual=True, backend="torch")
    assert expected.best.max() == dimension * 128**2
    found = match_topk(*moved(arguments, device(backend)), second=True, mutual=True, backend=backend)
    assert_equal(found, expected)
    assert_equal(match_topk(*moved(arguments, device(backend)), backend=backend)[:2], expected[:2])


def test_a_repeated_texture_counts_each_reference_patch_once() -> None:
    n = 30
    zeros = torch.zeros(n, 2, dtype=torch.int32)
    many_to_one = (
        torch.tensor([0, n]), torch.arange(n, dtype=torch.int32), torch.zeros(n, dtype=torch.int64), zeros, zeros,
        torch.full((n,), 8, dtype=torch.int32), torch.full((n,), 5, dtype=torch.int32),
    )  # fmt: skip
    assert vote_topk(*many_to_one, HALF_BIN, 1)[0].tolist() == [[5]]


def test_correlation_is_blind_to_brightness_and_contrast() -> None:
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(20, 120, (30, 40)).astype(np.uint8))
    everywhere = torch.ones(30, 40, dtype=torch.bool)
    assert (local_zncc(image, 2 * image + 10, everywhere, 3) == 16384).all()
    assert (local_zncc(image, 200 - image, everywhere, 3) == -16384).all()


def spoiled(arguments: tuple[object, ...], position: int, value: object) -> tuple[object, ...]:
    """Arguments with one of them replaced."""
    return *arguments[:position], value, *arguments[position + 1 :]


VOTES, SPLATS = vote_input(0, 20, 2, 1), splat_input(0, 1, 4, 9, 9)
MATCHED, RUNS = match_input(0, 3, 4, 1, 8), runs_input(0, 3, 2, 4, 9, 2, 8)
REFUSED = {
    "match: dimension": lambda: match_topk(*match_input(0, 3, 4, 1, 6)),
    "match: offsets": lambda: match_topk(*spoiled(MATCHED, 2, torch.tensor([0, 5]))),
    "match: type": lambda: match_topk(*spoiled(MATCHED, 0, MATCHED[0].int())),
    "rerank: a row that is not there": lambda: rerank_topk(
        *spoiled(rerank_input(0, 1, 1, 1, 1, 4), 1, torch.tensor([[9]], dtype=torch.int32))
    ),
    "rerank: a run that is not there": lambda: rerank_topk(*spoiled(RUNS, 1, RUNS[1] + 9)),
    "rerank: runs over the end": lambda: rerank_topk(*spoiled(RUNS, 4, RUNS[4] + 9)),
    "compare: affine": lambda: compare_maps(*spoiled(compare_input(0, 3, 3, 1, 1, 4), 2, torch.zeros(1, 3, 3).int())),
    "vote: a column too short": lambda: vote_topk(*spoiled(VOTES, 1, VOTES[1][:-1])),
    "vote: level": lambda: vote_topk(*spoiled(VOTES, 5, VOTES[5] + LEVELS)),
    "vote: weight": lambda: vote_topk(*spoiled(VOTES, 6, VOTES[6] - 1000)),
    "zncc: radius": lambda: local_zncc(*zncc_input(0, 4, 4, 65)),
    "splat: evidence": lambda: splat_evidence(*spoiled(SPLATS, 3, SPLATS[3] + 300)),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_input_that_does_not_fit_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        call()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.make.__name__)
def test_torch_accepts_the_op(case: Case) -> None:
    """Schema, fake tensors and tracing hold, so that `torch.compile(fullgraph=True)` keeps the op."""
    arguments = list(case.make(2, *case.sizes[-1]))
    flat = [part for one in arguments for part in (one if isinstance(one, tuple) else (one,))]
    tests = ("test_schema", "test_faketensor", "test_aot_dispatch_static")
    op = getattr(torch.ops.localmatch, case.op.__name__).default
    left = len(op._schema.arguments) - len(flat)
    options = (False, False, None) if case.op is match_topk else (None,) * left
    torch.library.opcheck(op, (*flat, *options), test_utils=tests)


def test_compiled_graphs_keep_the_op() -> None:
    query, reference, offsets = match_input(0, 20, 50, 2, 64)
    compiled = torch.compile(lambda q: match_topk(q, reference, offsets).best + 1, fullgraph=True, backend="eager")
    assert torch.equal(compiled(query), match_topk(query, reference, offsets).best + 1)


def test_a_named_backend_never_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = vote_input(0, 5, 1, 1)
    with pytest.raises(BackendError, match=r"triton: does not have this op.*torch: live"):
        vote_topk(*arguments, backend="triton")
    monkeypatch.setattr("localmatch.kernels.library._open", lambda name: f"{name} not built, for this test")
    with pytest.raises(BackendError, match="cpp not built, for this test"):
        vote_topk(*arguments, backend="cpp")
    assert vote_topk(*arguments)[0].shape == (1, 1)
    monkeypatch.setenv("LOCALMATCH_BACKEND", "cpp")
    with pytest.raises(BackendError, match="cpp"):
        vote_topk(*arguments)


@pytest.mark.skipif(LIVE["cpp"] is not None, reason=f"cpp: {LIVE['cpp']}")
def test_an_instruction_set_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.ISA_VARIABLE, "mmx")
    with pytest.raises(BackendError, match=r"LOCALMATCH_ISA=mmx.*generic"):
        match_topk(*match_input(0, 3, 4, 1, 8), backend="cpp")


@pytest.mark.skipif(LIVE["cpp"] is not None, reason=f"cpp: {LIVE['cpp']}")
def test_null_kernel_copies() -> None:
    values, copy = torch.arange(7, dtype=torch.int32), torch.full((7,), -1, dtype=torch.int32)
    library.call("cpp", "null", values, 7, copy)
    assert torch.equal(copy, values)
    with pytest.raises(BackendError, match=r"null: bad argument .*-1"):
        library.call("cpp", "null", values, -1, copy)


def test_the_interpreter_is_asked_for_without_a_gpu() -> None:
    """Or the Triton column of the table above would be skipped everywhere but on a GPU."""
    assert torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"
