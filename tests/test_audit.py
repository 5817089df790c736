"""The main job on real photos: copies are found where they are, and nothing else is."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import bent, box_iou, noisy, photo, save
from PIL import Image

import localmatch as lm
from localmatch.audit import find_regions
from localmatch.calibration import check_alpha, p_value
from localmatch.errors import CalibrationError, ImageError
from localmatch.geometry import project
from localmatch.kernels import library
from localmatch.report.results import audit_record

PIECE = (170, 60, 370, 240)  # of "coffee": 200 x 180 px, 14% of the host


def piece() -> np.ndarray:
    x0, y0, x1, y1 = PIECE
    return photo("coffee")[y0:y1, x0:x1]


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    """The piece turned about its middle, with the coffee around it in the corners."""
    x, y = (PIECE[0] + PIECE[2]) / 2, (PIECE[1] + PIECE[3]) / 2
    whole = cv2.warpAffine(
        photo("coffee"), cv2.getRotationMatrix2D((x, y), degrees, 1), (600, 400), flags=cv2.INTER_CUBIC
    )
    return whole[PIECE[1] : PIECE[3], PIECE[0] : PIECE[2]]


def recompressed(image: np.ndarray) -> np.ndarray:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


CHANGES = {
    "plain": lambda p: p,
    "mirrored": lambda p: p[:, ::-1],
    "cropped": lambda p: p[30:150, 20:150],
    "half": lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "larger": lambda p: cv2.resize(p, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC),
    "turned by 12": lambda p: turned(p, 12),
    "turned by -12": lambda p: turned(p, -12),
    "turned by 25": lambda p: turned(p, 25),
    "turned by -40": lambda p: turned(p, -40),
    "bent": lambda p: bent(p, 4, 25, 30),
    "bent and blurred": lambda p: recompressed(cv2.GaussianBlur(bent(p, 4, 25, 30), (0, 0), 1.2)),
    "recompressed": recompressed,
    "blurred": lambda p: cv2.GaussianBlur(p, (0, 0), 1.2),
    "noisy": noisy,
    "smoothed": lambda p: cv2.edgePreservingFilter(p, flags=1, sigma_s=20, sigma_r=0.3),
    "sharpened": lambda p: cv2.addWeighted(p, 1.8, cv2.GaussianBlur(p, (0, 0), 1.5), -0.8, 0),
    "recoloured": lambda p: (255 * (p[..., [2, 0, 1]] / 255.0) ** 1.4).astype(np.uint8),
}


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_found_in_place(change: str, index: lm.Index, planted) -> None:
    copy = CHANGES[change](piece())
    x, y = 150, 200
    audit = index.audit(planted(copy, x, y), alpha=0.05)
    assert audit.flagged
    region = audit.regions[0]
    assert Path(region.reference).stem == "coffee"
    box = (x, y, x + copy.shape[1], y + copy.shape[0])
    assert box_iou(region.query_box, box) > 0.6
    assert region.mirrored == (change == "mirrored")
    assert region.p_value is not None
    assert region.p_value <= 0.05
    assert region.mask.shape == audit.heatmap.shape == (512, 512)
    assert audit.heatmap.dtype == np.float32
    assert 0 <= audit.heatmap.min() <= audit.heatmap.max() <= 1
    assert audit.heatmap[y + 20 : y + copy.shape[0] - 20, x + 20 : x + copy.shape[1] - 20].mean() > 0.6
    assert audit.heatmap[:150].mean() < 0.05
    if change in ("plain", "recompressed", "recoloured"):
        expected = [[1, 0, PIECE[0] - x], [0, 1, PIECE[1] - y]]
        corners = np.array([box[:2], box[2:]], float)
        assert np.abs(project(region.affine, corners) - project(np.array(expected, float), corners)).max() < 1.5
        assert box_iou(region.reference_box, PIECE) > 0.6


@pytest.mark.parametrize(("x", "y"), [(220, 150), (260, 60)])
@pytest.mark.parametrize("side", [36, 48])
def test_small_copies_of_pixels_are_found_and_drawn(x: int, y: int, side: int, index: lm.Index, planted) -> None:
    copy = photo("chelsea")[y : y + side, x : x + side]  # half a percent of the host, and less than one
    audit = index.audit(planted(copy, 250, 200), alpha=0.05)
    assert audit.flagged
    region = audit.regions[0]
    assert Path(region.reference).stem == "chelsea"
    assert box_iou(region.query_box, (250, 200, 250 + side, 200 + side)) > 0.5
    assert box_iou(region.reference_box, (x, y, x + side, y + side)) > 0.5
    assert region.kind == "pixel"


@pytest.mark.parametrize("turn", ["right angle", "tilt"])
@pytest.mark.parametrize(("x", "y"), [(220, 150), (260, 60)])
def test_small_copies_that_are_turned_are_found(x: int, y: int, turn: str, index: lm.Index, planted) -> None:
    side = 36  # half a percent of the host
    about = cv2.getRotationMatrix2D((x + side / 2, y + side / 2), 90 if turn == "right angle" else 35, 1)
    copy = cv2.warpAffine(photo("chelsea"), about, (451, 300), flags=cv2.INTER_CUBIC)[y : y + side, x : x + side]
    audit = index.audit(planted(copy, 250, 200), alpha=0.05)
    assert audit.flagged
    region = audit.regions[0]
    assert Path(region.reference).stem == "chelsea"
    assert box_iou(region.query_box, (250, 200, 250 + side, 200 + side)) > 0.5
    middle = project(region.affine, np.array([[250 + side / 2, 200 + side / 2]]))
    assert np.abs(middle - [x + side / 2, y + side / 2]).max() < 2


@pytest.mark.parametrize(
    ("turns", "mirrored", "top_left", "bottom_left"),
    [
        (1, False, (370, 60), (170, 60)),
        (2, False, (370, 240), (370, 60)),
        (3, False, (170, 240), (370, 240)),
        (1, True, (170, 60), (370, 60)),
        (2, True, (170, 240), (170, 60)),
        (3, True, (370, 240), (170, 240)),
    ],
)
def test_copies_turned_by_right_angles_are_found(
    turns: int, mirrored: bool, top_left: tuple[int, int], bottom_left: tuple[int, int], index: lm.Index, planted
) -> None:
    copy = np.rot90(piece()[:, ::-1] if mirrored else piece(), turns)
    query, box = planted(copy, 150, 200)[:, :460], (150, 200, 150 + copy.shape[1], 200 + copy.shape[0])
    audit = index.audit(query, alpha=0.05)
    assert audit.flagged
    region = audit.regions[0]
    assert Path(region.reference).stem == "coffee"
    assert box_iou(region.query_box, box) > 0.6
    found = project(region.affine, np.array([[box[0], box[1]], [box[0], box[3]]], float))
    assert np.abs(found - [top_left, bottom_left]).max() < 1.5
    assert region.mirrored == mirrored


def test_a_copy_is_verified_that_only_looks_the_same_from_afar(
    index: lm.Index, planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localmatch.verification.screen", lambda *_: 0.0)
    monkeypatch.setattr("localmatch.audit.look_at_pixels", lambda *given: given[-1])
    region = index.audit(planted(cv2.GaussianBlur(piece(), (0, 0), 1.2), 150, 200), 0.05).regions[0]
    assert Path(region.reference).stem == "coffee"
    assert box_iou(region.query_box, (150, 200, 350, 380)) > 0.6
    monkeypatch.setattr("localmatch.audit.AFAR", 0)
    assert not index.audit(planted(piece(), 150, 200), 0.05).regions


@pytest.mark.parametrize("box", [(120, 60, 320, 240), (170, 90, 260, 170)])  # fur and an eye of "chelsea"
def test_a_copy_in_perspective_is_found(box: tuple[int, int, int, int], index: lm.Index, planted) -> None:
    x0, y0, x1, y1 = box
    about = np.array([[1, 0, -(x0 + x1) / 2], [0, 1, -(y0 + y1) / 2], [0, 0, 1]])
    tilt = np.linalg.inv(about) @ np.array([[1, 0, 0], [0, 1, 0], [0.0009, -0.0006, 1]]) @ about
    whole = cv2.warpPerspective(photo("chelsea"), tilt, (451, 300), flags=cv2.INTER_CUBIC)
    region = index.audit(planted(whole[y0:y1, x0:x1], 150, 200), 0.05).regions[0]
    assert Path(region.reference).stem == "chelsea"
    assert region.p_value is not None
    assert region.p_value <= 0.05
    assert region.score > 5
    assert box_iou(region.query_box, (150, 200, 150 + x1 - x0, 200 + y1 - y0)) > 0.6
    corners = cv2.perspectiveTransform(np.array([[[x0, y0], [x1, y0], [x1, y1], [x0, y1]]], float), np.linalg.inv(tilt))
    assert box_iou(region.reference_box, (*corners[0].min(0), *corners[0].max(0))) > 0.6


def test_a_region_says_whether_its_pixels_were_copied_or_rendered_anew(index: lm.Index, planted) -> None:
    large = photo("coffee")[40:300, 100:420]
    noisy = (large + np.random.default_rng(0).normal(0, 15, large.shape)).clip(0, 255).astype(np.uint8)
    darker = (piece() * 0.7).astype(np.uint8)
    kinds = [index.audit(planted(copy), 0.05).regions[0].kind for copy in (piece(), darker, noisy)]
    assert kinds == ["pixel", "pixel", "structure"]


@pytest.mark.parametrize("host", ["brick", "gravel", "grass", "immunohistochemistry", "retina", "moon"])
def test_clean_images_are_not_flagged(host: str, index: lm.Index) -> None:
    audit = index.audit(photo(host), alpha=0.05)
    assert not audit.flagged
    assert audit.heatmap.mean() < 0.1


def test_large_images_are_searched_at_their_own_scale(train_folder: Path, tmp_path: Path, planted) -> None:
    """Levels of a 9 megapixel image begin at scale 4; its pieces are as findable as those of a small one."""
    index = lm.Index.build(
        [save(cv2.resize(photo("coffee"), None, fx=5, fy=5), tmp_path / "large.png")], tmp_path / "i.lmx"
    )
    query = cv2.resize(planted(piece()), None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)
    region = index.audit(query).regions[0]
    assert box_iou(region.query_box, (750, 1000, 1750, 1900)) > 0.6
    assert box_iou(region.reference_box, tuple(5 * v for v in PIECE)) > 0.6


def test_two_pieces_of_two_references(index: lm.Index, planted) -> None:
    image = planted(photo("chelsea")[60:190, 110:310], 20, 20)
    image[300:480, 250:450] = piece()
    regions = index.audit(image, 0.05).regions[:2]
    assert {Path(r.reference).stem for r in regions} == {"chelsea", "coffee"}


def test_three_pieces_of_one_reference(index: lm.Index, planted) -> None:
    coffee = photo("coffee")
    boxes = [(20, 30, 200, 210), (240, 290, 450, 490), (380, 60, 470, 150)]
    image = planted(coffee[20:200, 40:220], 20, 30)
    image[290:490, 240:450] = coffee[190:390, 350:560]
    image[60:150, 380:470] = coffee[60:150, 270:360]
    regions = sorted(index.audit(image, 0.05).regions, key=lambda region: region.query_box)
    assert [Path(region.reference).stem for region in regions] == ["coffee"] * 3
    assert all(box_iou(region.query_box, box) > 0.7 for region, box in zip(regions, boxes, strict=True))


def test_a_whole_reference_is_its_own_copy(index: lm.Index) -> None:
    region = index.audit(photo("chelsea"), 0.05).regions[0]
    assert region.area_fraction > 0.9
    assert np.allclose(region.affine, [[1, 0, 0], [0, 1, 0]], atol=0.02) or np.abs(region.affine[:, 2]).max() < 1
    assert region.references_sharing == 1


FORMS = {
    "path": lambda path, image: path,
    "text": lambda path, image: str(path),
    "PIL": lambda path, image: Image.fromarray(image),
    "array": lambda path, image: image,
    "strided array": lambda path, image: np.repeat(image, 2, axis=0)[::2],
    "uint8 tensor": lambda path, image: torch.from_numpy(image.transpose(2, 0, 1).copy()),
    "float tensor": lambda path, image: torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255,
}


def test_every_form_of_image_gives_the_same(index: lm.Index, planted, tmp_path: Path) -> None:
    image = planted(piece())[150:450, 100:420]
    path = save(np.ascontiguousarray(image), tmp_path / "query.png")
    scores = {form: index.audit(make(path, np.ascontiguousarray(image)), 0.05).score for form, make in FORMS.items()}
    assert len(set(scores.values())) == 1, scores
    assert scores["path"] > 0


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((5, 5, 3), np.float32),
        torch.zeros(5, 5, 3),
        torch.full((3, 9, 9), 7.0),
    ],
)
def test_other_forms_are_refused(image: object, index: lm.Index) -> None:
    with pytest.raises(ImageError, match="expected"):
        index.audit(image, 0.05)


@pytest.mark.parametrize("size", [(1, 1), (20, 5000), (30, 30), (700, 90)])
def test_tiny_and_thin_queries(size: tuple[int, int], index: lm.Index) -> None:
    audit = index.audit(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8), 0.05)
    assert audit.heatmap.shape == size
    assert not audit.flagged


PROBE = """
import sys, hashlib, json
import torch, localmatch as lm
from localmatch.report.results import audit_record
torch.set_num_threads(int(sys.argv[3]))
audit = lm.Index.open(sys.argv[1]).audit(sys.argv[2], alpha=0.05)
text = json.dumps(audit_record(audit)).encode() + audit.heatmap.tobytes()
print(len(audit.regions), hashlib.sha256(text).hexdigest())
"""


def test_results_are_the_same_bytes_at_every_thread_count(index_path: Path, planted, tmp_path: Path) -> None:
    image = planted(CHANGES["turned by 12"](piece()))
    image[10:190, 20:220] = CHANGES["bent"](photo("chelsea")[60:240, 120:320])
    path = save(image, tmp_path / "query.png")
    outputs = set()
    for threads in ("1", "2", "3"):
        environment = os.environ | {"OMP_NUM_THREADS": threads, "LOCALMATCH_THREADS": threads}
        command = [sys.executable, "-c", PROBE, str(index_path), str(path), threads]
        outputs.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(outputs) == 1
    assert int(outputs.pop().split()[0]) >= 2


def test_results_are_the_same_bytes_on_every_backend(index: lm.Index, planted, monkeypatch) -> None:
    image = planted(CHANGES["turned by 12"](piece()))[120:440, 80:420]

    def result() -> bytes:
        audit = index.audit(image, 0.05)
        assert audit.regions
        return json.dumps(audit_record(audit)).encode() + audit.heatmap.tobytes()

    expected = result()
    for isa in (name for number, name in enumerate(library.ISAS) if library.supports(number)):
        monkeypatch.setenv(library.ISA_VARIABLE, isa)
        assert result() == expected, isa
    monkeypatch.setenv("LOCALMATCH_BACKEND", "torch")
    assert result() == expected


def test_a_reference_that_is_gone_is_still_named(train_folder: Path, tmp_path: Path, planted) -> None:
    shutil.copytree(train_folder, tmp_path / "moved")
    index = lm.Index.build([tmp_path / "moved"], tmp_path / "i.lmx")
    shutil.rmtree(tmp_path / "moved")
    audit = index.audit(planted(piece()))
    assert Path(audit.regions[0].reference).stem == "coffee"
    assert box_iou(audit.regions[0].query_box, (150, 200, 350, 380)) > 0.5
    with pytest.raises(ImageError, match="coffee"):
        audit.side_by_side()


def test_pictures(index: lm.Index, planted) -> None:
    audit = index.audit(planted(piece()), 0.05)
    before = audit.image.copy()
    overlay, pair = audit.overlay(), audit.side_by_side()
    assert overlay.size == (512, 512)
    assert pair.height == 512
    assert np.array_equal(audit.image, before)
    changed = np.abs(np.asarray(overlay).astype(int) - audit.image).sum(2) > 0
    assert changed[audit.regions[0].mask].mean() > 0.8
    with pytest.raises(ImageError, match="no region 99"):
        audit.side_by_side(99)


def test_uncalibrated_gives_scores_and_no_p_values(train_folder: Path, tmp_path: Path) -> None:
    audit = lm.Index.build([train_folder / "coffee.png"], tmp_path / "i.lmx").audit(piece())
    assert audit.score > 0
    assert audit.p_value is None
    assert audit.flagged is None
    assert audit.regions[0].p_value is None


def test_no_alpha_below_what_clean_images_can_show(index: lm.Index) -> None:
    with pytest.raises(CalibrationError, match="at least 99 clean images"):
        index.audit(piece(), alpha=0.01)
    assert index.audit(piece(), alpha=1 / 25).flagged
    for alpha in (0, 1, -1):
        with pytest.raises(CalibrationError, match="between 0 and 1"):
            check_alpha(alpha, 10**6)


def test_p_values_are_conformal() -> None:
    clean = np.array([0, 0, 1, 5.0])
    assert [p_value(score, clean) for score in (0, 0.5, 1, 2, 5, 6)] == [1.0, 0.6, 0.6, 0.4, 0.4, 0.2]
    rng = np.random.default_rng(0)
    false_alarms = [p_value(rng.exponential(), rng.exponential(size=99)) <= 0.05 for _ in range(4000)]
    assert 0.035 < np.mean(false_alarms) < 0.065


def test_calibration_passes_over_what_is_not_clean(copied_index: Path, train_folder: Path, tmp_path: Path) -> None:
    index = lm.Index.open(copied_index)
    with pytest.raises(CalibrationError, match="0 usable"):
        index.calibrate([train_folder])
    (tmp_path / "bad.png").write_bytes(b"")
    clean = [save(photo(n)[:200, :200], tmp_path / f"{n}.png") for n in ("brick", "gravel", "grass")]
    index.calibrate([*clean, train_folder / "coffee.png", tmp_path / "bad.png"])
    assert index.info()["clean_images"] == 3
    assert {Path(s.name).stem for s in index.skipped} == {"coffee", "bad"}
    assert lm.Index.open(copied_index).info()["clean_images"] == 3


def test_an_interrupted_calibration_goes_on_and_ends_in_the_same_scores(
    copied_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = [save(photo(n)[:200, :200], tmp_path / f"{n}.png") for n in ("brick", "gravel", "grass", "coins")]
    index = lm.Index.open(copied_index)
    index.calibrate(clean)
    expected = (copied_index / "background" / index.manifest.background.name / "scores.json").read_text()
    looked: list[int] = []

    def scored(searcher: object, image: np.ndarray, stop_at: int) -> object:
        if len(looked) == stop_at:
            raise KeyboardInterrupt
        looked.append(1)
        return find_regions(searcher, image)

    monkeypatch.setattr("localmatch.calibration.find_regions", lambda s, image: scored(s, image, 2))
    with pytest.raises(KeyboardInterrupt):
        index.calibrate(clean)
    with (copied_index / "calibrating.journal").open("a") as file:
        file.write('["2", 0.3')  # killed in the middle of a line
    monkeypatch.setattr("localmatch.calibration.find_regions", lambda s, image: scored(s, image, 99))
    index = lm.Index.open(copied_index)
    index.calibrate(clean)
    assert len(looked) == 4
    assert (copied_index / "background" / index.manifest.background.name / "scores.json").read_text() == expected
    assert not (copied_index / "calibrating.journal").exists()
