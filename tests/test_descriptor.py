from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import photo

from localmatch.descriptor.augment import make_views
from localmatch.descriptor.encode import QUANTISATION, TILTED_FROM, encode_query, encode_reference
from localmatch.descriptor.network import DescriptorNet, LocalContrastNorm, box_mean, read_at
from localmatch.descriptor.train import Recipe, _floats, _Windows, info_nce
from localmatch.descriptor.weights import SHIPPED, load_descriptor, load_network
from localmatch.errors import WeightsError
from localmatch.geometry import POSES, SQUARE, pose_frame, project
from localmatch.patches import pyramid
from localmatch.weights import save_weights


def rank1(network: DescriptorNet, folder: Path) -> float:
    """Share of places whose counterpart is the nearest, on changed views of photos that training did not see."""
    torch.manual_seed(0)
    windows = _Windows(sorted(folder.iterdir()), Recipe(windows=12, synthetic_share=0))[0]
    with torch.inference_mode():
        return info_nce(network, make_views(*map(_floats, windows), 32))[1]


def _dense_map(gray: torch.Tensor) -> torch.Tensor:
    network = load_descriptor().network
    return network.dense_map(network.activations(network.normalised(gray)))


def test_shipped_weights_are_trained(train_folder: Path) -> None:
    trained = rank1(load_network()[0].eval(), train_folder)
    random = rank1(DescriptorNet().eval(), train_folder)
    assert trained > 0.6
    assert trained > random + 0.2


def test_the_network_on_bytes_describes_as_the_one_that_was_trained() -> None:
    trained, image = load_network()[0].eval(), pyramid(photo("coffee"))[1].gray
    with torch.inference_mode():
        found, expected = _dense_map(image), trained(image[None, None])[0]
    assert found.shape == expected.shape
    cosine = (found * expected).sum(0)
    assert cosine.mean() > 0.998
    assert (cosine > 0.99).float().mean() > 0.98


def test_weights_under_2_mb() -> None:
    assert SHIPPED.stat().st_size < 2_000_000


