"""The pipeline on one page: an image in, heatmap and regions out. The one module that knows all the stages.

image -> pyramid/patches -> descriptors -> neighbours -> votes -> alignments -> verification -> heatmap -> regions
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from localmatch import verification
from localmatch.alignments import AFFINE_INLIERS, choose_candidates, find_alignments
from localmatch.bands import look_from_afar
from localmatch.descriptor.encode import encode_query
from localmatch.descriptor.quantised import QuantisedNet
from localmatch.heatmap import smooth_evidence
from localmatch.index.lists import Lists
from localmatch.index.shard import Shard
from localmatch.matching import match_shortlist, shortlist
from localmatch.neighbours import InBackground, search
from localmatch.pixels import look_at_pixels
from localmatch.records import Candidate, Encoded, Level, Neighbours, Region, Structure, Verified
from localmatch.regions import Part, boxes, find_parts, keep_strongest
from localmatch.views import view_of
from localmatch.votes import find_peaks, in_turn

QUERY_BUDGET = 6000
"""Patches a query. With 8,000 no more pieces of a hundredth or a fiftieth of the image were found, with 5,000 fewer."""

SHORTLISTING, PEAKS, LOOKED, SCREENED, EACH = (2048, 2048), (200, 150), (60, 36), 24, 2
"""Peaks that choose the shortlist; peaks fitted; alignments whose pixels are looked at, of each as many as are upright
and as are not; those whose descriptors are looked at; of those for each part of the query."""

EXACT, LIKELY, VERIFIED, AFAR = 4, 4, 8, 3
"""Alignments verified in full, of those whose pixels are the same, that the pair network takes for copies, whose
descriptors are alike, and that look the same from afar."""

LIKELY_PASS = 1.0
"""Odds at a look over which the pair network takes an alignment for a copy. Of eleven small pieces of development that
were lost though they had the right alignment, it is the likeliest of 96 in six, five of which have 2.9 to 4.9."""

SCREEN_PASS = 0.35
"""Alignments whose first look shows less similarity are dropped."""

AFAR_PASS = 0.98
"""The same for band correlation, from afar: of ruined copies whose descriptors are not alike any more, it is higher."""

PIXEL_CORRELATION = 0.92
"""Correlation in the core of a region from which it is a copy of pixels and not only of structure."""

ReadLevels = Callable[[int], list[Level] | None]
"""Gives the pyramid of a reference by its number; None where the image cannot be read any more."""


@dataclass(frozen=True)
class Searcher:
    """An opened index, as the pipeline sees it.

    Attributes:
        network: The descriptor network of the index.
        shards: Opened shards; reference numbers count on from shard to shard.
        background: Lists of clean images' patches; empty before calibration.
        read_levels: Reads references again.
    """

    network: QuantisedNet
    shards: Sequence[Shard]
    background: Sequence[Lists]
    read_levels: ReadLevels

    def reference(self, number: int) -> dict[str, str | int]:
        """Name and size of a reference by its number."""
        for shard in self.shards:
            if number < shard.part.images:
                return shard.images[number]
            number -= shard.part.images
        raise IndexError(f"no reference {number}")


def find_regions(searcher: Searcher, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], list[Region]]:
    """Find the copied regions of an image.

    Args:
        searcher: The index.
        image: (H, W, 3) uint8 RGB.

    Returns:
        heatmap: (H, W) float32 in [0, 1], the strongest evidence over all references.
        regions: Strongest first, without p-values.
    """
    heatmap = np.zeros(image.shape[:2], np.float32)
    encoded = encode_query(searcher.network, image, QUERY_BUDGET)
    if not len(encoded.patches):
        return heatmap, []
    background = InBackground(encoded, searcher.background)
    first = search(encoded, searcher.shards, background)
    references = shortlist(first, find_peaks(first, *SHORTLISTING))
    neighbours = match_shortlist(encoded, searcher.shards, background, references)
    alignments = find_alignments(neighbours, find_peaks(neighbours, *PEAKS))
    structure = verification.query_structure(encoded)
    candidates = _screened(searcher, encoded, structure, choose_candidates(alignments, *LOOKED, EACH))
    parts: list[Part] = []
    for owner, candidate in enumerate(candidates):
        for verified in _verify(searcher, encoded, structure, neighbours, candidate):
            smooth = smooth_evidence(verified.evidence, structure.support)
            heatmap = np.maximum(heatmap, smooth)
            parts += find_parts(owner, candidate, smooth, structure, verified)
    regions = [
        _region(searcher, part, candidates[part.owner], [candidates[owner] for owner in also])
        for part, also in keep_strongest(parts)
    ]
    return heatmap, regions


def _region(searcher: Searcher, part: Part, candidate: Candidate, also: Sequence[Candidate]) -> Region:
    """A part of a heatmap as a user sees it; `also` are the alignments that show the same."""
    reference = searcher.reference(candidate.alignment.reference)
    query_box, reference_box = boxes(part.mask, part.affine, (int(reference["width"]), int(reference["height"])))
    return Region(
        reference=str(reference["name"]),
        reference_id=candidate.alignment.reference,
        query_box=query_box,
        reference_box=reference_box,
        affine=part.affine,
        mirrored=bool(np.linalg.det(part.affine[:, :2]) < 0),
        mask=part.mask,
        score=part.score,
        p_value=None,
        area_fraction=float(part.mask.mean()),
        references_sharing=len(candidate.sharing.union(one.alignment.reference for one in also)),
        kind="pixel" if part.correlation >= PIXEL_CORRELATION else "structure",
    )


def _screened(searcher: Searcher, encoded: Encoded, query: Structure, candidates: list[Candidate]) -> list[Candidate]:
    """The candidates to verify: whose pixels are the same at a first look, or that look alike near by or from afar."""
    affine = [one for one in candidates if len(one.alignment.inliers) >= AFFINE_INLIERS]
    # First the few, so that their references are still in memory when the pixels of all are looked at.
    alike = _alike(searcher, encoded, affine[:SCREENED])
    looked = _looked(searcher, encoded, query, candidates)
    exact = sorted((one for one in looked if one.look > 0), key=lambda one: -one.look)[:EXACT]
    likely = sorted((one for one in looked if one.odds > LIKELY_PASS), key=lambda one: -one.odds)[:LIKELY]
    chosen = exact + likely + alike + _the_same_from_afar(searcher, encoded, affine)
    # Of one that is chosen for several reasons the first counts, whose map was refined where its pixels are the same.
    first: dict[bytes, Candidate] = {}
    for one in chosen:
        first.setdefault(one.alignment.inliers.tobytes(), one)
    return list(first.values())


def _looked(searcher: Searcher, encoded: Encoded, query: Structure, candidates: list[Candidate]) -> list[Candidate]:
    """The candidates with what their pixels say at a look, but those whose reference is gone."""
    looked = []
    for candidate in candidates:
        if levels := searcher.read_levels(candidate.alignment.reference):
            looked.append(look_at_pixels(encoded, query, levels, candidate))
    return looked


def _alike(searcher: Searcher, encoded: Encoded, candidates: list[Candidate]) -> list[Candidate]:
    """The candidates that pass a first look, best first; those whose reference is gone have only their votes.

    They are taken in turn from two orders: photographs have few neighbours of much evidence, drawings many of little.
    """
    passed, by_rarity, by_count = [], [], []
    for candidate in candidates:
        alignment = candidate.alignment
        levels = searcher.read_levels(alignment.reference)
        look = verification.screen(searcher.network, encoded, levels, alignment) if levels else SCREEN_PASS
        if look >= SCREEN_PASS:
            passed.append(candidate)
            by_rarity.append(look**2 * alignment.mean_evidence)
            by_count.append(look**3 * len(alignment.inliers) ** 0.5)
    orders = [np.argsort(-np.array(ranks), kind="stable").tolist() for ranks in (by_rarity, by_count)]
    return [passed[number] for number in in_turn(orders)[:VERIFIED]]


def _the_same_from_afar(searcher: Searcher, encoded: Encoded, candidates: list[Candidate]) -> list[Candidate]:
    """The candidates that look the same from afar, where the patches agree, most so first."""
    looks = np.zeros(len(candidates))
    for number, candidate in enumerate(candidates):
        alignment = candidate.alignment
        if levels := searcher.read_levels(alignment.reference):
            looks[number] = look_from_afar(view_of(encoded, alignment.box), levels, alignment.affine)
    best = np.argsort(-looks, kind="stable")[:AFAR]
    return [candidates[number] for number in best if looks[number] >= AFAR_PASS]


def _verify(
    searcher: Searcher, encoded: Encoded, query: Structure, neighbours: Neighbours, candidate: Candidate
) -> list[Verified]:
    """The dense comparison or, where the reference cannot be read, what its stored patches say."""
    levels = searcher.read_levels(candidate.alignment.reference)
    if not levels:
        return [verification.stored_patches(encoded, candidate.alignment, neighbours)]
    return verification.verify(searcher.network, encoded, query, levels, candidate)
