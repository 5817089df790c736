import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import photo
from safetensors import safe_open

from localmatch.descriptor.augment import VIEW, make_views
from localmatch.descriptor.changes import _CHANGES, change
from localmatch.descriptor.train import Recipe, _floats, _Windows, info_nce, train
from localmatch.descriptor.weights import SHIPPED, load_descriptor, load_network
from localmatch.errors import BackendError


@pytest.mark.parametrize("number", range(len(_CHANGES)))
@pytest.mark.parametrize("side", [32, 160, 321])
def test_changes_leave_an_image_of_the_same_size_that_shows_the_same(number: int, side: int) -> None:
    image = np.ascontiguousarray(photo("coffee")[60 : 60 + side, 170 : 170 + side])
    before = image.copy()
    likeness = []
    for seed in range(8):
        changed = _CHANGES[number][1](image, np.random.default_rng(seed))
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
        assert (changed != image).any()
        # Colours may turn into their negative.
        likeness.append(abs(np.corrcoef(changed.mean(2).ravel(), image.mean(2).ravel())[0, 1]))
    assert (image == before).all()
    assert np.median(likeness) > 0.8


def test_an_image_is_changed_alike_by_equal_draws_and_otherwise_by_others() -> None:
    image = np.ascontiguousarray(photo("coffee")[:100, :100])
    first, again, other = (change(image, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


def test_places_of_views_show_the_same(train_folder: Path) -> None:
    torch.manual_seed(0)
    plain, _ = (_floats(one) for one in _Windows(sorted(train_folder.iterdir()), Recipe(windows=16))[0])
    views = make_views(plain, plain, 40)
    assert views.first.shape == views.second.shape == (16, 1, VIEW, VIEW)
    assert views.first_xy.shape == views.second_xy.shape == (16, 40, 2)
    assert 0.3 < views.valid.float().mean() < 0.9
    network = load_network()[0].eval()
    with torch.inference_mode():
        assert info_nce(network, views)[1] > 0.7
        torch.manual_seed(0)
        elsewhere = make_views(plain, plain.roll(3, 0), 40)
        assert info_nce(network, elsewhere)[1] < 0.1


def test_training_goes_on_from_other_weights(train_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "on.safetensors"
    train(sorted(train_folder.iterdir()), path, Recipe(steps=1, windows=2, points=8, learning_rate=0), start=SHIPPED)
    (before, digest), (after, _) = load_network(), load_network(path)
    for one, other in zip(before.parameters(), after.parameters(), strict=True):
        assert torch.equal(one, other)
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["record"])["start"] == digest


def test_training_on_a_device_that_is_not_there_says_so(train_folder: Path, tmp_path: Path) -> None:
    for device in ("quantum", "cuda:99"):
        with pytest.raises(BackendError, match=f"cannot train on '{device}'"):
            train(sorted(train_folder.iterdir()), tmp_path / "none.safetensors", Recipe(steps=1), device=device)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bfloat16", [False, True])
def test_training_resumes_where_it_was_killed(
    bfloat16: bool, train_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localmatch.descriptor.train.CHECKPOINT_EVERY", 2)
    recipe = Recipe(steps=4, windows=2, points=8, bfloat16=bfloat16)
    images = sorted(train_folder.iterdir())
    train(images, tmp_path / "whole.safetensors", recipe)

    calls = 0

    def killed(*_: object) -> object:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise KeyboardInterrupt
        return info_nce(*_)  # type: ignore[arg-type]

    monkeypatch.setattr("localmatch.descriptor.train.info_nce", killed)
    with pytest.raises(KeyboardInterrupt):
        train(images, tmp_path / "resumed.safetensors", recipe)
    monkeypatch.setattr("localmatch.descriptor.train.info_nce", info_nce)
    train(images, tmp_path / "resumed.safetensors", recipe)
    whole, resumed = (load_descriptor(tmp_path / f"{n}.safetensors") for n in ("whole", "resumed"))
    assert whole.digest == resumed.digest
