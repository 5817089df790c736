"""Builds csrc/ into shared libraries with a C ABI: no torch, no Python headers, so one wheel serves every version.

LOCALMATCH_PURE_PYTHON=1 installs without them; `localmatch backends` then says so. CXX names the compiler.
LOCALMATCH_CUDA=1 requires the CUDA library, 0 leaves it out; unset, it is built where nvcc is found. NVCC names nvcc.
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
KERNELS = ROOT / "localmatch" / "kernels"
PURE = os.environ.get("LOCALMATCH_PURE_PYTHON") == "1"
CUDA = os.environ.get("LOCALMATCH_CUDA", "")
FLAGS = [
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-Wall",
    "-Wextra",
    "-pthread",
]
# The CUDA runtime is linked in, so that the library loads where there is no driver, and says so when it is called.
CUDA_FLAGS = ["-std=c++17", "-O3", "-shared", "-cudart", "static", "-Xcompiler", "-fPIC,-fvisibility=hidden"]
CUDA_TARGETS = ("80", "90", "100", "120")


class Build(build_py):
    def run(self) -> None:
        if not PURE:
            compile_library(KERNELS / "_localmatch.so")
            compile_cuda(KERNELS / "_localmatch_cuda.so")
        super().run()


def compile_library(target: Path) -> None:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    if compiler is None:
        sys.exit(
            "localmatch: no C++ compiler. Install g++, or set LOCALMATCH_PURE_PYTHON=1 for the slower pure Python."
        )
    sources = sorted(str(path) for path in (ROOT / "csrc").glob("*.cpp"))
    subprocess.run([*compiler.split(), *FLAGS, "-o", str(target), *sources], check=True)


def compile_cuda(target: Path) -> None:
    compiler = os.environ.get("NVCC") or shutil.which("nvcc")
    if CUDA == "0" or (compiler is None and CUDA != "1"):
        return
    if compiler is None:
        sys.exit("localmatch: LOCALMATCH_CUDA=1, but there is no nvcc. Install the CUDA toolkit, or unset it.")
    sources = sorted(str(path) for path in (ROOT / "csrc" / "cuda").glob("*.cu"))
    targets = [f"-gencode=arch=compute_{one},code=sm_{one}" for one in CUDA_TARGETS]
    # Best effort: an old nvcc does not know the newest targets.
    subprocess.run([*compiler.split(), *CUDA_FLAGS, *targets, "-o", str(target), *sources], check=CUDA == "1")


class Wheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        _, _, platform = super().get_tag()
        return "py3", "none", platform


class Binary(Distribution):
    def has_ext_modules(self) -> bool:
        return not PURE


setup(cmdclass={"build_py": Build, "bdist_wheel": Wheel}, distclass=Binary)
