"""Builds csrc/ into one shared library with a C ABI: no torch, no Python headers, so one wheel serves every version.

LOCALMATCH_PURE_PYTHON=1 installs without it; `localmatch backends` then says so. CXX names the compiler.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PURE = os.environ.get("LOCALMATCH_PURE_PYTHON") == "1"
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-pthread"]


class Build(build_py):
    def run(self) -> None:
        if not PURE:
            compile_library(ROOT / "localmatch" / "kernels" / "_localmatch.so")
        super().run()


def compile_library(target: Path) -> None:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    if compiler is None:
        sys.exit(
            "localmatch: no C++ compiler. Install g++, or set LOCALMATCH_PURE_PYTHON=1 for the slower pure Python."
        )
    sources = sorted(str(path) for path in (ROOT / "csrc").glob("*.cpp"))
    subprocess.run([*compiler.split(), *FLAGS, "-o", str(target), *sources], check=True)


class Wheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        _, _, platform = super().get_tag()
        return "py3", "none", platform


class Binary(Distribution):
    def has_ext_modules(self) -> bool:
        return not PURE


setup(cmdclass={"build_py": Build, "bdist_wheel": Wheel}, distclass=Binary)
