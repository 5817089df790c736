"""Windows to train the pair network on: copies with the regions benchmark's changes, and second photographs.

    python -m benchmarks.pair_windows copies DIR [DIR ...] --overlays DIR --out copies.npy
    python -m benchmarks.pair_windows seconds DIR [DIR ...] --index others.lmx --out seconds.npy
    python -m benchmarks.pair_windows train copies.npy seconds.npy --out pairs.safetensors

Second photographs are what the detector aligns of images that are known to be in no index, also after changes of tone
and detail, so that noise and blur are not taken for copying. Give it images that no benchmark uses.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

import localmatch as lm
from benchmarks.pictures import Pixels, images_in, jpeg, limited, load
from benchmarks.regions.changes import PHOTOMETRIC, Random
from benchmarks.regions.queries import EVALUATION, FAMILIES, HOST_SIDE, Copy, make_query
from localmatch import audit, verification
from localmatch.descriptor.encode import encode_query
from localmatch.descriptor.weights import load_descriptor
from localmatch.geometry import Affine, compose, project
from localmatch.pairs.train import COPY, HOST, SECOND, UNSURE, Recipe, train
from localmatch.patches import pyramid
from localmatch.records import Alignment, Candidate, Level, Mapping, Structure, Verified
from localmatch.regions import THRESHOLD, Part, find_parts
from localmatch.warping import affine_within, warp

SIDE = 256
"""Of a window, in pixels."""

OFTEN = {"plain": 2, "perspective": 4, "local_warp": 4, "combined": 9}
SHARES = dict.fromkeys((one for one in FAMILIES if one != "several"), 1) | OFTEN
AREAS = {0.01: 4, 0.02: 4, 0.05: 4, 0.1: 3, 0.25: 2, 0.5: 2, 1.0: 1}
ERRORS = {0.1: 10, 0.3: 7, 0.8: 3}
"""Families of changes; shares of the query that a copy covers; and standard deviations, in pixels, of the error of an
alignment: by how often."""

EDGE = 7
"""Pixels across the outline of a copy of which nothing is asked."""

MAPS, CHANGED_MAPS, CHANGES, LEAST = 6, 3, 2, 100
"""Alignments of a clean image, affine and bent each, that are taken as they are, and of the image changed in so many
ways; and the pixels that look alike of those that are taken at all."""

ASTRAY = 0.1
"""A bent map that is off by a larger share of a copy's size shows something else."""

COPIED = 3.0
"""References with which a clean image aligns at such scores are left out: some marks contain others."""

console: Console = Console(stderr=True)


def copies(references: Sequence[Path], hosts: Sequence[Path], overlays: Sequence[Path], count: int) -> Iterator[Pixels]:
    """Windows (3, S, S) of copies, for `localmatch.pairs.train`: a little beside the true affine map, and bent
    from there where the detector does so.
    """
    # Queries take their regions from every second reference: all serve here.
    doubled = [path for path in references for _ in range(2)]
    network = load_descriptor().network
    for number in track(range(count), "copies", console=console):
        rng = np.random.default_rng([number, 5])
        query = make_query(doubled, hosts, overlays, _drawn(rng, SHARES), _drawn(rng, AREAS), number % EVALUATION)
        (copy,) = query.copies
        levels = pyramid(load(doubled[copy.reference]))
        encoded = encode_query(network, query.image, audit.QUERY_BUDGET)
        if levels and encoded.levels:
            affine = compose(copy.affine, _error(rng, copy.mask, _drawn(rng, ERRORS)))
            alignment = Alignment(copy.reference, affine, 0, np.empty(0, np.int64), copy.query_box, affine)
            found = Candidate(alignment, frozenset())
            with _everything_compared():
                verified = verification.verify(network, encoded, verification.query_structure(encoded), levels, found)
            bent = [one.mapping for one in verified if one.mapping.flow is not None]
            for mapping in (Mapping(affine), *(one for one in bent if _stays(one, copy))):
                yield _window(rng, encoded.levels, levels, mapping, copy.mask, _shown(copy.mask))


def _stays(mapping: Mapping, copy: Copy) -> bool:
    """Whether a bent map shows what was copied; some run away."""
    corners = np.array(list(product(copy.query_box[::2], copy.query_box[1::2])))
    here, there = project(affine_within(copy.mask, mapping), corners), project(copy.affine, corners)
    return bool(np.abs(here - there).max() < ASTRAY * np.ptp(there, axis=0).max())


def _shown(mask: NDArray[np.bool_]) -> Pixels:
    """What the pixels of a query show of which a copy covers the mask."""
    drawn, kernel = mask.astype(np.uint8), np.ones((EDGE, EDGE), np.uint8)
    inner, outer = cv2.erode(drawn, kernel, borderValue=1), cv2.dilate(drawn, kernel)
    return np.where(inner, COPY, np.where(outer, UNSURE, HOST)).astype(np.uint8)


