"""The systems that are compared, each as a function from an image to the regions that it finds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

import localmatch as lm
from benchmarks.features import aliked, orb, patch_network, root_sift, upright_sift
from benchmarks.local_features import Describe, FeatureIndex
from benchmarks.pictures import Pixels, load
from benchmarks.regions.queries import REFERENCE_SIDE
from localmatch.api import REFERENCE_BUDGET
from localmatch.audit import Searcher, find_regions
from localmatch.descriptor.quantised import QuantisedNet
from localmatch.records import Box

BUDGETS = 400, 800, 2600
"""Patches a reference of the indexes that are compared with the default."""

LEARNED = 100
"""References from which the principal components of SIFT's descriptors are learned."""


@dataclass(frozen=True)
class Found:
    """A region that a system found.

    Attributes:
        reference: Number of the reference.
        query_box, reference_box: (x0, y0, x1, y1) in pixels of the files.
        score: Higher is surer; compared only within the system.
        mask: (H, W) bool on the query, for systems that draw one.
    """

    reference: int
    query_box: Box
    reference_box: Box
    score: float
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Setup:
    """What systems are built from.

    Attributes:
        references: Images to be found.
        background: Clean images, for systems that calibrate.
        work: Folder in which indexes are kept.
        weights: Folder with the weights of other people's networks.
    """

    references: Sequence[Path]
    background: Sequence[Path]
    work: Path
    weights: Path


Search = Callable[[Pixels], list[Found]]
System = tuple[Search, dict[str, Any]]
"""How to search, and what building it cost."""


def localmatch_system(
    setup: Setup,
    change: Callable[[Searcher], Searcher] = lambda searcher: searcher,
    patched: Callable[[], AbstractContextManager[Any]] = nullcontext,
    name: str = "localmatch",
    budget: int = REFERENCE_BUDGET,
) -> System:
    """Localmatch with an index in the work folder; one that is there is used as it is.

    Args:
        setup: What to build from.
        change: Leaves a part out.
        patched: Replaces a part while a query is searched.
        name: Of the index in the work folder.
        budget: Patches a reference.
    """
    folder = setup.work / f"{name}.lmx"
    start, cost = time.perf_counter(), {}
    if (folder / "manifest.json").exists():
        index = lm.Index.open(folder)
    else:
        index = lm.Index.build(setup.references, folder, budget=budget)
        cost["build_s"] = time.perf_counter() - start
    if index.background is None:
        index.calibrate(setup.background)
    cost["bytes_per_image"] = index.info()["bytes_per_image"]
    numbers = {str(path): number for number, path in enumerate(setup.references)}
    searcher = change(index._searcher())

    def search(image: Pixels) -> list[Found]:
        with patched():
            _, regions = find_regions(searcher, image)
        return [Found(numbers[r.reference], r.query_box, r.reference_box, r.score, r.mask) for r in regions]

    return search, cost


def without_background(setup: Setup) -> System:
    """Localmatch whose evidence knows what is common among references only."""
    return localmatch_system(setup, lambda searcher: replace(searcher, background=[]))


def without_verification(setup: Setup) -> System:
    """Localmatch that believes the agreeing patches, as where references cannot be read any more."""
    return localmatch_system(setup, lambda searcher: replace(searcher, read_levels=lambda _: None))


def raw_similarity(setup: Setup) -> System:
    """Localmatch with the similarity of neighbours as their evidence, whatever is common."""
    nothing_common = partial(
        mock.patch.multiple,
        "localmatch.matching",
        _common=lambda best: np.zeros(best.shape[1], np.int32),
        evidence_of=lambda similarity, _common: similarity,
    )
    return localmatch_system(setup, patched=nothing_common)


def sift_descriptor(setup: Setup) -> System:
    """Localmatch whose patches are described by RootSIFT, for the search; verification is as it is.

    An index of its own is made, as other descriptors find other neighbours.
    """
    describe = upright_sift([load(path) for path in setup.references[:: len(setup.references) // LEARNED + 1]])
    whole = QuantisedNet.normalised, QuantisedNet.activations, QuantisedNet.dense_map

    def dense_map(network: QuantisedNet, gray: Tensor) -> Tensor:
        for step in whole:
            gray = step(network, gray)
        return gray

    replaced = partial(
        mock.patch.multiple,
        QuantisedNet,
        normalised=lambda _, gray: gray,
        activations=lambda _, gray: gray,
        describe_at=lambda _, gray, xy: describe(gray, xy),
        dense_map=dense_map,
    )
    with replaced():
        return localmatch_system(setup, patched=replaced, name="sift")


def feature_system(describe: Callable[[Path], Describe]) -> Callable[[Setup], System]:
    """Local features, FLANN and RANSAC, plain and mirrored; the score is the number of inliers.

    Args:
        describe: Makes the features, from the folder with weights.
    """

    def system(setup: Setup) -> System:
        start = time.perf_counter()
        index = FeatureIndex(setup.references, describe(setup.weights), REFERENCE_SIDE)

        def search(image: Pixels) -> list[Found]:
            return [Found(m.reference, m.box, m.reference_box, float(m.inliers)) for m in index.search(image)]

        return search, {"build_s": time.perf_counter() - start}

    return system


def hash_system(name: str) -> Callable[[Setup], System]:
    """Perceptual hashes of whole images or of their segments; they give no place, so both boxes are whole images."""

    def system(setup: Setup) -> System:
        from benchmarks.hashes import HASHES

        start = time.perf_counter()
        index = HASHES[name](setup.references)

        def search(image: Pixels) -> list[Found]:
            whole = 0.0, 0.0, float(image.shape[1]), float(image.shape[0])
            number, score = index.nearest(image)
            return [Found(number, whole, index.boxes[number], score)]

        return search, {"build_s": time.perf_counter() - start}

    return system


def perception_system(setup: Setup) -> System:
    """Local descriptors of Thorn's `perception`; the score is the number of inliers."""
    from benchmarks.deduplication import Duplicates

    start = time.perf_counter()
    index = Duplicates(setup.references)

    def search(image: Pixels) -> list[Found]:
        return [Found(number, here, there, float(inliers)) for number, inliers, here, there in index.search(image)]

    return search, {"build_s": time.perf_counter() - start}


SYSTEMS: dict[str, Callable[[Setup], System]] = {
    "localmatch": localmatch_system,
    "sift": feature_system(lambda _: root_sift()),
    "orb": feature_system(lambda _: orb()),
    "tfeat": feature_system(lambda weights: patch_network(weights / "tfeat-liberty.params")),
    "hardtfeat": feature_system(lambda weights: patch_network(weights / "hardtfeat_as_kornia_tfeat.pt")),
    "aliked": feature_system(lambda weights: aliked(weights / "aliked-t16.pth")),
    "pdq": hash_system("pdq"),
    "imagehash": hash_system("imagehash"),
    "perception": perception_system,
    "localmatch without background": without_background,
    "localmatch without verification": without_verification,
    "localmatch with raw similarity": raw_similarity,
    "localmatch with SIFT's descriptor": sift_descriptor,
    **{
        f"localmatch, {budget} patches": partial(localmatch_system, name=f"{budget} patches", budget=budget)
        for budget in BUDGETS
    },
}
DEFAULT: tuple[str, ...] = ("localmatch", "sift", "orb")
"""What runs without weights or packages of others."""
