"""Images -> shards: encoded in one or more processes, and grouped into lists when a shard is full.

Memory is bounded by one shard and a few encoded images, whatever the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from localmatch.descriptor.encode import encode_reference
from localmatch.descriptor.quantised import QuantisedNet
from localmatch.descriptor.weights import load_descriptor
from localmatch.errors import ImageError, WorkerError
from localmatch.images import Skipped, Source, read
from localmatch.index.shard import ShardBuilder
from localmatch.index.store import Manifest, Part, write_manifest
from localmatch.records import Encoded
from localmatch.workers import in_order

SHARD_IMAGES = 2048
"""Images a shard; a kill loses at most the shard in progress, and memory is bounded by it."""

Progress = Callable[[str], None]
"""Called with the name of each image that was handled."""


Encode = Callable[[Iterable[Source | Skipped]], Iterator[tuple[Source, Encoded] | Skipped]]
"""Encodes images in their order; those that cannot be read come as `Skipped`."""


def encoder(network: QuantisedNet, weights: Path | None, budget: int, workers: int) -> Encode:
    """Encodes images as references are.

    Args:
        network: Describes in this process.
        weights: Where other processes load it from; None for the shipped weights.
        budget: Patches an image.
        workers: Processes, see `workers.in_order`.
    """
    work, elsewhere = partial(_encode, budget=budget), partial(_network, weights)
    return lambda sources: in_order(work, sources, network, elsewhere, workers)


def _encode(network: QuantisedNet, source: Source | Skipped, budget: int) -> tuple[Source, Encoded] | Skipped:
    if isinstance(source, Skipped):
        return source
    try:
        image = read(source)
    except ImageError as error:
        return Skipped(source.name, str(error).removeprefix(f"{source.name}: "))
    return source, encode_reference(network, image, budget)


def _network(weights: Path | None) -> QuantisedNet:
    return load_descriptor(weights).network


def add_images(
    folder: Path,
    manifest: Manifest,
    encode: Encode,
    sources: Iterable[Source | Skipped],
    shard_images: int,
    progress: Progress | None = None,
) -> tuple[Manifest, list[Skipped]]:
    """Encode images into new shards, each listed in the manifest as soon as it is whole.

    On KeyboardInterrupt, and where a worker was killed, the shard in progress is written with what it has, and the
    error goes on.

    Returns:
        The new manifest, and the inputs that were passed over.
    """
    skipped: list[Skipped] = []
    builder = ShardBuilder()

    def seal(current: Manifest) -> Manifest:
        if not builder.images:
            return current
        return list_shard(folder, current, builder.write(folder))

    try:
        for item in encode(sources):
            if isinstance(item, Skipped):
                skipped.append(item)
            elif not len(item[1].patches):
                width, height = item[1].size
                skipped.append(Skipped(item[0].name, f"nothing to compare in {width} x {height} px"))
            else:
                builder.add(item[0].name, item[1])
                if len(builder.images) >= shard_images:
                    manifest = seal(manifest)
                    builder = ShardBuilder()
            if progress is not None:
                progress(item.name if isinstance(item, Skipped) else item[0].name)
    except (KeyboardInterrupt, WorkerError):
        seal(manifest)
        raise
    return seal(manifest), skipped


def list_shard(folder: Path, manifest: Manifest, part: Part) -> Manifest:
    """Make a written shard a part of the index."""
    manifest = replace(manifest, shards=(*manifest.shards, part))
    write_manifest(folder, manifest)
    return manifest
