"""Times the forms of one op on one input, A/B alternated, and writes what was measured as one JSON line."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from localmatch.kernels import backends, estimate, library
from localmatch.kernels.cost import Device

ROUNDS, LEAST_SECONDS, MOST_SECONDS = 7, 0.05, 4.0
"""Rounds in which all forms take turns; a form runs so often in a round that it takes the second; no form starts a
round after it had the third in all."""

ON_GPU = ("eager", "compiled")
"""Kinds of baselines that run on a GPU: the other libraries are for the CPU."""

PROFILED = 20
"""Calls whose time on the GPU is summed."""

COPIES_BYTES = 64 << 20
"""Inputs are copied until they fill this, and take turns, so that no form finds them in a cache."""


@dataclass(frozen=True)
class Case:
    """An input of an op, and the forms that do the same work on it.

    Attributes:
        op: Name of the op, as in `localmatch.kernels`.
        shape: What `localmatch.kernels.estimate` takes.
        dtype: Of the descriptors or pixels.
        arguments: Tensors and numbers that every form takes.
        ours: The op; takes `backend=`, too.
        backends: Those that have it.
        baselines: Other forms by name: "eager: ...", "compiled: ..." or the name of another library first.
        same: Whether a result of a baseline is right, given ours.
        gpu_baselines: Stronger ones on a GPU; None where those of `ON_GPU` are as strong there.
    """

    op: str
    shape: dict[str, int]
    dtype: str
    arguments: tuple[Any, ...]
    ours: Callable[..., Any]
    backends: tuple[str, ...]
    baselines: Mapping[str, Callable[..., Any]]
    same: Callable[[Any, Any], bool]
    gpu_baselines: Mapping[str, Callable[..., Any]] | None = None


def run(case: Case, device: Device, where: str, threads: int) -> list[dict[str, Any]]:
    """Measure a case on the kind of device `where`; one record a compiled backend that serves it there."""
    os.environ["LOCALMATCH_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    live = [one.name for one in backends() if one.live and where in one.devices and one.name in case.backends]
    own: dict[str, Callable[..., Any]] = {name: partial(case.ours, backend=name) for name in live if name != "torch"}
    if not own:
        return []
    copies = _copies(tuple(one.to(where) if isinstance(one, Tensor) else one for one in case.arguments))
    elsewhere = case.baselines if where == "cpu" else _on_gpu(case)
    forms = {**own, **{f"baseline {name}": form for name, form in elsewhere.items()}}
    results = {name: _on_cpu(form(*copies[0])) for name, form in forms.items()}  # warm-up, and what is checked
    times = _alternate(forms, copies)
    busy = {name: _busy_seconds(form, copies) for name, form in forms.items()} if where == "cuda" else {}
    floor = estimate(case.op, case.shape, device, case.dtype)
    others = {name: times[f"baseline {name}"] for name in elsewhere}
    records = []
    for name in own:
        median = float(np.median(times[name]))
        records.append(
            {
                "op": case.op,
                "backend": name,
                "isa": library.ISAS[library.isa()] if name == "cpp" else None,
                "shape": case.shape,
                "dtype": case.dtype,
                "device": device.name,
                "threads": threads,
                **_spread(times[name]),
                "ratios": _ratios(times[name], others),
                "baselines": {other: _spread(values) for other, values in others.items()},
                **_busy(name, busy),
                "operations": floor.operations,
                "bytes": floor.bytes,
                "floor_s": floor.seconds,
                "share_of_floor": floor.seconds / busy.get(name, median),
                "same": {other: case.same(results[name], results[f"baseline {other}"]) for other in elsewhere},
                "load": os.getloadavg()[0],
            }
        )
    return records


def _on_gpu(case: Case) -> Mapping[str, Callable[..., Any]]:
    if case.gpu_baselines is not None:
        return case.gpu_baselines
    return {name: form for name, form in case.baselines.items() if name.split(":")[0] in ON_GPU}


def _on_cpu(result: Any) -> Any:
    if isinstance(result, Tensor):
        return result.cpu()
    if not isinstance(result, tuple):
        return result
    parts = [_on_cpu(part) for part in result]
    return type(result)(*parts) if hasattr(result, "_fields") else tuple(parts)


def _ratios(own: Sequence[float], others: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """By kind of baseline, the fastest and how many times as long it takes."""
    best: dict[str, dict[str, Any]] = {}
    for name, values in others.items():
        kind, ratio = name.split(":")[0], float(np.median(values) / np.median(own))
        if kind not in best or ratio < best[kind]["ratio"]:
            best[kind] = {"ratio": ratio, "baseline": name}
    return best


def _busy(name: str, seconds: dict[str, float]) -> dict[str, Any]:
    """What a record says of the time on the GPU alone; nothing on a CPU."""
    if not seconds:
        return {}
    others = {other.removeprefix("baseline "): s for other, s in seconds.items() if other.startswith("baseline ")}
    ratios = _ratios([seconds[name]], {other: [s] for other, s in others.items()})
    return {"busy_s": seconds[name], "busy_ratios": ratios, "baselines_busy_s": others}


def _alternate(forms: dict[str, Callable[..., Any]], copies: Sequence[tuple[Any, ...]]) -> dict[str, list[float]]:
    """Seconds a call of each form, by round; the order turns around from round to round."""
    times: dict[str, list[float]] = {name: [] for name in forms}
    repeats = dict.fromkeys(forms, 1)
    for number in range(ROUNDS):
        for name in sorted(forms, reverse=bool(number % 2)):
            if sum(times[name]) * repeats[name] > MOST_SECONDS:
                continue
            start = time.perf_counter()
            for repeat in range(repeats[name]):
                forms[name](*copies[repeat % len(copies)])
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds = (time.perf_counter() - start) / repeats[name]
            times[name].append(seconds)
            repeats[name] = max(1, math.ceil(LEAST_SECONDS / seconds))
    return times


def _busy_seconds(form: Callable[..., Any], copies: Sequence[tuple[Any, ...]]) -> float:
    """Seconds that the GPU works on a call: without the gaps between its kernels and without Python."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for repeat in range(PROFILED):
            form(*copies[repeat % len(copies)])
        torch.cuda.synchronize()
    events = [event for event in profile.events() if event.device_type.name == "CUDA"]
    spans = sorted((event.time_range.start, event.time_range.end) for event in events)
    busy, until = 0.0, 0.0
    for start, end in spans:  # microseconds; kernels may overlap
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy / PROFILED / 1e6


def _copies(arguments: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    size = sum(one.numel() * one.element_size() for one in arguments if isinstance(one, Tensor))
    count = min(64, max(1, COPIES_BYTES // max(size, 1)))
    return [tuple(one.clone() if isinstance(one, Tensor) else one for one in arguments) for _ in range(count)]


def _spread(times: Sequence[float]) -> dict[str, float]:
    low, median, high = np.percentile(times, (25, 50, 75))
    return {"median_s": float(median), "iqr_s": float(high - low), "rounds": len(times)}
