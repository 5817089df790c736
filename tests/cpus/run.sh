#!/usr/bin/env bash
# The kernels on CPUs that this machine does not have, emulated: x86 without AVX2, with AVX2 only, and aarch64 with and
# without the dot product. Needs qemu-user, g++ and aarch64-linux-gnu-g++ (Debian: qemu-user g++-aarch64-linux-gnu).
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags=(-std=c++17 -O3 -fno-math-errno -static -pthread -Wall -Wextra tests/cpus/check.cpp csrc/*.cpp)
g++ "${flags[@]}" -o "$work/x86"
aarch64-linux-gnu-g++ "${flags[@]}" -o "$work/arm"
"$work/x86"
warned() { grep -v "TCG doesn.t support requested feature" || true; }
for cpu in Nehalem Haswell; do echo "x86 $cpu"; qemu-x86_64 -cpu $cpu "$work/x86" 2> >(warned >&2); done
for cpu in cortex-a57 cortex-a76; do echo "aarch64 $cpu"; qemu-aarch64 -cpu $cpu "$work/arm"; done
