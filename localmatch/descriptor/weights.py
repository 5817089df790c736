"""The weights that the descriptor network comes with, and others of the same network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from localmatch.descriptor.network import DescriptorNet
from localmatch.descriptor.quantised import QuantisedNet
from localmatch.weights import load_weights

SHIPPED = Path(__file__).with_name("localmatch-v3.safetensors")
"""The weights that come with the package."""

SHIPPED_SHA256 = "81096dab81fdad48816e60e10a13a0e709ad616518777742e799f0850006b245"
"""SHA-256 of the shipped file."""


@dataclass(frozen=True)
class Descriptor:
    """A network ready to run, with the identity that an index records.

    Attributes:
        network: On bytes, in evaluation mode.
        digest: SHA-256 of the weight file, hex.
    """

    network: QuantisedNet
    digest: str


def load_descriptor(path: Path | None = None) -> Descriptor:
    """Load descriptor weights to describe with, the shipped ones by default; raises as `load_weights`."""
    network, digest = load_network(path)
    network.eval().requires_grad_(False)
    return Descriptor(QuantisedNet(network), digest)


def load_network(path: Path | None = None) -> tuple[DescriptorNet, str]:
    """Load descriptor weights as they were trained, the shipped ones by default, and their SHA-256; may raise, too."""
    network = DescriptorNet()
    digest = load_weights(network, path or SHIPPED, SHIPPED_SHA256 if path is None else None)
    return network, digest
