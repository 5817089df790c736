"""What compilers make of the GPU kernels, without a GPU: no register is spilled, and matrix instructions are there."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED_BYTES = {"sm_80": 163 << 10, "sm_90": 227 << 10, "sm_100": 227 << 10, "sm_120": 99 << 10, "gfx942": 64 << 10}
"""What a block may have at most, from the vendors' tables."""
GOLDEN = ROOT / "benchmarks" / "results" / "triton_aot.json"


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_triton_kernels_compile_as_recorded(tmp_path: Path) -> None:
    out = tmp_path / "aot.json"
    # In a process of its own: in this one, Triton interprets.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("TRITON_INTERPRET", "PYTHONSAFEPATH")
    }
    command = [sys.executable, "-m", "benchmarks.kernels.triton_aot", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, golden = json.loads(out.read_text()), json.loads(GOLDEN.read_text())
    assert found["kernels"].keys() == golden["kernels"].keys()
    for name, targets in found["kernels"].items():
        for target, record in targets.items():
            assert record["spilled_bytes"] == 0, (name, target)
            assert record["shared_bytes"] <= SHARED_BYTES[target], (name, target)
            assert bool(record["matrix"]) == name.startswith(("match", "rerank")), (name, target)
    if found["triton"] == golden["triton"]:
        assert found["kernels"] == golden["kernels"], (
            f"if the change is wanted: {' '.join(command[1:3])} --out {GOLDEN}"
        )


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc to compile CUDA kernels with")
@pytest.mark.parametrize("source", sorted((ROOT / "csrc" / "cuda").glob("*.cu")), ids=lambda path: path.stem)
def test_cuda_kernels_spill_no_register(source: Path, tmp_path: Path) -> None:
    targets = [f"-gencode=arch=compute_{one},code=sm_{one}" for one in (80, 90, 100, 120)]
    command = ["nvcc", "-std=c++17", "-O3", "-Xptxas", "-v", *targets, "-c", str(source), "-o", str(tmp_path / "out.o")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", done.stderr)
    assert len(spills) >= len(targets)
    assert set(spills) == {("0", "0")}


def test_cuda_library_says_politely_that_there_is_no_gpu() -> None:
    from localmatch.kernels import backends, library

    reason = library.unavailable_reason("cuda")
    if reason is not None:
        pytest.skip(f"cuda: {reason}")
    (cuda,) = (one for one in backends() if one.name == "cuda")
    assert cuda.live or "no GPU" in str(cuda.reason)