def seconds(index: lm.Index, clean: Sequence[Path]) -> Iterator[Pixels]:
    """Windows (3, S, S) of second photographs, for `localmatch.pairs.train`.

    Args:
        index: Of other photographs of the same things.
        clean: Images of which no part is in the index.
    """
    searcher = index._searcher()
    for number, path in enumerate(track(clean, "second photographs", console=console)):
        rng = np.random.default_rng([number, 3])
        image, _ = limited(load(path), HOST_SIDE)
        own, aligned = pyramid(image), _aligned(searcher, image)
        for bent in (False, True):
            some = [one for one in aligned if (one[1].flow is not None) == bent]
            plain, changed = some[:MAPS], some[:CHANGED_MAPS] * CHANGES
            for place, (reference, mapping, alike) in enumerate(plain + changed):
                seen = own if place < len(plain) else pyramid(_changed(rng, image, clean))
                shown = np.where(alike, SECOND, HOST).astype(np.uint8)
                if levels := searcher.read_levels(reference):
                    yield _window(rng, seen, levels, mapping, alike, shown)


def _aligned(searcher: audit.Searcher, image: Pixels) -> list[tuple[int, Mapping, NDArray[np.bool_]]]:
    """References, maps, and what looks alike, of the alignments that the detector verifies; largest first."""
    found: list[tuple[int, Mapping, NDArray[np.bool_]]] = []
    copied: set[int] = set()

    def remembered(
        owner: int, candidate: Candidate, heat: NDArray[np.float32], query: Structure, verified: Verified
    ) -> list[Part]:
        parts, reference = find_parts(owner, candidate, heat, query, verified), candidate.alignment.reference
        if any(part.score > COPIED for part in parts):
            copied.add(reference)
        alike = heat > THRESHOLD
        if alike.sum() > LEAST:
            found.append((reference, verified.mapping, alike))
        return parts

    with mock.patch.object(audit, "find_parts", remembered), _everything_compared():
        audit.find_regions(searcher, image)
    return sorted((one for one in found if one[0] not in copied), key=lambda one: -int(one[2].sum()))


def _everything_compared() -> AbstractContextManager[Any]:
    """While this context lasts, alignments are dropped only where the shipped pair network is sure of the opposite."""
    return mock.patch.object(verification, "LIKELY", -np.inf)


def _changed(rng: Random, image: Pixels, others: Sequence[Path]) -> Pixels:
    """An image after one or two changes of tone or detail; the colours of another may be given to it."""
    host, _ = limited(load(others[int(rng.integers(len(others)))]), HOST_SIDE)
    for name in rng.choice([*PHOTOMETRIC, "jpeg"], int(rng.integers(1, 3))):
        image = jpeg(image, int(rng.integers(20, 96))) if name == "jpeg" else PHOTOMETRIC[str(name)](rng, image, host)
    return image


def _error(rng: Random, mask: NDArray[np.bool_], deviation: float) -> Affine:
    """An affine map near the identity, whose error over a mask is about the deviation in pixels."""
    rows, columns = np.nonzero(mask)
    centre, radius = np.array([columns.mean(), rows.mean()]), max(np.sqrt(len(rows)) / 2, 20)
    linear = np.eye(2) + rng.normal(0, deviation / radius / 1.5, (2, 2))
    return np.column_stack([linear, centre - linear @ centre + rng.normal(0, deviation, 2)])


def _window(
    rng: Random,
    query: Sequence[Level],
    reference: list[Level],
    mapping: Mapping,
    about: NDArray[np.bool_],
    shown: Pixels,
) -> Pixels:
    """A window about a place of a mask, (3, S, S): query and aligned reference in gray, and what pixels show."""
    level = next(one for one in query if one.index >= 0)
    warped, _ = warp(reference, level, mapping)
    place = np.argwhere(about)[int(rng.integers(about.sum()))] + rng.normal(0, SIDE / 7, 2)
    top, left = (place - SIDE / 2).clip(0, np.maximum(np.array(about.shape) - SIDE, 0)).astype(int)
    grays = ((one * 255).round().clip(0, 255).astype(np.uint8) for one in (level.gray.numpy(), warped))
    window = np.stack([*grays, shown])[:, top : top + SIDE, left : left + SIDE]
    room = [(0, 0), *((0, SIDE - side) for side in window.shape[1:])]
    images, shows = np.pad(window[:2], room, "edge"), np.pad(window[2:], room, constant_values=UNSURE)
    return np.concatenate([images, shows])


def _drawn(rng: Random, often: dict[Any, int]) -> Any:
    keys = list(often)
    return keys[int(rng.choice(len(keys), p=np.array(list(often.values())) / sum(often.values())))]


def main() -> None:
    """Make windows, or train on them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("copies", "seconds", "train"))
    parser.add_argument("inputs", type=Path, nargs="+", help="images, which serve as references and hosts; or windows")
    parser.add_argument("--overlays", type=Path, nargs="*", default=[], help="images with alpha, as object shapes")
    parser.add_argument("--count", type=int, default=1600, help="copies")
    parser.add_argument("--index", type=Path, help="of other photographs of the same things")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.what == "train":
        made_of_copies, made_of_seconds = (np.load(path) for path in arguments.inputs)
        recipe = Recipe(steps=arguments.steps)
        train(made_of_copies, made_of_seconds, arguments.out, recipe, lambda *told: console.print(*told))
        return
    images = images_in(arguments.inputs)
    if arguments.what == "copies":
        made = copies(images, images, images_in(arguments.overlays), arguments.count)
    else:
        made = seconds(lm.Index.open(arguments.index), images)
    windows = list(made)
    if not windows:
        parser.error("nothing was aligned: give photographs of things that others in the index show, too")
    np.save(arguments.out, np.stack(windows))


if __name__ == "__main__":
    main()
