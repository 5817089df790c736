"""Images -> shards: decoded in threads ahead, encoded, and grouped into lists when a shard is full.

Memory is bounded by one shard and a few decoded images, whatever the number of images.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localmatch.descriptor.encode import encode_reference
from localmatch.descriptor.quantised import QuantisedNet
from localmatch.errors import ImageError
from localmatch.images import Skipped, Source, read
from localmatch.index.shard import ShardBuilder
from localmatch.index.store import Manifest, Part, write_manifest

SHARD_IMAGES = 2048
"""Images a shard; a kill loses at most the shard in progress, and memory is bounded by it."""

PREFETCH = 8
"""Images decoded ahead."""

Progress = Callable[[str], None]
"""Called with the name of each image that was handled."""


def decoded(
    sources: Iterable[Source | Skipped], workers: int = 2
) -> Iterator[tuple[Source, NDArray[np.uint8]] | Skipped]:
    """Decode images ahead in threads; order is kept, failures come as `Skipped`."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[Source, Future[NDArray[np.uint8]]] | Skipped] = deque()
        try:
            for source in sources:
                waiting.append(source if isinstance(source, Skipped) else (source, pool.submit(read, source)))
                if len(waiting) >= PREFETCH:
                    yield _resolve(waiting.popleft())
            while waiting:
                yield _resolve(waiting.popleft())
        finally:
            for item in waiting:
                if not isinstance(item, Skipped):
                    item[1].cancel()


def _resolve(item: tuple[Source, Future[NDArray[np.uint8]]] | Skipped) -> tuple[Source, NDArray[np.uint8]] | Skipped:
    if isinstance(item, Skipped):
        return item
    source, image = item
    try:
        return source, image.result()
    except ImageError as error:
        return Skipped(source.name, str(error).removeprefix(f"{source.name}: "))


def add_images(
    folder: Path,
    manifest: Manifest,
    network: QuantisedNet,
    sources: Iterable[Source | Skipped],
    shard_images: int,
    progress: Progress | None = None,
) -> tuple[Manifest, list[Skipped]]:
    """Encode images into new shards, each listed in the manifest as soon as it is whole.

    On KeyboardInterrupt the shard in progress is written with what it has, and the interrupt goes on.

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
        for item in decoded(sources):
            if isinstance(item, Skipped):
                skipped.append(item)
            else:
                source, image = item
                encoded = encode_reference(network, image, manifest.budget)
                if not len(encoded.patches):
                    height, width = image.shape[:2]
                    skipped.append(Skipped(source.name, f"nothing to compare in {width} x {height} px"))
                else:
                    builder.add(source.name, encoded)
                    if len(builder.images) >= shard_images:
                        manifest = seal(manifest)
                        builder = ShardBuilder()
            if progress is not None:
                progress(item.name if isinstance(item, Skipped) else item[0].name)
    except KeyboardInterrupt:
        seal(manifest)
        raise
    return seal(manifest), skipped


def list_shard(folder: Path, manifest: Manifest, part: Part) -> Manifest:
    """Make a written shard a part of the index."""
    manifest = replace(manifest, shards=(*manifest.shards, part))
    write_manifest(folder, manifest)
    return manifest
