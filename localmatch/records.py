"""What one stage hands to the next: frozen dataclasses, read in the order in which the data flows.

Positions are in image pixels with (0, 0) at the image's top-left corner, so that the centre of the first pixel is
(0.5, 0.5) and a box (x0, y0, x1, y1) has width x1 - x0. Similarities are int32 products of int8 descriptors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Level:
    """One level of an image pyramid.

    Attributes:
        index: The scale is `2 ** (index / 2)` image pixels per level pixel, up to rounding of the level's size.
        scale: (scale_x, scale_y), exact for this level.
        gray: (h, w) float32 in [0, 1].
        corner: (x, y) image position of the corner of its first pixel; other than (0, 0) where it is part of a level.
    """

    index: int
    scale: tuple[float, float]
    gray: Tensor
    corner: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Patches:
    """The patches of one image, finest level first, strongest first within a level.

    Attributes:
        xy: (N, 2) float32 centres in image pixels.
        level: (N,) int8 level index.
        saliency: (N,) float32 Shi-Tomasi response.
    """

    xy: NDArray[np.float32]
    level: NDArray[np.int8]
    saliency: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.level)


@dataclass(frozen=True)
class Encoded:
    """One image as patches and descriptors.

    Attributes:
        size: (width, height) in pixels.
        patches: N patches.
        descriptors: (R, 64) int8, of patches of queries in several poses, in the first as they are and sharpened.
        patch: (R,) int32 whose descriptors they are.
        pose: (R,) int8 in which pose, see `geometry.pose_frame`; sorted. All 0 for references.
        maps: Dense (h, w, 64) int8 descriptor maps by level index; empty for references.
        levels: The pyramid that the maps were computed on; empty for references.
    """

    size: tuple[int, int]
    patches: Patches
    descriptors: NDArray[np.int8]
    patch: NDArray[np.int32]
    pose: NDArray[np.int8]
    maps: dict[int, NDArray[np.int8]]
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class Neighbours:
    """Pairs of a query patch and a reference patch near it, with what each pair is worth.

    Sorted by (reference, pose, query_patch, reference_patch).

    Attributes:
        reference: (M,) int32 number of the reference image.
        pose: (M,) int8 in which the query patch was seen, see `geometry.pose_frame`.
        query_patch: (M,) int32 number of the query patch.
        reference_patch: (M,) int64 number of the place among all places of the index.
        query_xy, reference_xy: (M, 2) float32 image pixels.
        query_level, reference_level: (M,) int8.
        evidence: (M,) int32, positive: similarity over what that query patch finds anyway.
    """

    reference: NDArray[np.int32]
    pose: NDArray[np.int8]
    query_patch: NDArray[np.int32]
    reference_patch: NDArray[np.int64]
    query_xy: NDArray[np.float32]
    reference_xy: NDArray[np.float32]
    query_level: NDArray[np.int8]
    reference_level: NDArray[np.int8]
    evidence: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.reference)


@dataclass(frozen=True)
class Peaks:
    """Bins of (reference, pose, log-scale, shift) that neighbours voted for, strongest first.

    Attributes:
        first, last: (K,) range of the group's neighbours (`Neighbours` is sorted by group).
        bin: (K, 3) int32 (log-scale, shift y, shift x).
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    bin: NDArray[np.int32]


@dataclass(frozen=True)
class Alignment:
    """An affine map query -> reference that neighbours agree on, or that one alone has.

    Attributes:
        reference: Number of the reference image.
        affine: (2, 3) float64 query -> reference.
        evidence: Summed over agreeing neighbours, each query patch and each reference patch once.
        inliers: (I,) positions of the agreeing neighbours in `Neighbours`.
        box: Query box of the agreeing neighbours.
        strongest: (2, 3) float64, the map that the neighbour of most evidence alone would have.
    """

    reference: int
    affine: NDArray[np.float64]
    evidence: int
    inliers: NDArray[np.int64]
    box: Box
    strongest: NDArray[np.float64]

    @property
    def mean_evidence(self) -> float:
        """Evidence of an agreeing neighbour, on average."""
        return self.evidence / len(self.inliers)

    @property
    def turned(self) -> bool:
        """Whether what is upright on the query lies on its side, or upside down, on the reference."""
        return bool(self.affine[1, 1] <= abs(self.affine[0, 1]))

    @property
    def tilted(self) -> bool:
        """Whether it is tilted by more than 15 degrees, or turned."""
        return math.atan2(abs(self.affine[0, 1]), self.affine[1, 1]) > math.radians(15)


