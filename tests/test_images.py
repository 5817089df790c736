"""Every kind of bad and odd input is handled, and named."""

import io
import os
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers import photo, save
from PIL import Image

from localmatch.errors import ImageError
from localmatch.images import Skipped, Source, expand, read


def png_of_size(width: int, height: int) -> bytes:
    """A tiny PNG that claims to be large."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


COFFEE = Image.fromarray(photo("coffee"))

UNREADABLE = {
    "empty.png": b"",
    "text.jpg": b"this is not an image",
    "cut.jpg": encoded(COFFEE, "JPEG")[:3000],
    "cut.png": encoded(COFFEE, "PNG")[:3000],
    "bomb.png": png_of_size(30_000, 30_000),
    "large.png": png_of_size(12_000, 10_000),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_images_are_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(UNREADABLE[name])
    with pytest.raises(ImageError) as caught:
        read(Source(str(path)))
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) > len(str(path)) + 5


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        read(Source(str(tmp_path / "gone.png")))
    with pytest.raises(ImageError, match="directory"):
        read(Source(str(tmp_path)))


def gray_ramp() -> np.ndarray:
    return np.tile(np.arange(256, dtype=np.uint8), (40, 1))


ODD = {
    "gray": (Image.fromarray(gray_ramp()), "PNG"),
    "16 bit": (Image.fromarray(gray_ramp().astype(np.uint16) * 257), "PNG"),
    "float": (Image.fromarray(gray_ramp().astype(np.float32) / 255), "TIFF"),
    "palette": (Image.fromarray(gray_ramp()).convert("P"), "PNG"),
    "bilevel": (Image.fromarray(gray_ramp()).convert("1"), "PNG"),
    "CMYK": (Image.fromarray(gray_ramp()).convert("RGB").convert("CMYK"), "TIFF"),
    "alpha": (Image.fromarray(gray_ramp()).convert("RGBA"), "PNG"),
    "gray alpha": (Image.fromarray(gray_ramp()).convert("LA"), "PNG"),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_modes_give_the_picture_that_one_sees(kind: str, tmp_path: Path) -> None:
    image, file_format = ODD[kind]
    path = tmp_path / "image"
    path.write_bytes(encoded(image, file_format))
    pixels = read(Source(str(path)))
    assert pixels.shape == (40, 256, 3)
    assert pixels.dtype == np.uint8
    error = np.abs(pixels.mean((0, 2)) - np.arange(256))
    assert error.mean() < (70 if kind == "bilevel" else 3)


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (9, 9), (255, 0, 0, 0))
    path = tmp_path / "clear.png"
    image.save(path)
    assert (read(Source(str(path))) == 255).all()


def test_exif_turns_the_image_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    COFFEE.save(path, exif=exif)
    assert read(Source(str(path))).shape == (600, 400, 3)


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue")]
    path = tmp_path / "moving.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert read(Source(str(path)))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("size", [(1, 1), (20_000, 20)])
def test_extreme_sizes_are_read(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "extreme.png"
    Image.new("RGB", size).save(path)
    assert read(Source(str(path))).shape == (size[1], size[0], 3)


@pytest.mark.parametrize(
    "name", ["new\nline.png", os.fsdecode(b"not-utf8-\xff\xfe.png"), "br[ack]et %20.png", "a::b.png"]
)
def test_any_file_name_works(name: str, tmp_path: Path) -> None:
    save(photo("coins")[:50, :50], tmp_path / name)
    (found,) = expand([tmp_path])
    assert isinstance(found, Source)
    assert read(found).shape == (50, 50, 3)


def test_folders_lists_and_repeats(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "sub/c.webp", "sub/deep/d.tif"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "images" / "notes.md").write_text("no image")
    (tmp_path / "images" / "sub" / "loop").symlink_to(tmp_path / "images")
    (tmp_path / "list.txt").write_text("images/b.png\n\nimages/missing.png\r\nlist.txt\nimages/sub\n")
    found = list(expand([tmp_path / "images", tmp_path / "list.txt", tmp_path / "nothing-here"]))
    names = [Path(item.name).name for item in found if isinstance(item, Source)]
    skipped = {Path(item.name).name: item.reason for item in found if isinstance(item, Skipped)}
    assert names == ["a.JPG", "b.png", "c.webp", "d.tif"]
    assert "came before" in skipped["b.png"]
    assert skipped["missing.png"] == "no such file"
    assert "visited" in skipped["loop"]
    assert "itself" in skipped["list.txt"]
    assert "nothing-here" in skipped


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (tmp_path / "closed").mkdir(mode=0)
    (found,) = expand([tmp_path])
    assert isinstance(found, Skipped)
    assert "ermission" in found.reason


def test_tar_members(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for name in ("x/1.png", "x/1.json", "../../escape.png"):
            info = tarfile.TarInfo(name)
            body = encoded(Image.new("RGB", (5, 4)), "PNG")
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    found = [item for item in expand([tmp_path]) if isinstance(item, Source)]
    assert [item.member for item in found] == ["x/1.png", "../../escape.png"]
    assert all(read(item).shape == (4, 5, 3) for item in found)
    assert not (tmp_path.parent.parent / "escape.png").exists()


@pytest.mark.parametrize("suffix", ["tar", "parquet"])
def test_damaged_containers_are_named(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(b"x" * 2000)
    (found,) = expand([path])
    assert isinstance(found, Skipped)
    assert found.name == str(path)


@pytest.mark.parametrize("nested", [False, True])
def test_parquet_rows(nested: bool, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    images = [encoded(Image.new("RGB", (n, 3)), "PNG") for n in (4, 5, 6)] + [None]
    column = [None if i is None else {"bytes": i, "path": "p"} for i in images] if nested else images
    table = pa.table({"label": [1, 2, 3, 4], "image": column})
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=2)
    found = [item for item in expand([tmp_path / "rows.parquet"]) if isinstance(item, Source)]
    assert [read(item).shape[1] for item in found[:3]] == [4, 5, 6]
    with pytest.raises(ImageError, match=r"rows.parquet::3: .*no image bytes"):
        read(found[3])
