"""What happens to an index after it was built: images are removed, and their descriptors erased."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from localmatch.index.shard import Shard
from localmatch.index.store import Manifest


def without(
    manifest: Manifest, shards: Sequence[Shard], paths: Sequence[str | os.PathLike[str]]
) -> tuple[Manifest, list[str]]:
    """The manifest with images marked as removed, and their names.

    Args:
        manifest: What the index consists of.
        shards: Its shards, opened.
        paths: Images by their paths; folders, and files that hold images, stand for all in them.
    """
    wanted = [os.path.abspath(os.fspath(path)) for path in paths]
    parts, names = [], []
    for shard in shards:
        gone = set(shard.part.removed)
        for number, image in enumerate(shard.images):
            name = str(image["name"])
            below = any(name == path or name.startswith((path + os.sep, path + "::")) for path in wanted)
            if below and shard.alive[number]:
                gone.add(number)
                names.append(name)
        parts.append(replace(shard.part, removed=tuple(sorted(gone))))
    return replace(manifest, shards=tuple(parts)), names


def compactions(folder: Path, manifest: Manifest, shards: Sequence[Shard]) -> Iterator[Manifest]:
    """Rewrite one shard after the other without its removed images; each yields the manifest to be written then.

    Args:
        folder: The index, held for writing.
        manifest: What it consists of.
        shards: Its shards, opened.
    """
    for shard in shards:
        if not shard.part.removed:
            continue
        names = [one.name for one in manifest.shards]
        kept = [one for one in manifest.shards if one.name != shard.part.name]
        covers = set(manifest.background_shards)
        builder = shard.compacted()
        if builder.images:
            part = builder.write(folder)
            kept.insert(names.index(shard.part.name), part)
            if shard.part.name in covers:
                covers.add(part.name)
        manifest = replace(manifest, shards=tuple(kept), background_shards=tuple(sorted(covers)))
        yield manifest