@dataclass(frozen=True)
class Candidate:
    """An alignment to verify, with the other references that show the same part of the query.

    Attributes:
        alignment: The strongest alignment of that part.
        sharing: Numbers of all references with a comparable alignment there, its own included.
        look: The score that its pixels have at a look, were all in register; 0 where they are not the same.
        odds: Mean log-odds of the pair network there, as far as there is enough texture to tell.
    """

    alignment: Alignment
    sharing: frozenset[int]
    look: float = 0.0
    odds: float = 0.0


@dataclass(frozen=True)
class Structure:
    """What there is to compare at each of a query's own pixels, (H, W) float32 in [0, 1).

    Attributes:
        support: Local contrast.
        distinct: The part of it that is no straight edge or smooth outline.
        texture: The part of that which lies among much that is distinct.
        contrast: (L, H, W), local contrast on the L levels on which pixels are correlated.
        coarse: The query as it looks from afar, in gray.
    """

    support: NDArray[np.float32]
    distinct: NDArray[np.float32]
    texture: NDArray[np.float32]
    contrast: NDArray[np.float32]
    coarse: NDArray[np.float32]


@dataclass(frozen=True)
class Mapping:
    """Where positions of a query lie on a reference.

    Attributes:
        affine: (2, 3) float64 query -> reference.
        flow: (h, w, 2) float32, by how many query pixels the pixels of a box of the query move before that; or None.
        corner: (x, y) query pixel in the corner of that box; beyond it, its outermost pixels count.
        projective: Whether affine map and flow together are a homography.
    """

    affine: NDArray[np.float64]
    flow: NDArray[np.float32] | None = None
    corner: tuple[int, int] = (0, 0)
    projective: bool = False

    @property
    def bent(self) -> bool:
        """Whether the flow is free, which brings into register what is not the same, too."""
        return self.flow is not None and not self.projective


@dataclass(frozen=True)
class Verified:
    """What the dense comparison says of an alignment, on the query's own pixels.

    Attributes:
        mapping: Query -> reference, refined.
        evidence: (H, W) float32 in [0, 1], calibrated, that a pixel shows what the aligned reference shows.
        registered: (L, H, W) float32 in [0, 1], whether it is in exact register, judged on L levels; where the
            mapping is bent, whether it is the same, judged on one.
        wide: (H, W) float32 in [0, 1], whether it is in exact register by an affine map, judged in wide windows; 0
            where the mapping is another.
        correlation: (L, H, W) float32 in [-1, 1], correlation with the aligned reference, on L levels.
        coarse: (H, W) float32 in [0, 1], the aligned reference as it looks from afar, in gray; None if it is not looked
            at or cannot be read any more.
        odds: (H, W) float32, log-odds that a pixel is of a copy and not of a second photograph, as the pair network
            sees it; None if it cannot be read any more.
    """

    mapping: Mapping
    evidence: NDArray[np.float32]
    registered: NDArray[np.float32]
    wide: NDArray[np.float32]
    correlation: NDArray[np.float32]
    coarse: NDArray[np.float32] | None = None
    odds: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Region:
    """A copied region: a connected part of the heatmap with its reference.

    Attributes:
        reference: The reference's path as indexed.
        reference_id: Its number in the index.
        query_box, reference_box: (x0, y0, x1, y1) in pixels of the original files.
        affine: (2, 3) float64 query -> reference; of a copy that was bent, the nearest affine map.
        mirrored: Whether the copy is mirrored.
        mask: (H, W) bool on the query.
        score: Evidence of the region; compare it only within one index.
        p_value: Share of clean images with a score this high, conformal; None until the index is calibrated.
        area_fraction: Share of the query's pixels.
        references_sharing: How many references show this region, this one included.
        kind: "pixel" where aligned pixels correlate, brightness and contrast apart; "structure" where the same was
            rendered anew.
    """

    reference: str
    reference_id: int
    query_box: Box
    reference_box: Box
    affine: NDArray[np.float64]
    mirrored: bool
    mask: NDArray[np.bool_]
    score: float
    p_value: float | None
    area_fraction: float
    references_sharing: int
    kind: str
