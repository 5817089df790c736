"""What Triton makes of every kernel for each GPU, compiled ahead of time: no GPU and no driver is needed.

    python -m benchmarks.kernels.triton_aot --out benchmarks/results/triton_aot.json

Registers, bytes of spilled registers and of shared memory, and matrix instructions, read from the machine code. The
result file is the golden record that a test compares with: a kernel that spills or loses its matrix instructions is
seen at once.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Interpreted kernels cannot be compiled; Triton reads this when it is imported.
os.environ.pop("TRITON_INTERPRET", None)

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from localmatch.kernels.triton import compare, match, rerank

TARGETS: dict[str, GPUTarget] = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "sm_120": GPUTarget("cuda", 120, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}

MATRIX_INSTRUCTIONS = ("IMMA", "IGMMA", "QGMMA", "UTCIMMA", "UTCQMMA", "OMMA", "v_mfma_i32", "v_smfmac_i32")
"""Of int8 or, where a GPU has none, of what the compiler takes instead, by the names in machine code."""


Kernel = tuple[str, Callable[..., Any], dict[str, str], dict[str, int], dict[str, int]]
"""Name, kernel, types of its arguments, constants, options."""

INT8, INT32, INT64 = "*i8", "*i32", "*i64"


def kernels(amd: bool) -> Iterator[Kernel]:
    """Every form that the library launches."""
    for dimension in (64, 128, 256, 1024):
        yield from _match(dimension)
        yield from _rerank(dimension, amd)
    yield _choose()
    for dimension in (64, 128):
        sizes = ("height", "width", "dimension", "reference_height", "reference_width", "radius")
        types = {"query": INT8, "reference": INT8, "affine": INT32, "score": INT32, "offset": INT32}
        types |= dict.fromkeys(sizes, "i32")
        constants = {"padded": dimension, "block": compare.CELLS}
        yield f"compare {dimension}", compare.compare_kernel, types, constants, {"num_warps": compare.WARPS}


def _match(dimension: int) -> Iterator[Kernel]:
    types = {"query": INT8, "reference": INT8, "offsets": INT64, "best": INT32, "row": INT32, "second": INT32}
    types |= {"packed": INT64, "queries": "i32"}
    for more in (0, 1):
        block_q, block_r, warps, stages = match.tile_of(dimension, bool(more))
        constants = {
            "dimension": dimension, "with_second": more, "with_mutual": more, "padded": dimension, "block_q": block_q,
            "block_r": block_r, "shift_q": block_q.bit_length() - 1, "shift_r": block_r.bit_length() - 1,
        }  # fmt: skip
        options = {"num_warps": warps, "num_stages": stages}
        yield f"match {dimension}" + " second mutual" * more, match.match_kernel, types, constants, options


def _rerank(dimension: int, amd: bool) -> Iterator[Kernel]:
    block, k = rerank.block_of(rerank.ROWS, dimension), 10
    types = {"query": INT8, "candidates": INT32, "table": INT8, "score": INT32, "row": INT32}
    types |= {"width": "i32", "count": "i32"}
    constants = {"dimension": dimension, "k": k, "padded": dimension, "block": block}
    options = {"num_warps": rerank.warps_of(block, dimension)}
    yield f"rerank {dimension}", rerank.rerank_kernel, types, constants, options
    types = {"query": INT8, "pairs": INT64, "starts": INT64, "table": INT8, "offsets": INT64, "highest": INT32}
    types |= {"width": "i32", "parts": "i32"}
    constants = {"dimension": dimension, "depth": min(dimension, rerank.RUN_DEPTH), "block_q": rerank.RUN_QUERIES}
    constants |= {"block_r": rerank.RUN_ROWS, "part": rerank.PART}
    options = {"num_warps": rerank.RUN_WARPS, "num_stages": rerank.stages_of(amd)}
    yield f"rerank {dimension} parts", rerank.parts_kernel, types, constants, options


def _choose() -> Kernel:
    types = {"runs": INT32, "offsets": INT64, "highest": INT32, "rows": INT32}
    types |= {"width": "i32", "parts": "i32", "count": "i32"}
    constants = {"k": 10, "part": rerank.PART, "block": rerank.PARTS}
    return "choose", rerank.choose_kernel, types, constants, {"num_warps": rerank.PARTS_WARPS}


def compile_all(targets: list[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Kernel -> target -> registers, spills, matrix instructions and shared memory."""
    record: dict[str, dict[str, dict[str, Any]]] = {}
    for target in targets:
        for name, kernel, types, constants, options in kernels(amd=target.startswith("gfx")):
            # Pointers and the dimension are multiples of 16, as they are at run time.
            attributes = {
                (i,): [["tt.divisibility", 16]]
                for i, (argument, kind) in enumerate(types.items())
                if kind.startswith("*") or argument == "dimension"
            }
            signature = types | dict.fromkeys(constants, "constexpr")
            source = ASTSource(kernel, signature, constants, attributes)
            compiled = triton.compile(source, target=TARGETS[target], options=options)
            read = _read_cuda if target.startswith("sm") else _read_amd
            record.setdefault(name, {})[target] = read(compiled) | {"shared_bytes": compiled.metadata.shared}
    return record


def _read_cuda(compiled: Any) -> dict[str, Any]:
    """Registers and spills from the resource usage of the cubin, instructions from its disassembly."""
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = _run(tools / "cuobjdump", "-res-usage", file.name)
        code = _run(tools / "nvdisasm", "-c", file.name)
    local = int(re.search(r"LOCAL:(\d+)", usage)[1])  # type: ignore[index]
    stack = int(re.search(r"STACK:(\d+)", usage)[1])  # type: ignore[index]
    registers = int(re.search(r"REG:(\d+)", usage)[1])  # type: ignore[index]
    return {"registers": registers, "spilled_bytes": local + stack, "matrix": _matrix(code)}


def _read_amd(compiled: Any) -> dict[str, Any]:
    code = compiled.asm["amdgcn"]
    numbers = {key: int(value) for key, value in re.findall(r"\.(\w+_(?:count|size)):\s+(\d+)", code)}
    spilled = 4 * (numbers["vgpr_spill_count"] + numbers["sgpr_spill_count"])
    return {"registers": numbers["vgpr_count"], "spilled_bytes": spilled, "matrix": _matrix(code)}


def _matrix(code: str) -> list[str]:
    return [name for name in MATRIX_INSTRUCTIONS if name in code]


def _run(*command: object) -> str:
    return subprocess.run([str(one) for one in command], check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Compile and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    record = {"triton": triton.__version__, "kernels": compile_all(arguments.targets)}
    arguments.out.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
