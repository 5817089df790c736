"""What the ops are defined to say, what they refuse, and how a backend is chosen."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from kernel_cases import (
    CASES,
    HALF_BIN,
    LIVE,
    Case,
    compare_input,
    convolve_input,
    match_input,
    rerank_input,
    runs_input,
    splat_input,
    vote_input,
    zncc_input,
)

from localmatch.errors import BackendError
from localmatch.kernels import (
    compare_maps,
    convolve,
    library,
    local_zncc,
    match_topk,
    rerank_topk,
    splat_evidence,
    vote_topk,
)
from localmatch.kernels.match import NONE
from localmatch.kernels.vote import LEVELS, inverse_ratios


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


def test_the_definition_of_a_convolution_is_what_it_says() -> None:
    image, weights, bias, scale, _ = convolve_input(3, 5, 6, 8, 8, 2)
    found = convolve(image, weights, bias, scale, 2, backend="torch").numpy()
    padded = np.pad(image.permute(0, 3, 1, 2).flatten(0, 1).numpy().astype(int), ((0, 0), (1, 1), (1, 1)))
    for channel, y, x in np.ndindex(8, 3, 3):
        window = padded[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
        value = (int((window * weights[channel].numpy()).sum()) + int(bias[channel])) * float(scale[channel])
        assert found[channel // 4, y, x, channel % 4] == min(max(round(value), 0), 255)


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
CONVOLVED = convolve_input(0, 3, 3, 8, 8, 1)
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
    "convolve: one dimension": lambda: convolve(*spoiled(CONVOLVED, 0, CONVOLVED[0].flatten())),
    "convolve: outputs": lambda: convolve(*convolve_input(0, 3, 3, 4, 12, 1)),
    "convolve: weights": lambda: convolve(*spoiled(CONVOLVED, 1, CONVOLVED[1][:, :4])),
    "convolve: type": lambda: convolve(*spoiled(CONVOLVED, 0, CONVOLVED[0].int())),
    "convolve: stride": lambda: convolve(*spoiled(CONVOLVED, 4, 3)),
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
