"""What an op must cost at least: the roofline of the work that it cannot avoid.

    floor = max(operations / peak operations a second, bytes / bytes a second)

Operations are multiplications and additions; bytes are inputs read once and outputs written once. (Williams, Waterman
and Patterson, "Roofline", CACM 2009.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """What a device can do at most.

    Attributes:
        name: Of the device.
        operations: A second, by type: "int8" (into int32), "float32", and "int32" for all other integer work.
        bytes: A second, from and to memory.
    """

    name: str
    operations: Mapping[str, float]
    bytes: float


H100 = Device("NVIDIA H100 SXM", {"int8": 1.979e15, "float32": 6.7e13, "int32": 3.3e13}, 3.35e12)
H200 = Device("NVIDIA H200 SXM", {"int8": 1.979e15, "float32": 6.7e13, "int32": 3.3e13}, 4.8e12)
"""From the vendor's data sheets, dense."""


@dataclass(frozen=True)
class Estimate:
    """The floor of a call.

    Attributes:
        seconds: The least time.
        bound: "operations" or "bytes".
        operations, bytes: The work.
    """

    seconds: float
    bound: str
    operations: float
    bytes: float


def estimate(op: str, shape: Mapping[str, int], device: Device, dtype: str = "int8") -> Estimate:
    """The least time of an op on a device, without running it.

    Args:
        op: Name of an op.
        shape: Sizes by name: match_topk queries, rows, segments, dimension; rerank_topk queries, candidates (rows a
            query is compared with), dimension, k, of runs also runs (a query) and rows (of the table); compare_maps
            height, width, alignments, radius, dimension; vote_topk votes, groups, peaks; local_zncc height, width;
            convolve height, width, inputs, outputs, stride; splat_evidence maps, patches, height, width, side (of the
            patches' windows, px).
        device: Its ceilings.
        dtype: Of the descriptors.

    Raises:
        ValueError: There is no such op, or a size is missing.
    """
    if op not in _WORK:
        raise ValueError(f"expected one of {', '.join(_WORK)}, got {op!r}")
    try:
        operations, size = _WORK[op](shape, 1 if dtype == "int8" else 4)
    except KeyError as missing:
        raise ValueError(f"{op} needs the size {missing}, got {', '.join(shape)}") from None
    kind = dtype if op in ("match_topk", "rerank_topk", "compare_maps", "convolve") else "int32"
    times = {"operations": operations / device.operations[kind], "bytes": size / device.bytes}
    bound = max(times, key=lambda name: times[name])
    return Estimate(times[bound], bound, operations, size)


Work = tuple[float, float]
"""Operations and bytes."""


def _match(n: Mapping[str, int], item: int) -> Work:
    results = 8 * n["segments"] * n["queries"]
    return 2.0 * n["queries"] * n["rows"] * n["dimension"], (n["queries"] + n["rows"]) * n["dimension"] * item + results


def _rerank(n: Mapping[str, int], item: int) -> Work:
    pairs = n["queries"] * n["candidates"]
    # Rows that several queries want are read once; of runs there are fewer numbers than rows.
    read = min(pairs, n.get("rows", pairs)) * n["dimension"] * item + n["queries"] * n.get("runs", n["candidates"]) * 4
    return 2.0 * pairs * n["dimension"], read + n["queries"] * (n["dimension"] * item + 8 * n["k"])


def _compare(n: Mapping[str, int], item: int) -> Work:
    cells = n["height"] * n["width"]
    looked = cells * n["alignments"] * (2 * n["radius"] + 1) ** 2
    return 2.0 * looked * n["dimension"], 2 * cells * n["dimension"] * item + 8 * cells * n["alignments"]


def _convolve(n: Mapping[str, int], _: int) -> Work:
    pixels, results = n["height"] * n["width"], n["height"] * n["width"] / n["stride"] ** 2
    weights = 9 * n["inputs"] * n["outputs"]
    return 2.0 * results * weights, pixels * n["inputs"] + results * n["outputs"] + weights


def _vote(n: Mapping[str, int], _: int) -> Work:
    # Eight bins a vote, each added to for the query's and the reference's side.
    return 16.0 * n["votes"], 40 * n["votes"] + 20 * n["groups"] * n["peaks"]


def _zncc(n: Mapping[str, int], _: int) -> Work:
    # Six sums, each moved down and to the right, and the quotient.
    return 40.0 * n["height"] * n["width"], 7 * n["height"] * n["width"]


def _splat(n: Mapping[str, int], _: int) -> Work:
    pixels = n["height"] * n["width"]
    return 2.0 * n["patches"] * n["side"] ** 2, 4 * pixels * (n["maps"] + 1) + 16 * n["patches"]


_WORK: dict[str, Callable[[Mapping[str, int], int], Work]] = {
    "match_topk": _match,
    "rerank_topk": _rerank,
    "compare_maps": _compare,
    "convolve": _convolve,
    "vote_topk": _vote,
    "local_zncc": _zncc,
    "splat_evidence": _splat,
}
