"""The pair network: what it says of copies and of what is none, and how it is trained."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import photo, save
from numpy.typing import NDArray
from skimage import data

import localmatch as lm
from benchmarks import pair_windows
from benchmarks.pair_windows import copies, seconds
from localmatch.descriptor.encode import encode_query
from localmatch.descriptor.weights import load_descriptor
from localmatch.errors import WeightsError
from localmatch.pairs import odds
from localmatch.pairs.network import PairNet
from localmatch.pairs.odds import copy_odds, pair_network
from localmatch.pairs.train import COPY, HOST, SECOND, UNSURE, Recipe, train
from localmatch.patches import pyramid
from localmatch.records import Mapping
from localmatch.views import view_of
from localmatch.weights import load_weights, save_weights


def gray(image: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)).float() / 255


@pytest.mark.parametrize("size", [(8, 8), (37, 101), (192, 192), (33, 400)])
def test_a_cell_for_every_four_pixels(size: tuple[int, int]) -> None:
    pair = torch.rand(2, 2, *size, generator=torch.Generator().manual_seed(0))
    found = pair_network()(pair)
    assert found.shape == (2, -(-size[0] // 4), -(-size[1] // 4))
    torch.testing.assert_close(found, pair_network()(pair.flip(1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "least"),
    [
        (lambda image: image, 1),
        (lambda image: cv2.GaussianBlur(image, (0, 0), 1.5), 0.5),  # its weakest side, see the model card
        (lambda image: (image * 0.7 + 20).astype(np.uint8), 1),
        (
            lambda image: cv2.imdecode(
                cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR
            ),
            1,
        ),
    ],
)
def test_a_changed_copy_is_told_from_its_host(change, least: float) -> None:  # type: ignore[no-untyped-def]
    source, host = data.coffee()[:400], data.chelsea()[:300, :400]
    query = np.ascontiguousarray(host[:, :400])
    query[80:240, 100:300] = change(np.ascontiguousarray(source[80:240, 100:300]))
    pair = torch.stack([gray(query), gray(np.ascontiguousarray(source[:300, :400]))])[None]
    found = pair_network()(pair)[0]
    inside = torch.zeros(300, 400, dtype=torch.bool)
    inside[90:230, 110:290] = True
    assert found[inside[::4, ::4]].median() > least
    outside = torch.ones(300, 400, dtype=torch.bool)
    outside[60:260, 80:320] = False
    assert found[outside[::4, ::4]].median() < -1


def test_odds_lie_on_the_pixels_of_a_view_whatever_the_alignment() -> None:
    source = np.ascontiguousarray(data.coffee()[:400, :400])
    query = np.ascontiguousarray(data.chelsea()[:300, :400])
    query[60:260, 120:320] = source[100:300, 50:250][:, ::-1]
    encoded = encode_query(load_descriptor().network, query, 100)
    view = view_of(encoded, (80, 30, 390, 290))
    onto = np.array([[-1.0, 0, 370], [0, 1, 40]])  # query x of 120 to 320 is the reference's 250 to 50
    found = copy_odds(view, pyramid(source), Mapping(onto))
    assert found.shape == view.size[::-1]
    inside = np.zeros((300, 400), bool)
    inside[70:250, 130:310] = True
    outside = np.ones((300, 400), bool)
    outside[50:270, 110:330] = False
    assert np.median(found[inside[view.slices]]) > 3
    assert np.median(found[outside[view.slices]]) < 0
    onto[0, 2] += 40
    assert np.median(copy_odds(view, pyramid(source), Mapping(onto))) < 0


def test_training_learns_and_writes_what_can_be_loaded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 256, (8, 96, 96), np.uint8) for _ in range(2))
    first, second = (np.stack([cv2.GaussianBlur(one, (0, 0), 1.5) for one in them]) for them in (first, second))
    copies = np.stack([first, first, np.full_like(first, COPY)], 1)
    copies[:, 2, :8] = UNSURE
    seconds = np.stack([first, second, np.full_like(first, SECOND)], 1)
    seconds[:, 2, :8] = HOST
    losses: list[float] = []
    out = tmp_path / "pairs.safetensors"
    train(copies, seconds, out, Recipe(steps=100, batch=2, side=64), lambda _, loss: losses.append(loss))
    assert losses[-1] < 0.8 * losses[0]
    load_weights(PairNet(), out)


def test_changed_shipped_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_weights(PairNet(), tmp_path / "other.safetensors", "")
    monkeypatch.setattr(odds, "SHIPPED", tmp_path / "other.safetensors")
    pair_network.cache_clear()
    with pytest.raises(WeightsError, match="reinstall localmatch"):
        pair_network()
    pair_network.cache_clear()


def test_windows_of_copies_say_what_they_show(train_folder: Path, clean_folder: Path) -> None:
    references, hosts = (sorted(folder.iterdir()) for folder in (train_folder, clean_folder))
    for window in copies(references, hosts, [], 4):
        assert window.shape == (3, 256, 256)
        query, reference, shown = window.astype(float)
        assert set(np.unique(shown)) <= {HOST, COPY, UNSURE}
        alike, other = (np.corrcoef(query[shown == one], reference[shown == one])[0, 1] for one in (COPY, HOST))
        assert alike > 0.6 > other or (shown == HOST).mean() < 0.05


def test_windows_of_second_photographs_show_what_was_aligned(
    index: lm.Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A copy that scores less than copies do stands for a second photograph, which scikit-image has none of.
    query = save(cv2.GaussianBlur(photo("coffee")[50:350, 100:500], (0, 0), 1), tmp_path / "second.png")
    assert list(seconds(index, [query])) == []
    monkeypatch.setattr(pair_windows, "COPIED", np.inf)
    made = list(seconds(index, [query]))
    assert len(made) >= 1 + pair_windows.CHANGES
    for window in made:
        assert window.shape == (3, 256, 256)
        assert set(np.unique(window[2])) <= {HOST, SECOND, UNSURE}
    plain, taken = made[0].astype(float), made[0][2] == SECOND
    assert np.corrcoef(plain[0][taken], plain[1][taken])[0, 1] > 0.9
