"""Reading and writing descriptor weights: safetensors, checked by name, shape and digest before they are used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from localmatch.descriptor.network import DescriptorNet
from localmatch.errors import WeightsError
from localmatch.files import replacing

SHIPPED = Path(__file__).with_name("localmatch-v2.safetensors")
"""The weights that come with the package."""

SHIPPED_SHA256 = "02f255646c9c8c9b93ff249a95a88be9f49a9f90b7846e99b7a1264ca3f84318"
"""SHA-256 of the shipped file."""


@dataclass(frozen=True)
class Descriptor:
    """A network ready to run, with the identity that an index records.

    Attributes:
        network: In evaluation mode, batch norms fused into the convolutions.
        digest: SHA-256 of the weight file, hex.
    """

    network: DescriptorNet
    digest: str


def load_descriptor(path: Path | None = None) -> Descriptor:
    """Load descriptor weights to describe with, the shipped ones by default; raises as `load_network`."""
    network, digest = load_network(path)
    network.eval().requires_grad_(False)
    network.features = _fused(network.features)
    return Descriptor(network, digest)


def load_network(path: Path | None = None) -> tuple[DescriptorNet, str]:
    """Load descriptor weights as they were trained, the shipped ones by default, and their SHA-256.

    Raises:
        WeightsError: The file is missing, is not safetensors, has other names or shapes than the network, or is the
            shipped file with another digest.
    """
    file = path or SHIPPED
    try:
        data = file.read_bytes()
        tensors = load(data)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"cannot read descriptor weights {file}: {error}. Reinstall, or name another file."
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if path is None and digest != SHIPPED_SHA256:
        raise WeightsError(f"{file} has SHA-256 {digest}, expected {SHIPPED_SHA256}: reinstall localmatch.")
    network = DescriptorNet()
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))
        raise WeightsError(f"{file} is not for this network: names or shapes differ at {wrong[:4]}.")
    network.load_state_dict(tensors)
    return network, digest


def save_weights(network: DescriptorNet, path: Path, record: str) -> str:
    """Write the weights of a network as safetensors, with a record of how they came; returns the file's SHA-256."""
    # One entry: safetensors writes several in random order, and equal weights shall be equal files.
    data = save({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, {"record": record})
    with replacing(path) as beside:
        beside.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def _fused(features: nn.Sequential) -> nn.Sequential:
    """Convolutions with their batch norms folded in, channels last: half the time of the training form."""
    layers: list[nn.Module] = []
    for layer in features:
        if isinstance(layer, nn.BatchNorm2d):
            layers[-1] = fuse_conv_bn_eval(layers[-1], layer)  # type: ignore[type-var]
        else:
            layers.append(layer)
    fused = nn.Sequential(*layers)
    fused.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return fused
