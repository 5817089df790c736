"""One small index of scikit-image's photos for all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import CLEAN, TRAIN, photo, save
from numpy.typing import NDArray

import localmatch as lm

# Without a GPU, Triton's kernels run in its interpreter; Triton reads this when it is imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# The folder localmatch/ in the working directory must not hide the installed package from subprocesses.
os.environ["PYTHONSAFEPATH"] = "1"

# Last, for the same reason: the benchmarks are not installed.
sys.path.append(str(Path(__file__).parents[1]))


@pytest.fixture(scope="session")
def train_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    for name in TRAIN:
        save(photo(name), folder / f"{name}.png")
    return folder


@pytest.fixture(scope="session")
def clean_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 tiles of photos that are not in the index."""
    folder = tmp_path_factory.mktemp("clean")
    for name in CLEAN:
        image = photo(name)
        for number, (y, x) in enumerate((y, x) for y in (0, 170) for x in (0, 128, 256)):
            save(image[y : y + 256, x : x + 256], folder / f"{name}-{number}.png")
    return folder


@pytest.fixture(scope="session")
def index_path(train_folder: Path, clean_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated index; tests that change an index copy it."""
    path = tmp_path_factory.mktemp("index") / "train.lmx"
    lm.Index.build([train_folder], path).calibrate([clean_folder])
    return path


@pytest.fixture(scope="session")
def index(index_path: Path) -> lm.Index:
    return lm.Index.open(index_path)


@pytest.fixture
def copied_index(index_path: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(index_path, tmp_path / "copy.lmx"))


@pytest.fixture(scope="session")
def planted() -> Callable[..., NDArray[np.uint8]]:
    """Pastes a piece into a photo that is in no index."""

    def paste(piece: NDArray[np.uint8], x: int = 150, y: int = 200, host: str = "brick") -> NDArray[np.uint8]:
        picture = photo(host).copy()
        picture[y : y + piece.shape[0], x : x + piece.shape[1]] = piece
        return picture

    return paste
