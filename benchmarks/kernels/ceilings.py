"""Ceilings of this CPU, measured in the same run as the kernels: products a second on registers, bytes a second."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from localmatch.kernels import library
from localmatch.kernels.cost import H100, H200, Device

ROUNDS = 20_000_000
"""Loops of a measurement, about half a second."""


def measure(threads: int) -> Device:
    """What so many threads of this CPU reach at most.

    Raises:
        RuntimeError: The CPU has neither AVX-512 VNNI nor AVX2, whose peaks are what the kernels are judged by.
    """
    isa = library.ISAS[library.isa()]
    if isa not in ("avx512", "avx2"):
        raise RuntimeError(f"expected a CPU with AVX-512 VNNI or AVX2, this one has {isa}: add its peak to peak.cpp")
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "peak.so"
        source = Path(__file__).with_name("peak.cpp")
        flags = ["-O2", "-fPIC", "-shared", *(["-DAVX2"] if isa == "avx2" else [])]
        subprocess.run(["g++", *flags, "-o", str(built), str(source)], check=True)
        peak = ctypes.CDLL(str(built))
        rates = {kind: _rate(getattr(peak, f"peak_{kind}"), threads) for kind in ("int8", "float32", "int32")}
    return Device(f"this CPU, {threads} threads", rates, _bandwidth(threads))


def of_gpu() -> Device:
    """The data sheet of this GPU.

    Raises:
        RuntimeError: It is not known here.
    """
    name = torch.cuda.get_device_name()
    for device in (H100, H200):
        if device.name.split()[1] in name:
            return device
    raise RuntimeError(f"no ceilings are known for {name}: add its data sheet to localmatch/kernels/cost.py")


def _rate(function: ctypes._CFuncPtr, threads: int) -> float:  # type: ignore[name-defined]
    """Operations a second; the best of three, since other work can only slow it down."""
    function.restype = ctypes.c_double
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(3):
            start = time.perf_counter()
            # ctypes lets go of the interpreter's lock, so that the threads run at once.
            done = sum(pool.map(lambda _: function(ctypes.c_int64(ROUNDS)), range(threads)))
            best = max(best, done / (time.perf_counter() - start))
    return best


def _bandwidth(threads: int) -> float:
    """Bytes a second of a sum over 256 MB, far more than the caches."""
    torch.set_num_threads(threads)
    values = torch.ones(1 << 26)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        values.sum()
        best = max(best, values.numel() * 4 / (time.perf_counter() - start))
    return best
