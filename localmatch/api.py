"""`Index`: a training set on disk, built, kept, calibrated and audited against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from localmatch.audit import Searcher, find_regions
from localmatch.calibration import Background, check_alpha, learn_background, p_value
from localmatch.descriptor.weights import load_descriptor
from localmatch.errors import ImageError, IncompatibleIndexError, IndexError_
from localmatch.images import Skipped, Source, expand, read
from localmatch.index.build import SHARD_IMAGES, Progress, add_images, encoder
from localmatch.index.shard import MAX_IMAGES, Shard
from localmatch.index.store import Manifest, read_manifest, write_manifest, writing
from localmatch.index.upkeep import compactions, without
from localmatch.patches import pyramid
from localmatch.records import Level
from localmatch.result import Audit, ImageLike, PathLike, pixels_of

REFERENCE_BUDGET = 1650
"""Patches a reference: about 105 KB of index, where images have so many."""

CACHED_REFERENCES = 48
"""Pyramids of references kept in memory, about 5 MB each: those that one query looks at."""

DEFAULT_ALPHA = 0.01
"""False-alarm rate at which images are flagged."""


class Index:
    """A searchable training set on disk. Open one with `Index.open`, make one with `Index.build`.

    Attributes:
        folder: Where it is.
        weights: Descriptor weights that it was opened with; None for the shipped ones.
        skipped: What the last `add`, `build` or `calibrate` passed over, and why.
    """

    def __init__(self, folder: Path, weights: Path | None) -> None:
        """Use `Index.open` or `Index.build`."""
        self.folder = folder
        self.weights = weights
        self._descriptor = load_descriptor(weights)
        self.skipped: list[Skipped] = []
        self._load(read_manifest(folder))

    @classmethod
    def open(cls, path: PathLike, weights: PathLike | None = None) -> Index:
        """Open an index: digests are compared and graphs checked before anything is loaded.

        Args:
            path: The index folder.
            weights: Descriptor weights, where the index was built with other than the shipped ones.

        Raises:
            IndexError_: There is no index, or it is corrupt, or from other weights or another format version.
        """
        return cls(Path(path), None if weights is None else Path(weights))

    @classmethod
    def build(
        cls,
        inputs: Sequence[PathLike],
        path: PathLike,
        *,
        budget: int = REFERENCE_BUDGET,
        shard_images: int = SHARD_IMAGES,
        weights: PathLike | None = None,
        progress: Progress | None = None,
        workers: int = 1,
    ) -> Index:
        """Build an index, or go on with one whose build was killed.

        Args:
            inputs: Images, folders, `*.txt` lists, `.tar` and `.parquet` files.
            path: The folder to make.
            budget: Patches an image; more find smaller regions and take more space.
            shard_images: Images a shard; bounds memory.
            weights: Descriptor weights other than the shipped ones.
            progress: Called with the name of each image that was handled.
            workers: Processes that encode the images, see `workers.in_order`. The index is the same.

        Raises:
            IndexError_: `path` is a finished index or another folder that is not empty.
            ValueError: No shard has so many images.
        """
        folder = Path(path)
        descriptor = load_descriptor(None if weights is None else Path(weights))
        if (folder / "manifest.json").exists():
            if read_manifest(folder).complete:
                raise IndexError_(f"{folder} is a finished index: use `localmatch index add`, or choose another name.")
        elif folder.exists() and any(folder.iterdir()):
            raise IndexError_(f"{folder} is not empty and not an index: choose another name.")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_manifest(folder, Manifest(descriptor.digest, budget))
        index = cls.open(folder, weights)
        index._add(inputs, shard_images, progress, workers, complete=True)
        return index

    def add(
        self,
        inputs: Sequence[PathLike],
        *,
        shard_images: int = SHARD_IMAGES,
        progress: Progress | None = None,
        workers: int = 1,
    ) -> None:
        """Add images; those already in the index are passed over. `skipped` tells what was passed over and why.

        Arguments as for `build`.
        """
        self._add(inputs, shard_images, progress, workers, complete=self.manifest.complete)

    def remove(self, paths: Sequence[PathLike]) -> list[str]:
        """Remove images by their paths; a folder removes all below it. Searches forget them at once.

        Their descriptors stay on disk until `compact`.

        Returns:
            The names that were removed.
        """
        with writing(self.folder):
            manifest, names = without(read_manifest(self.folder), self._shards, paths)
            write_manifest(self.folder, manifest)
        self._load(manifest)
        return names

    def compact(self) -> None:
        """Rewrite shards without the descriptors of removed images."""
        with writing(self.folder):
            for manifest in compactions(self.folder, read_manifest(self.folder), self._shards):
                write_manifest(self.folder, manifest)
        self._load(read_manifest(self.folder))

    def calibrate(self, inputs: Sequence[PathLike], progress: Progress | None = None, workers: int = 1) -> None:
        """Learn from clean images, known not to be in the training set, what is common and how clean images score.

        Args:
            inputs: As for `build`; images that are in the index are passed over. At least 99 for alpha 0.01.
            progress: Called twice with the name of each image.
            workers: Processes that encode and score the images, see `workers.in_order`. The scores are the same.

        Raises:
            CalibrationError: Fewer than two usable images.
        """
        with writing(self.folder):
            manifest = read_manifest(self.folder)
            encode = encoder(self._descriptor.network, self.weights, manifest.budget, workers)
            reopen = partial(_opened, self.folder, self.weights)
            part, skipped = learn_background(
                self.folder, self._searcher(), inputs, set(self.names()), encode, progress, reopen, workers
            )
            names = tuple(shard.name for shard in manifest.shards)
            manifest = replace(manifest, background=part, background_shards=names)
            write_manifest(self.folder, manifest)
        self._load(manifest)
        self.skipped = skipped

    def audit(self, image: ImageLike, alpha: float = DEFAULT_ALPHA) -> Audit:
        """Find the copied regions of one image.

        Args:
            image: A path, a PIL image, a (H, W, 3) uint8 array, or a (3, H, W) tensor (uint8, or float in [0, 1]).
            alpha: False-alarm rate at which the image is flagged.

        Raises:
            ImageError: The image cannot be read, or has another shape or type.
            CalibrationError: The index is calibrated, but with too few clean images for this alpha.
        """
        self.check_alpha(alpha)
        query, pixels = pixels_of(image)
        heatmap, regions = find_regions(self._searcher(), pixels)
        score = regions[0].score if regions else 0.0
        p, flagged = None, None
        if self.background is not None:
            p_of = partial(p_value, clean_scores=self.background.scores)
            regions = [replace(region, p_value=p_of(region.score)) for region in regions]
            p = p_of(score)
            flagged = p <= alpha
        return Audit(query, pixels, heatmap, tuple(regions), score, p, flagged, alpha)

    def check_alpha(self, alpha: float) -> None:
        """Refuse a false-alarm rate that this index cannot show; without calibration, there is none.

        Raises:
            CalibrationError: The index is calibrated, but with too few clean images for this alpha.
        """
        if self.background is not None:
            check_alpha(alpha, len(self.background.scores))

    def names(self) -> list[str]:
        """Paths of all references, in the order of their numbers; removed ones are left out."""
        return [
            str(image["name"])
            for shard in self._shards
            for image, alive in zip(shard.images, shard.alive, strict=True)
            if alive
        ]

    def info(self) -> dict[str, Any]:
        """Counts, settings and digests of the index."""
        shards, background = self.manifest.shards, self.manifest.background
        size = sum(size for part in shards for size, _ in part.files.values())
        images = sum(part.images for part in shards)
        return {
            "path": str(self.folder),
            "images": images - sum(len(part.removed) for part in shards),
            "removed": sum(len(part.removed) for part in shards),
            "patches": sum(part.places for part in shards),
            "descriptors": sum(sum(part.descriptors) for part in shards),
            "shards": len(shards),
            "bytes": size,
            "bytes_per_image": round(size / images) if images else 0,
            "budget": self.manifest.budget,
            "complete": self.manifest.complete,
            "descriptor": self.manifest.descriptor,
            "calibrated": self.background is not None,
            "stale_background": background is not None and self.background is None,
            "clean_images": 0 if background is None else background.images,
            "format": self.manifest.format,
        }

    def verify(self) -> int:
        """Compare all digests and check all arrays and graphs again.

        Returns:
            How many images it holds.

        Raises:
            IndexError_: Says which file is wrong and what to do.
        """
        self._load(read_manifest(self.folder))
        return len(self.names())

    def _load(self, manifest: Manifest) -> None:
        if manifest.descriptor != self._descriptor.digest:
            raise IncompatibleIndexError(
                f"{self.folder} was built with descriptor weights {manifest.descriptor[:12]}, these are "
                f"{self._descriptor.digest[:12]}: give the weights it was built with (--weights), or rebuild it."
            )
        self.manifest = manifest
        self.skipped = []
        self._shards = [Shard(self.folder, part) for part in manifest.shards]
        self.background: Background | None = None
        if manifest.background is not None and manifest.calibrated:
            self.background = Background(self.folder, manifest.background)
        self._read_levels = lru_cache(maxsize=CACHED_REFERENCES)(self._levels)

    def _levels(self, number: int) -> list[Level] | None:
        """Pyramid of a reference; None where it is gone or changed its size."""
        record = self._searcher().reference(number)
        try:
            image = read(Source(str(record["name"])))
        except ImageError:
            return None
        return pyramid(image) if image.shape[1::-1] == (record["width"], record["height"]) else None

    def _searcher(self) -> Searcher:
        background = self.background.lists if self.background is not None else ()
        return Searcher(self._descriptor.network, self._shards, background, self._read_levels)

    def _add(
        self, inputs: Sequence[PathLike], shard_images: int, progress: Progress | None, workers: int, complete: bool
    ) -> None:
        if not 1 <= shard_images <= MAX_IMAGES:
            raise ValueError(f"expected 1 to {MAX_IMAGES} images a shard, got {shard_images}")
        with writing(self.folder):
            manifest = read_manifest(self.folder)
            known = set(self.names())
            sources = (
                Skipped(item.name, "already in the index") if isinstance(item, Source) and item.name in known else item
                for item in expand(inputs)
            )
            encode = encoder(self._descriptor.network, self.weights, manifest.budget, workers)
            manifest, skipped = add_images(self.folder, manifest, encode, sources, shard_images, progress)
            manifest = replace(manifest, complete=complete)
            write_manifest(self.folder, manifest)
        self._load(manifest)
        self.skipped = skipped


def _opened(folder: Path, weights: Path | None) -> Searcher:
    """An index as the pipeline sees it."""
    return Index.open(folder, weights)._searcher()
