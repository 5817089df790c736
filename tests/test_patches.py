import cv2
import numpy as np
import pytest
import torch
from helpers import photo
from torch.nn import functional

from localmatch.patches import MIN_SHORT_SIDE, QUERY_CONTRAST, QUERY_SPACING, REFERENCE_SPACING, find_patches, pyramid


@pytest.mark.parametrize(
    ("size", "levels"),
    [((1, 1), 0), ((20, 20_000), 0), ((23, 23), 0), ((24, 24), 1), ((48, 48), 3), ((400, 533), 9), ((3000, 4000), 8)],
)
def test_pyramid_covers_what_fits(size: tuple[int, int], levels: int) -> None:
    image = np.zeros((*size, 3), np.uint8)
    found = pyramid(image)
    assert len(found) == levels
    assert all(min(level.gray.shape) >= MIN_SHORT_SIDE for level in found)
    assert all(np.allclose(level.scale, 2 ** (level.index / 2), rtol=0.05) for level in found)


def test_levels_are_filtered_alike_whether_larger_or_smaller() -> None:
    image = photo("chelsea")
    gray = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)).float().div_(255)[None, None]
    for level in pyramid(image):
        expected = functional.interpolate(gray, level.gray.shape, mode="bilinear", antialias=True)[0, 0]
        np.testing.assert_allclose(level.gray.numpy(), expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("budget", [0, 1, 37, 1000])
def test_budget_is_kept_and_spread_over_levels(budget: int) -> None:
    patches = find_patches(pyramid(photo("chelsea")), REFERENCE_SPACING, budget)
    assert len(patches) <= budget
    if budget == 1000:
        assert len(patches) > 800
        assert len(np.unique(patches.level)) == len(pyramid(photo("chelsea")))


def test_flat_images_give_no_patches() -> None:
    assert len(find_patches(pyramid(np.full((200, 200, 3), 200, np.uint8)), QUERY_SPACING, 1000)) == 0
    assert len(find_patches([], QUERY_SPACING, 1000)) == 0


def test_faint_pieces_of_queries_get_patches() -> None:
    image, (y, x, side) = photo("coffee").copy(), (150, 200, 80)
    image[y : y + side, x : x + side] = photo("grass")[:side, :side] // 8 + 100
    share = (side - 16) ** 2 / image[..., 0].size  # off the edge of the piece, which is seen well

    def inside(contrast: float) -> float:
        xy = find_patches(pyramid(image), QUERY_SPACING, 3000, contrast).xy
        return float((np.abs(xy - [x + side / 2, y + side / 2]).max(1) < side / 2 - 8).mean())

    assert inside(QUERY_CONTRAST) > 0.8 * share
    assert inside(1.0) < 0.4 * share


def test_centres_stay_on_the_scene_when_the_image_is_cropped() -> None:
    image = photo("coffee")
    whole = find_patches(pyramid(image), QUERY_SPACING, 100_000)
    crop = find_patches(pyramid(image[37:300, 51:400]), QUERY_SPACING, 100_000)
    for level in (0, 1, 2):
        scale = 2 ** (level / 2)
        moved = crop.xy[crop.level == level] + [51, 37]
        keep = ((moved > [90, 80]) & (moved < [360, 260])).all(1)
        inner = moved[keep]
        distance = np.linalg.norm(inner[:, None] - whole.xy[whole.level == level][None], axis=2).min(1)
        strongest = np.argsort(-crop.saliency[crop.level == level][keep])[: len(inner) // 3]
        assert (distance[strongest] < 1.5 * scale).mean() > 0.8
