"""vote_peaks: one table of shapes x backends against the definition, bit by bit."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localmatch.errors import BackendError
from localmatch.kernels import backends, vote_peaks
from localmatch.kernels.vote import LEVELS, inverse_ratios

BACKENDS = [
    pytest.param(b.name, marks=[] if b.live else pytest.mark.skip(reason=f"{b.name}: {b.reason}")) for b in backends()
]
HALF_BIN = 320


def votes(count: int, groups: int, seed: int, spread: int = 3000):
    rng = np.random.default_rng(seed)
    inner = np.sort(rng.integers(0, count + 1, max(groups - 1, 0)))
    offsets = np.r_[0, inner, count].astype(np.int64) if groups else np.zeros(1, np.int64)
    return (
        offsets,
        rng.integers(0, max(count // 4, 1), count).astype(np.int32),
        rng.integers(0, max(count // 3, 1), count).astype(np.int64),
        rng.integers(-spread, spread, (count, 2)).astype(np.int32),
        rng.integers(0, 2 * spread, (count, 2)).astype(np.int32),
        rng.integers(0, LEVELS, count).astype(np.int32),
        rng.integers(0, 50, count).astype(np.int32),
    )


def definition(offsets, query_patch, reference_patch, query_xy, reference_xy, level, weight, half_bin, peaks):
    """The docstring of the op as plain Python, slow and obvious."""
    inverse = inverse_ratios()
    scores = np.zeros((len(offsets) - 1, peaks), np.int64)
    bins = np.zeros((len(offsets) - 1, peaks, 3), np.int32)
    for group in range(len(offsets) - 1):
        sides = [defaultdict(lambda: defaultdict(int)) for _ in range(2)]
        for i in range(offsets[group], offsets[group + 1]):
            for one in (level[i] - 1, level[i]):
                if one < 0:
                    continue
                shift = [
                    ((int(reference_xy[i, a]) * int(inverse[one]) + 32768) >> 16) - int(query_xy[i, a]) for a in (0, 1)
                ]
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


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("count", "groups", "peaks"),
    [(0, 0, 4), (0, 3, 4), (1, 1, 4), (2, 1, 1), (7, 3, 0), (7, 3, 1), (33, 5, 4), (400, 4, 4), (3001, 17, 4)],
)
def test_equals_the_definition(backend: str, count: int, groups: int, peaks: int) -> None:
    given_votes = votes(count, groups, seed=count)
    expected = definition(*given_votes, HALF_BIN, peaks)
    found = vote_peaks(*given_votes, HALF_BIN, peaks, backend=backend)
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60), st.integers(1, 6), st.integers(0, 2**32 - 1), st.sampled_from([40, 400, 40_000]))
def test_backends_are_equal(count: int, groups: int, seed: int, spread: int) -> None:
    given_votes = votes(count, groups, seed, spread)
    results = [vote_peaks(*given_votes, HALF_BIN, 3, backend=b.name) for b in backends() if b.live]
    for other in results[1:]:
        assert np.array_equal(results[0][0], other[0])
        assert np.array_equal(results[0][1], other[1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_strided_input(backend: str) -> None:
    given_votes = votes(100, 4, seed=1)
    strided = (given_votes[0], *(np.repeat(column, 2, axis=0)[::2] for column in given_votes[1:]))
    assert not strided[3].flags.c_contiguous
    for a, b in zip(
        vote_peaks(*given_votes, HALF_BIN, 4, backend=backend),
        vote_peaks(*strided, HALF_BIN, 4, backend=backend),
        strict=True,
    ):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_thread_count_does_not_matter(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given_votes = votes(5000, 40, seed=3)
    expected = vote_peaks(*given_votes, HALF_BIN, 4, backend="torch")
    monkeypatch.setenv("LOCALMATCH_THREADS", threads)
    found = vote_peaks(*given_votes, HALF_BIN, 4)
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_repeated_texture_counts_each_reference_patch_once(backend: str) -> None:
    n = 30
    many_to_one = (
        np.array([0, n]),
        np.arange(n, dtype=np.int32),
        np.zeros(n, np.int64),
        np.zeros((n, 2), np.int32),
        np.zeros((n, 2), np.int32),
        np.full(n, 8, np.int32),
        np.full(n, 5, np.int32),
    )
    assert vote_peaks(*many_to_one, HALF_BIN, 1, backend=backend)[0].tolist() == [[5]]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda v: (v[0][:-1], *v[1:]),
        lambda v: (v[0], v[1][:-1], *v[2:]),
        lambda v: (*v[:5], v[5] + LEVELS, v[6]),
        lambda v: (*v[:6], v[6] - 1000),
        lambda v: (*v[:3], v[3][:, :1], *v[4:]),
    ],
)
def test_input_that_does_not_fit_is_refused(spoil) -> None:
    with pytest.raises(ValueError, match="expected"):
        vote_peaks(*spoil(votes(20, 2, 0)), HALF_BIN, 1)


def test_a_named_backend_never_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match="torch: live"):
        vote_peaks(*votes(5, 1, 0), HALF_BIN, 1, backend="triton")
    monkeypatch.setattr("localmatch.kernels.library._open", lambda: "not built, for this test")
    with pytest.raises(BackendError, match="not built, for this test"):
        vote_peaks(*votes(5, 1, 0), HALF_BIN, 1, backend="cpp")
    assert vote_peaks(*votes(5, 1, 0), HALF_BIN, 1)[0].shape == (1, 1)
    monkeypatch.setenv("LOCALMATCH_BACKEND", "cpp")
    with pytest.raises(BackendError, match="cpp"):
        vote_peaks(*votes(5, 1, 0), HALF_BIN, 1)


def test_null_kernel_copies() -> None:
    from localmatch.kernels import library

    if reason := library.unavailable_reason():
        pytest.skip(reason)
    values = np.arange(7, dtype=np.int32)
    copy = np.full(7, -1, np.int32)
    library.call("null", values, 7, copy)
    assert np.array_equal(copy, values)
    with pytest.raises(BackendError, match=r"null: bad argument .*-1"):
        library.call("null", values, -1, copy)
