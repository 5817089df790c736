"""Triton forms of the ops, for CUDA and ROCm; imported only when they are called."""