def test_one_dense_pass_sees_only_the_receptive_field() -> None:
    image = torch.rand(120, 160)
    changed = image.clone()
    changed[:, 120:] = torch.rand(120, 40)
    same = (_dense_map(image) - _dense_map(changed)).abs().amax((0, 1)) < 1e-3
    assert same[: (120 - 30) // 4].all()
    assert not same[32:].any()


@pytest.mark.parametrize("shape", [(24, 24), (48, 61), (120, 160)])
def test_box_mean_is_the_mean(shape: tuple[int, int]) -> None:
    image = torch.rand(1, 2, *shape)
    padded = torch.nn.functional.pad(image, (4, 4, 4, 4), mode="replicate")
    expected = torch.nn.functional.avg_pool2d(padded, 9, 1)
    assert torch.allclose(box_mean(image, 9), expected, atol=1e-5)


def test_contrast_and_brightness_do_not_matter() -> None:
    image = torch.from_numpy(photo("coffee")[:200, :200, 0].copy()).float()[None, None] / 255
    norm = LocalContrastNorm(21)
    textured = norm(image).abs() > 0.5
    assert (norm(image)[textured] - norm(0.6 * image + 0.3)[textured]).abs().mean() < 0.2


@pytest.mark.parametrize("count", [0, 1, 300])
def test_descriptors_at_places_are_read_off_the_dense_map(count: int) -> None:
    network, gray = load_descriptor().network, pyramid(photo("coffee"))[1].gray
    active = network.activations(network.normalised(gray))
    corners = torch.tensor([[0.0, 0.0], gray.shape[::-1], [0.5, 0.5], [4.5, 8.5]])
    xy = torch.cat([corners, torch.rand(count, 2) * torch.tensor(gray.shape[::-1])])[:count]
    expected = read_at(network.dense_map(active)[None], xy[None])[0]
    assert torch.allclose(network.describe_at(active, xy), expected, atol=1e-5)


@pytest.mark.parametrize("turns", range(4))
def test_a_turned_image_normalises_to_the_same_numbers(turns: int) -> None:
    network, gray = load_descriptor().network, pyramid(photo("coffee"))[1].gray
    expected = network.normalised(gray).flip(-1).rot90(turns)
    assert torch.equal(network.normalised(gray.flip(-1).rot90(turns)), expected)


@pytest.mark.parametrize("pose", range(1, SQUARE))
def test_descriptors_in_a_pose_are_those_of_the_image_in_that_pose(pose: int) -> None:
    network, image = load_descriptor().network, photo("chelsea")
    query = encode_query(network, image, 2000)
    posed = np.rot90(image[:, ::-1] if pose % 2 else image, pose // 2)
    plain = encode_reference(network, np.ascontiguousarray(posed), 2000)
    here = query.pose == pose
    patch, descriptors = query.patch[here], query.descriptors[here]
    assert len(patch) == len(query.patches)
    there = {
        (round(x), round(y), int(v)): d
        for (x, y), v, d in zip(plain.patches.xy, plain.patches.level, plain.descriptors, strict=True)
    }
    places = project(pose_frame(pose, query.size), query.patches.xy[patch])
    same = [
        float(one.astype(int) @ there[key].astype(int)) / QUANTISATION**2
        for (x, y), v, one in zip(places, query.patches.level[patch], descriptors, strict=True)
        if (key := (round(x), round(y), int(v))) in there
    ]
    assert len(same) > 20
    assert np.median(same) > 0.99


@pytest.mark.parametrize("pose", range(SQUARE, POSES))
def test_a_copy_that_is_tilted_has_the_descriptors_of_the_image_tilted_back(pose: int) -> None:
    network, image = load_descriptor().network, photo("chelsea")
    frame = pose_frame(pose, (451, 300))
    corners = project(frame, np.array([(0.0, 0), (451, 0), (0, 300), (451, 300)]))
    assert np.abs(corners.min(0)).max() < 1e-9
    size = np.ceil(corners.max(0)).astype(int).tolist()
    # From pixel indices to pixel indices, whose whole numbers are half a pixel from those of positions.
    onto = frame + np.column_stack([np.zeros((2, 2)), frame[:, :2] @ [0.5, 0.5] - 0.5])
    tilted = cv2.warpAffine(image, onto, size, flags=cv2.INTER_CUBIC)
    query, plain = (encode_query(network, one, 3000) for one in (image, tilted))
    here, there = query.pose == pose, (plain.pose == 0) & (plain.patches.level[plain.patch] >= TILTED_FROM)
    places = project(frame, query.patches.xy[query.patch[here]])
    apart = np.linalg.norm(places[:, None] - plain.patches.xy[plain.patch[there]], axis=2)
    levels = query.patches.level[query.patch[here]][:, None] == plain.patches.level[plain.patch[there]]
    own, other = np.nonzero((apart < 1) & levels)
    same = (query.descriptors[here][own].astype(int) * plain.descriptors[there][other]).sum(1) / QUANTISATION**2
    assert len(same) > 50
    assert np.median(same) > 0.9


def test_patches_of_blurred_images_are_described_sharpened_too() -> None:
    network, image = load_descriptor().network, photo("chelsea")
    query = encode_query(network, cv2.GaussianBlur(image, (0, 0), 2), 2000)
    patches, upright = query.patches, query.descriptors[query.pose == 0].astype(int)
    assert query.patch[query.pose == 0].tolist() == 2 * list(range(len(patches)))
    similarity = []
    for level in pyramid(image):
        here = patches.level == level.index
        active = network.activations(network.normalised(level.gray))
        xy = torch.from_numpy((patches.xy[here] / level.scale).astype(np.float32))
        original = (network.describe_at(active, xy) * QUANTISATION).numpy()
        similarity += [(upright.reshape(2, len(patches), -1)[:, here] * original).sum(2) / QUANTISATION**2]
    plain, sharpened = np.concatenate(similarity, 1)
    assert np.maximum(plain, sharpened).mean() > plain.mean() + 0.03


@pytest.mark.parametrize("size", [(1, 1), (20, 400), (100, 100), (301, 199)])
def test_encoding_has_one_descriptor_a_patch(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    encoded = encode_reference(load_descriptor().network, image, 200)
    assert encoded.descriptors.shape == (len(encoded.patches), 64)
    assert encoded.size == (size[1], size[0])


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "other names", "other shapes"])
def test_wrong_weights_are_refused(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "truncated":
        path.write_bytes(SHIPPED.read_bytes()[:-1000])
    elif damage == "other names":
        save_weights(torch.nn.Linear(3, 3), path, "")
    elif damage == "other shapes":
        network = DescriptorNet()
        network.features[0] = torch.nn.Conv2d(1, 16, 3, bias=False)
        save_weights(network, path, "")
    with pytest.raises(WeightsError, match=str(path)):
        load_descriptor(path)


def test_changed_shipped_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(DescriptorNet(), path, "")
    monkeypatch.setattr("localmatch.descriptor.weights.SHIPPED", path)
    with pytest.raises(WeightsError, match="SHA-256"):
        load_descriptor()
