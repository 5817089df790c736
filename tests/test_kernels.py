"""All ops: one table of op x backend x shape against the definition in plain torch, bit by bit."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import (
    CASES,
    LIVE,
    assert_equal,
    device,
    forms,
    int8,
    moved,
    ragged,
    runs_input,
    use,
    vote_input,
)
from torch import Tensor

from localmatch.kernels import dispatch, match_topk, rerank_topk, splat_evidence, vote_topk
from localmatch.kernels.vote import Votes

ROOT = Path(__file__).parent.parent
TOLERANCE = {torch.float32: {"rtol": 1e-5, "atol": 1e-6}}
"""Integers are compared bit by bit."""

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


@pytest.mark.parametrize("form", forms(("triton",)))
def test_queries_take_turns_where_memory_is_short(form, monkeypatch) -> None:
    backend = use(form, monkeypatch)
    arguments = moved(runs_input(5, 65, 4, 9, 300, 7, 64), device(backend))
    expected = rerank_topk(*arguments, backend=backend)
    monkeypatch.setattr("localmatch.kernels.triton.rerank.SCRATCH_BYTES", 1 << 13)
    assert_equal(rerank_topk(*arguments, backend=backend), expected)


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
