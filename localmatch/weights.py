"""Reading and writing weights of networks: safetensors, checked by name, shape and digest before they are used."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from localmatch.errors import WeightsError
from localmatch.files import replacing


def load_weights(network: nn.Module, file: Path, sha256: str | None = None) -> str:
    """Load weights into a network.

    Args:
        network: Whose weights are replaced.
        file: Safetensors.
        sha256: Of the file as it was shipped; None for files of others.

    Returns:
        The file's SHA-256, hex.

    Raises:
        WeightsError: The file is missing, is not safetensors, has other names or shapes than the network, or another
            digest than the shipped file.
    """
    try:
        data = file.read_bytes()
        tensors = load(data)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot read weights {file}: {error}. Reinstall, or name another file.") from error
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256:
        raise WeightsError(f"{file} has SHA-256 {digest}, expected {sha256}: reinstall localmatch.")
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))
        raise WeightsError(f"{file} is not for this network: names or shapes differ at {wrong[:4]}.")
    network.load_state_dict(tensors)
    return digest


def save_weights(network: nn.Module, path: Path, record: str) -> str:
    """Write the weights of a network as safetensors, with a record of how they came; returns the file's SHA-256."""
    # One entry: safetensors writes several in random order, and equal weights shall be equal files.
    data = save({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, {"record": record})
    with replacing(path) as beside:
        beside.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def fused(layers: nn.Sequential) -> nn.Sequential:
    """Convolutions with their batch norms folded in, channels last: half the time of the training form."""
    folded: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            folded[-1] = fuse_conv_bn_eval(folded[-1], layer)  # type: ignore[type-var]
        else:
            folded.append(layer)
    whole = nn.Sequential(*folded)
    whole.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return whole
