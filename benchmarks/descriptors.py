"""Descriptors alone: how often patches of small copied pieces have their own place among their nearest neighbours.

    python -m benchmarks.descriptors --references DIR --hosts DIR [--overlays DIR] [--weights FILE ...] --out FILE

Pieces of a two-hundredth to a fiftieth of a query, plain and after changes that leave them upright, are looked up among
all patches of some hundreds of references, without poses, votes or verification. Compared are the shipped network,
other weights of the same, and RootSIFT with as many components.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor

from benchmarks.environment import environment
from benchmarks.features import upright_sift
from benchmarks.pictures import images_in, load
from benchmarks.regions.queries import make_query
from localmatch.api import REFERENCE_BUDGET
from localmatch.audit import QUERY_BUDGET
from localmatch.descriptor.network import DIMENSION, STRIDE
from localmatch.descriptor.weights import load_descriptor
from localmatch.geometry import Affine, project, scale_of
from localmatch.patches import QUERY_CONTRAST, QUERY_SPACING, REFERENCE_SPACING, find_patches, pyramid
from localmatch.records import Level, Patches

AREAS = (0.005, 0.01, 0.02)
FAMILIES = (
    *("plain", "blur", "jpeg", "noise", "tone", "resample", "smooth", "regenerate"),
    *("scale", "opacity", "colour", "text", "occlusion", "combined", "perspective", "rotate_15"),
)
"""What the queries hold."""

REFERENCES = 300
"""References that are searched, at least: those of the pieces, and others."""

LEARNED = 30
"""Images that the components of RootSIFT are learned from."""

NEAREST = 15
"""Neighbours that count, as in an audit."""

NEAR, NEAR_LEVEL, SAME_LEVEL = 3.0, 1.5, 1.01
"""Query pixels, and level pixels besides, by which the place of a patch may be off; and levels."""

ENOUGH = 3
"""Patches that have their own place, from which a piece counts as found."""

MARGIN = 64
"""Level pixels around a piece that descriptors may look at."""

Describe = Callable[[Tensor, Tensor], Tensor]
"""A level (h, w) in [0, 1] and (N, 2) level positions -> (N, D) unit vectors."""

console: Console = Console(stderr=True)


@dataclass(frozen=True)
class Piece:
    """A copied piece of a query.

    Attributes:
        reference: Number of the image that it is from.
        affine: Query -> reference.
        levels: What is around it of each level of the query.
        xy: The patches in it, by level, in pixels of those levels.
        patches: The same in query pixels.
    """

    family: str
    area: float
    reference: int
    affine: Affine
    levels: Sequence[Level]
    xy: Sequence[NDArray[np.float32]]
    patches: Patches


@dataclass(frozen=True)
class Found:
    """How many patches of a piece have a place in its reference; find it among the nearest; find it nearest."""

    family: str
    area: float
    have: int
    near: int
    nearest: int


def main() -> None:
    """Write one JSON file and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=Path, nargs="+", required=True)
    parser.add_argument("--hosts", type=Path, nargs="+", required=True)
    parser.add_argument("--overlays", type=Path, nargs="*", default=[])
    parser.add_argument("--hold-out-every", type=int, default=5, help="hosts: every n-th image, sorted by path")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="of the same network, besides the shipped")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    references, hosts, overlays = map(images_in, (arguments.references, arguments.hosts, arguments.overlays))
    held_out = sorted(hosts)[:: arguments.hold_out_every]
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    plan = list(product(AREAS, FAMILIES, seeds))
    pieces = [make_piece(references, held_out, overlays, *one) for one in track(plan, "planting", console=console)]
    used = {piece.reference for piece in pieces}
    others = (int(one) for one in np.random.default_rng(0).permutation(len(references)))
    searched = list(dict.fromkeys([*sorted(used), *others]))[: max(REFERENCES, len(used))]
    systems = {"localmatch": of_weights(None)} | {str(path): of_weights(path) for path in arguments.weights}
    systems["RootSIFT"] = upright_sift([load(path) for path in sorted(hosts)[:: len(hosts) // LEARNED + 1]])
    result = {}
    for name, describe in systems.items():
        found = look_up(describe, pieces, searched, references)
        result[name] = {**summary(found), "rows": [asdict(one) for one in found]}
        print(f"{name:12} {summary(found)}")
    about = {"environment": environment(), "seeds": list(seeds), "references": len(searched), "areas": AREAS}
    arguments.out.write_text(json.dumps({**about, "systems": result}, indent=1))


def of_weights(path: Path | None) -> Describe:
    """The network with weights from a file, or the shipped ones."""
    network = load_descriptor(path).network
    return lambda gray, xy: network.describe_at(network.activations(network.normalised(gray)), xy)


def make_piece(
    references: Sequence[Path], hosts: Sequence[Path], overlays: Sequence[Path], area: float, family: str, seed: int
) -> Piece:
    """Plant a piece and find its patches."""
    query = make_query(references, hosts, overlays, family, area, seed)
    copy = query.copies[0]
    levels = pyramid(query.image)
    patches = find_patches(levels, QUERY_SPACING, QUERY_BUDGET, QUERY_CONTRAST)
    inside = copy.shows(patches.xy)
    patches = Patches(patches.xy[inside], patches.level[inside], patches.saliency[inside])
    around, places = [], []
    for level in levels:
        xy = _on_level(patches, level)
        if len(xy):
            # Cells of the network's map begin where those of the whole level do.
            first = (xy.min(0) - MARGIN).clip(0).astype(int) // STRIDE * STRIDE
            last = (xy.max(0) + MARGIN).astype(int)
            gray = level.gray[first[1] : last[1], first[0] : last[0]].clone()
            around.append(Level(level.index, level.scale, gray))
            places.append((xy - first).astype(np.float32))
    return Piece(family, area, copy.reference, copy.affine, around, places, patches)


def look_up(
    describe: Describe, pieces: Sequence[Piece], searched: Sequence[int], references: Sequence[Path]
) -> list[Found]:
    """Look all pieces up among the patches of some references, by their numbers."""
    rows, table = [torch.zeros(0, DIMENSION)], []
    for number in track(searched, "describing references", console=console):
        levels = pyramid(load(references[number]))
        patches = find_patches(levels, REFERENCE_SPACING, REFERENCE_BUDGET)
        rows += [describe(one.gray, torch.from_numpy(_on_level(patches, one).astype(np.float32))) for one in levels]
        table.append(patches)
    starts = np.cumsum([0, *map(len, table)])
    every = torch.cat(rows)
    found = []
    for piece in track(pieces, "looking up", console=console):
        own = searched.index(piece.reference)
        described = [describe(one.gray, torch.from_numpy(xy)) for one, xy in zip(piece.levels, piece.xy, strict=True)]
        similarity = torch.cat([torch.zeros(0, DIMENSION), *described]) @ every.T
        here = slice(int(starts[own]), int(starts[own + 1]))
        right = _right(piece, table[own])
        best = np.where(right, similarity[:, here].numpy(), -2).max(1, initial=-2)
        similarity[:, here] = -2
        better = (similarity.topk(NEAREST, 1)[0].numpy() >= best[:, None]).sum(1)
        have = right.any(1)
        counts = have.sum(), (have & (better < NEAREST)).sum(), (have & (better == 0)).sum()
        found.append(Found(piece.family, piece.area, *map(int, counts)))
    return found


def _on_level(patches: Patches, level: Level) -> NDArray[np.float64]:
    """Patches of a level in its pixels."""
    return np.asarray(patches.xy[patches.level == level.index] / level.scale)


def _right(piece: Piece, own: Patches) -> NDArray[np.bool_]:
    """Which patches of the reference are at the place of which of the piece: (N, M)."""
    scale = scale_of(piece.affine)
    off = np.linalg.norm(project(piece.affine, piece.patches.xy)[:, None] - own.xy[None], axis=2) / scale
    level = piece.patches.level[:, None].astype(float)
    near = off < NEAR + NEAR_LEVEL * 2 ** (level / 2)
    return np.asarray(near & (np.abs(own.level[None] - level - 2 * np.log2(scale)) <= SAME_LEVEL))


def summary(found: Sequence[Found]) -> dict[str, float]:
    """Shares of patches, averaged over pieces, and pieces that have enough."""
    return {
        "among the nearest": round(float(np.mean([one.near / max(1, one.have) for one in found])), 4),
        "nearest": round(float(np.mean([one.nearest / max(1, one.have) for one in found])), 4),
        "pieces found": sum(one.near >= ENOUGH for one in found),
        "pieces": len(found),
    }


if __name__ == "__main__":
    main()
