"""Speed of every op against the strongest other form of the same work, in the same run.

    python -m benchmarks.kernels --out benchmarks/results/kernels.jsonl
    python -m benchmarks.kernels --ops vote splat --threads 1 --small --out /tmp/kernels.jsonl

On a machine with a GPU its forms are measured. Forms take turns; a ratio is of medians. Nothing is written while other
work keeps the machine busy: see --any-load.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.environment import environment
from benchmarks.kernels import ceilings
from benchmarks.kernels.runner import run

OPS = ("match", "rerank", "compare", "convolve", "vote", "zncc", "splat")
console: Console = Console(stderr=True)


def main() -> None:
    """Measure and write JSON lines: one with the environment, then one an op, shape, backend and number of threads."""
    arguments = _arguments()
    cores = len(os.sched_getaffinity(0))
    if os.getloadavg()[0] > cores and not arguments.any_load:
        sys.exit(
            f"the load average is {os.getloadavg()[0]:.1f} on {cores} cores: other work would decide the ratios. "
            "Wait for it to end, or give --any-load."
        )
    table = Table(
        "op", "backend", "shape", "threads", "ms", "times as fast as the strongest other form", "of floor", "same"
    )
    with arguments.out.open("w") as out:
        head = {"environment": environment(), "small": arguments.small, "began": time.strftime("%F %T")}
        gpu = torch.cuda.is_available() and not arguments.cpu
        # On a GPU the number of CPU threads decides nothing.
        for threads in [1] if gpu else arguments.threads or sorted({1, cores}):
            device = ceilings.of_gpu() if gpu else ceilings.measure(threads)
            head[f"ceilings_{threads}"] = {"operations": dict(device.operations), "bytes": device.bytes}
            out.write(json.dumps(head) + "\n")
            head = {}
            for op in arguments.ops:
                for case in importlib.import_module(f"benchmarks.kernels.{op}").cases(arguments.small):
                    for record in run(case, device, "cuda" if gpu else "cpu", threads):
                        out.write(json.dumps(record) + "\n")
                        out.flush()
                        table.add_row(*_row(record))
                        console.print(f"{record['op']} {record['shape']} {threads}: {_ratios(record)}", soft_wrap=True)
    console.print(table)


def _ratios(record: dict[str, Any]) -> str:
    return ", ".join(f"{kind} {best['ratio']:.1f}" for kind, best in record["ratios"].items())


def _row(record: dict[str, Any]) -> list[str]:
    shape = " ".join(f"{name} {size}" for name, size in record["shape"].items())
    return [
        str(record["op"]),
        str(record["backend"]),
        f"{shape} {record['dtype']}",
        str(record["threads"]),
        f"{1e3 * float(record['median_s']):.2f}",
        _ratios(record),
        f"{record['share_of_floor']:.0%}",
        "yes" if all(record["same"].values()) else str(record["same"]),
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", nargs="+", choices=OPS, default=list(OPS))
    parser.add_argument("--threads", nargs="+", type=int, help="numbers of threads; 1 and all by default")
    parser.add_argument("--cpu", action="store_true", help="the CPU, though there is a GPU")
    parser.add_argument("--small", action="store_true", help="small inputs, to see that everything runs")
    parser.add_argument("--any-load", action="store_true", help="measure on a busy machine, too")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
