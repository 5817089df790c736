"""The whole way on scikit-image's bundled photos: index, calibrate, audit, report; with copies planted to be found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from localmatch.api import Index
from localmatch.errors import LocalmatchError

TRAIN = ("chelsea", "coffee", "rocket", "camera", "coins", "page", "clock", "moon", "hubble_deep_field")
"""scikit-image's photos that play the training set."""

HOSTS = ("immunohistochemistry", "retina", "brick")
"""Photos that are in no index, into which copies are pasted."""

ALPHA = 0.05
"""About thirty clean tiles can show this false-alarm rate, and no lower one."""

TILE = 256
"""Side of a clean tile, in pixels."""


def run(folder: Path, progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Write photos, an index and a report below `folder`, and return the report's summary.

    Raises:
        LocalmatchError: scikit-image is not installed, or the folder holds another demo.
    """
    from localmatch.report import write_report

    if (folder / "train.lmx").exists():
        raise LocalmatchError(f"{folder} holds a demo already: delete it, or choose another folder with -o.")
    for name in ("train", "clean", "generated"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in TRAIN:
        _photo(name).save(folder / "train" / f"{name}.png")
    _write_clean(folder / "clean")
    _write_generated(folder / "generated")
    index = Index.build([folder / "train"], folder / "train.lmx", progress=progress)
    index.calibrate([folder / "clean"], progress=progress)
    return write_report(index, [folder / "generated"], folder / "report", alpha=ALPHA, progress=progress)


def _photo(name: str) -> Image.Image:
    try:
        from skimage import data
    except ImportError as error:
        raise LocalmatchError("the demo needs scikit-image's photos: pip install 'localmatch[demo]'") from error
    return Image.fromarray(np.asarray(getattr(data, name)())).convert("RGB")


def _write_clean(folder: Path) -> None:
    """Tiles of photos that are not in the training set."""
    for name in (*HOSTS, "gravel", "grass"):
        photo = _photo(name)
        for y in range(0, min(photo.height, 3 * TILE) - TILE + 1, TILE):
            for x in range(0, min(photo.width, 3 * TILE) - TILE + 1, TILE):
                photo.crop((x, y, x + TILE, y + TILE)).save(folder / f"{name}-{y}-{x}.png")


def _write_generated(folder: Path) -> None:
    """Images that "a model generated": pieces of the training set in other pictures, and some that copy nothing."""
    cat, coffee, rocket, coins = (_photo(name) for name in ("chelsea", "coffee", "rocket", "coins"))
    hosts = [_photo("immunohistochemistry"), _photo("retina").resize((512, 512)), _photo("brick")]

    eyes = cat.crop((110, 60, 310, 190)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    _paste(hosts[0], eyes, (60, 300)).save(folder / "mirrored-cat.png")

    cup = coffee.crop((170, 60, 430, 300)).rotate(8, Image.Resampling.BICUBIC, expand=False).crop((25, 25, 235, 215))
    recoloured = ImageEnhance.Color(ImageEnhance.Contrast(cup).enhance(1.3)).enhance(0.3)
    _paste(_paste(hosts[2], recoloured, (230, 40)), coins.crop((20, 20, 160, 130)), (50, 330)).save(
        folder / "turned-cup-and-coins.jpg", quality=70
    )

    tower = rocket.crop((250, 60, 430, 340)).resize((270, 420), Image.Resampling.LANCZOS)
    _paste(hosts[1], tower, (120, 50)).save(folder / "enlarged-rocket.jpg", quality=60)

    for name in ("gravel", "grass", "brick"):
        _photo(name).save(folder / f"nothing-copied-{name}.png")


def _paste(host: Image.Image, piece: Image.Image, corner: tuple[int, int]) -> Image.Image:
    picture = host.copy()
    picture.paste(piece, corner)
    return picture
