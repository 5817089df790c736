"""The index on disk: what is written is found again, whatever happens in between."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import TRAIN, photo, save
from safetensors.numpy import load_file, save_file

import localmatch as lm
from localmatch.errors import CorruptIndexError, IncompatibleIndexError, IndexError_
from localmatch.index import graph
from localmatch.index.graph import Graph, GraphBuilder, check_graph
from localmatch.index.lists import Lists, write_lists
from localmatch.index.store import file_digest, read_manifest


def names(index: lm.Index) -> list[str]:
    return [Path(name).stem for name in index.names()]


def small_images(folder: Path, count: int) -> Path:
    folder.mkdir()
    image = photo("coffee")
    for number in range(count):
        save(image[7 * number : 7 * number + 120, 9 * number : 9 * number + 160], folder / f"{number:02d}.png")
    return folder


def test_build_holds_every_image_once(index: lm.Index) -> None:
    assert names(index) == sorted(TRAIN)
    info = index.info()
    assert info["images"] == len(TRAIN)
    assert info["calibrated"]
    assert 0 < info["descriptors"] <= info["patches"] <= len(TRAIN) * info["budget"]
    assert index.verify() == len(TRAIN)


def test_the_same_images_give_the_same_bytes(index: lm.Index, train_folder: Path, tmp_path: Path) -> None:
    again = lm.Index.build([train_folder], tmp_path / "again.lmx")
    assert [part.files for part in again.manifest.shards] == [part.files for part in index.manifest.shards]


def test_add_skips_what_is_there_and_makes_calibration_stale(
    copied_index: Path, train_folder: Path, tmp_path: Path
) -> None:
    extra = small_images(tmp_path / "extra", 2)
    index = lm.Index.open(copied_index)
    index.add([train_folder, extra])
    assert names(index) == [*sorted(TRAIN), "00", "01"]
    assert [s.reason for s in index.skipped] == ["already in the index"] * len(TRAIN)
    assert index.info()["stale_background"]
    assert index.audit(photo("coffee")).p_value is None


def test_removed_images_are_not_found_and_compact_erases_them(copied_index: Path, train_folder: Path) -> None:
    query = photo("coffee")[100:350, 150:450]
    index = lm.Index.open(copied_index)
    assert Path(index.audit(query, 0.05).regions[0].reference).stem == "coffee"
    assert index.remove([train_folder / "coffee.png"]) == [str(train_folder / "coffee.png")]
    assert index.remove([train_folder / "coffee.png", "/not/there"]) == []
    for _ in range(2):
        index = lm.Index.open(copied_index)
        assert "coffee" not in names(index)
        assert not index.audit(query, 0.05).regions
        assert index.audit(query, 0.05).p_value == 1.0
        before = index.info()["bytes"]
        index.compact()
    assert index.info()["removed"] == 0
    assert index.info()["bytes"] < before or before == index.info()["bytes"]
    assert Path(index.audit(photo("chelsea")[50:250, 100:350], 0.05).regions[0].reference).stem == "chelsea"
    assert sum(1 for _ in (copied_index / "shards").iterdir()) == 1


def test_duplicates_share_a_row_and_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "twins"
    folder.mkdir()
    for name in ("a", "b", "c"):
        save(photo("coffee"), folder / f"{name}.png")
    index = lm.Index.build([folder], tmp_path / "twins.lmx")
    info = index.info()
    assert info["patches"] == 3 * info["descriptors"]
    region = index.audit(photo("coffee")[100:350, 150:450]).regions[0]
    assert region.references_sharing == 3
    assert Path(region.reference).stem in "abc"


def test_broken_images_are_named_and_the_rest_is_built(train_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copy(train_folder / "coffee.png", folder)
    (folder / "zero.jpg").write_bytes(b"")
    save(np.zeros((1, 1, 3), np.uint8), folder / "dot.png")
    save(np.zeros((20, 4000, 3), np.uint8), folder / "line.png")
    index = lm.Index.build([folder, tmp_path / "missing"], tmp_path / "i.lmx")
    assert names(index) == ["coffee"]
    assert {Path(s.name).name for s in index.skipped} == {"zero.jpg", "dot.png", "line.png", "missing"}
    assert all(s.reason for s in index.skipped)


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    index = lm.Index.build([tmp_path / "none"], tmp_path / "i.lmx")
    assert index.names() == []
    assert lm.Index.open(tmp_path / "i.lmx").audit(photo("coffee")).regions == ()


def test_what_is_not_an_index_is_refused(tmp_path: Path, index_path: Path) -> None:
    with pytest.raises(IndexError_, match="localmatch index build"):
        lm.Index.open(tmp_path / "nothing")
    with pytest.raises(IndexError_, match="index add"):
        lm.Index.build([], index_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(IndexError_, match="not empty"):
        lm.Index.build([], tmp_path)
    assert (tmp_path / "file").read_text() == "mine"


BUILD = """
import sys
from pathlib import Path
import localmatch as lm
lm.Index.build([sys.argv[1]], sys.argv[2], shard_images=3, budget=100, progress=lambda n: print(n, flush=True))
"""


def test_kill_9_in_mid_build_loses_no_finished_shard(tmp_path: Path) -> None:
    folder = small_images(tmp_path / "images", 14)
    path = tmp_path / "killed.lmx"
    command = [sys.executable, "-c", BUILD, str(folder), str(path)]
    for delay in (0.0, 0.05, 0.15):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(4):  # at least one shard was begun
            process.stdout.readline()
        time.sleep(delay)
        before = len(read_manifest(path).shards)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if not read_manifest(path).complete:
            assert len(lm.Index.open(path).names()) >= 3 * before
    done = (
        lm.Index.build([folder], path, shard_images=3, budget=100)
        if not read_manifest(path).complete
        else lm.Index.open(path)
    )
    assert names(done) == [f"{n:02d}" for n in range(14)]
    assert {p.name for p in (path / "shards").iterdir()} == {part.name for part in done.manifest.shards}


def test_ctrl_c_keeps_the_shard_in_progress(tmp_path: Path) -> None:
    folder, seen = small_images(tmp_path / "images", 6), []

    def stop(name: str) -> None:
        seen.append(name)
        if len(seen) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lm.Index.build([folder], tmp_path / "i.lmx", progress=stop)
    assert len(lm.Index.open(tmp_path / "i.lmx").names()) == 4
    assert len(lm.Index.build([folder], tmp_path / "i.lmx").names()) == 6


def test_two_writers_do_not_meet(copied_index: Path, tmp_path: Path) -> None:
    extra = small_images(tmp_path / "extra", 1)
    index = lm.Index.open(copied_index)

    def second(_: str) -> None:
        with pytest.raises(IndexError_, match="another process"):
            lm.Index.open(copied_index).remove(["/x"])

    index.add([extra], progress=second)


def test_a_flipped_byte_in_any_file_is_refused(copied_index: Path) -> None:
    files = [path for path in copied_index.rglob("*") if path.is_file() and path.stat().st_size]
    assert len(files) >= 7
    rng = np.random.default_rng(0)
    for path in files:
        original = path.read_bytes()
        for at in {0, len(original) - 1, *rng.integers(0, len(original), 3).tolist()}:
            damaged = bytearray(original)
            damaged[at] ^= 1 << int(rng.integers(8))
            path.write_bytes(bytes(damaged))
            with pytest.raises(IndexError_, match=str(copied_index)):
                lm.Index.open(copied_index)
        path.write_bytes(original[: len(original) // 2])
        with pytest.raises(IndexError_):
            lm.Index.open(copied_index)
        path.write_bytes(original)
    assert lm.Index.open(copied_index).verify() == len(TRAIN)


def forge(folder: Path, change) -> None:
    """Change the manifest as someone would who can compute digests."""
    from localmatch.index.store import _digest

    record = json.loads((folder / "manifest.json").read_text())
    record.pop("digest")
    change(record)
    (folder / "manifest.json").write_text(json.dumps(record | {"digest": _digest(record)}))


def refused_though_listed(folder: Path, path: Path) -> None:
    """Whether an index is refused though its manifest has the digest of a changed file of its first shard."""
    record = [path.stat().st_size, file_digest(path)]
    forge(folder, lambda r: r["shards"][0]["files"].update({path.name: record}))
    with pytest.raises(CorruptIndexError, match=str(folder)):
        lm.Index.open(folder)


HOSTILE = {
    "path traversal in a part": lambda r: r["shards"][0].update(name="../../etc"),
    "path traversal in a file": lambda r: r["shards"][0]["files"].update({"../../../etc/passwd": [1, "0"]}),
    "absolute file": lambda r: r["shards"][0]["files"].update({"/etc/passwd": [1, "0"]}),
    "more images": lambda r: r["shards"][0].update(images=7),
    "fewer descriptors": lambda r: r["shards"][0].update(descriptors=[5]),
    "no descriptors": lambda r: r["shards"][0].update(descriptors=[]),
    "negative count": lambda r: r["shards"][0].update(places=-1),
    "huge count": lambda r: r["shards"][0].update(images=1 << 60),
    "text for a count": lambda r: r["shards"][0].update(images="6"),
    "removed out of range": lambda r: r["shards"][0].update(removed=[99]),
    "missing file": lambda r: r["shards"][0]["files"].pop("descriptors.hnsw"),
    "no shards": lambda r: r.pop("shards"),
    "a list": lambda r: r.update(background=[1]),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_manifests_are_refused(kind: str, copied_index: Path) -> None:
    forge(copied_index, HOSTILE[kind])
    with pytest.raises(CorruptIndexError, match=str(copied_index)):
        lm.Index.open(copied_index)


DAMAGED_PLACES = {
    "more places than there are": lambda a: a["count"].__setitem__(0, 60),
    "a place of no image": lambda a: a["image"].__setitem__(-1, len(TRAIN)),
    "a pixel beyond the image": lambda a: a["pixel"].__setitem__((0, 1), 65535),
    "a level that no image has": lambda a: a["level"].__setitem__(0, -128),
    "positions of another type": lambda a: a.update(pixel=a["pixel"].astype(np.int32)),
    "no counts": lambda a: a.pop("count"),
}


@pytest.mark.parametrize("kind", DAMAGED_PLACES)
def test_hostile_places_are_refused(kind: str, copied_index: Path) -> None:
    path = next(copied_index.glob("shards/*/patches.safetensors"))
    arrays = load_file(path)
    DAMAGED_PLACES[kind](arrays)
    save_file(arrays, path)
    refused_though_listed(copied_index, path)


@pytest.mark.parametrize("width", [0, -5, 10**30])
def test_hostile_sizes_are_refused(width: int, copied_index: Path) -> None:
    path = next(copied_index.glob("shards/*/images.json"))
    images = json.loads(path.read_text())
    images[0]["width"] = width
    path.write_text(json.dumps(images))
    refused_though_listed(copied_index, path)


def test_other_format_and_other_weights_are_refused(copied_index: Path, tmp_path: Path) -> None:
    shutil.copytree(copied_index, tmp_path / "other.lmx")
    forge(tmp_path / "other.lmx", lambda r: r.update(descriptor="0" * 64))
    with pytest.raises(IncompatibleIndexError, match="--weights"):
        lm.Index.open(tmp_path / "other.lmx")
    forge(copied_index, lambda r: r.update(format=99))
    with pytest.raises(IncompatibleIndexError, match="format 99"):
        lm.Index.open(copied_index)


def test_a_link_out_of_the_index_is_not_followed(copied_index: Path, tmp_path: Path) -> None:
    rows = next(copied_index.glob("shards/*/descriptors-rows.npy"))
    shutil.move(rows, tmp_path / "rows.npy")
    os.symlink(tmp_path / "rows.npy", rows)
    with pytest.raises(CorruptIndexError, match="link"):
        lm.Index.open(copied_index)


def descriptors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-127, 128, (count, 64)).astype(np.int8)


@pytest.mark.parametrize("whole", [0, graph.WHOLE])
@pytest.mark.parametrize("count", [0, 1, 2, 17, 500])
def test_graph_finds_its_own(count: int, whole: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "WHOLE", whole)
    builder, wanted = GraphBuilder(), descriptors(count)
    builder.add(wanted[: count // 2])
    builder.add(wanted[count // 2 :])
    builder.save(tmp_path / "g")
    opened = Graph(tmp_path / "g", count)
    vertex, similarity = opened.search(wanted, 3)
    assert vertex.shape == similarity.shape == (count, 3)
    assert (vertex[:, 0] == np.arange(count)).mean() > 0.95 if count else True
    if count:
        exact = (wanted.astype(np.int32) ** 2).sum(1)
        own = vertex[:, 0] == np.arange(count)
        assert np.array_equal(similarity[own, 0], exact[own])
    if count == 1:
        assert vertex[0].tolist() == [0, -1, -1]
    assert opened.search(wanted[:0], 3)[0].shape == (0, 3)


def test_small_graphs_are_searched_whole(tmp_path: Path) -> None:
    vectors, queries = descriptors(300), descriptors(40, seed=1)
    shuffled = np.random.default_rng(2).permutation(300)
    builder = GraphBuilder()
    builder.add(vectors[shuffled])
    builder.save(tmp_path / "g")
    vertex, similarity = Graph(tmp_path / "g", 300).search(queries, 9)
    products = queries.astype(np.int32) @ vectors[shuffled].astype(np.int32).T
    assert np.array_equal(vertex, np.argsort(-products, axis=1, kind="stable")[:, :9])
    assert np.array_equal(similarity, np.take_along_axis(products, vertex, 1))


@pytest.mark.parametrize("count", [0, 1, 2, 127, 128, 129, 700])
def test_lists_find_what_is_nearest_and_keep_all(count: int, tmp_path: Path) -> None:
    wanted = descriptors(count)
    order = write_lists(tmp_path, "some", [wanted[: count // 3], wanted[count // 3 :]])
    lists = Lists(tmp_path, "some", count)
    assert np.array_equal(lists.rows, wanted[order])
    assert np.array_equal(np.sort(order), np.arange(count))
    queries = np.concatenate([wanted, descriptors(50, seed=1)])
    row, similarity = lists.search(queries, 3, 64)
    # So few lists are read all: the result is exact.
    products = queries.astype(np.int32) @ lists.rows.astype(np.int32).T
    assert np.array_equal(similarity[:, : min(3, count)], -np.sort(-products, axis=1)[:, :3])
    assert (row[:, min(3, count) :] == -1).all()
    assert np.array_equal(np.take_along_axis(products, row[:, : min(3, count)], 1), similarity[:, : min(3, count)])
    assert lists.search(queries[:0], 3, 64)[0].shape == (0, 3)


def test_lists_of_equal_descriptors(tmp_path: Path) -> None:
    """All centroids are one, which no graph would stand."""
    write_lists(tmp_path, "some", [np.repeat(descriptors(1), 1000, axis=0)])
    row, _ = Lists(tmp_path, "some", 1000).search(descriptors(1), 4, 64)
    assert row.tolist() == [[0, 1, 2, 3]]


def test_the_same_descriptors_give_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for threads in ("1", "2"):
        (tmp_path / threads).mkdir()
        monkeypatch.setenv("LOCALMATCH_THREADS", threads)
        write_lists(tmp_path / threads, "some", [descriptors(900)])
    for file in (tmp_path / "1").iterdir():
        assert file.read_bytes() == (tmp_path / "2" / file.name).read_bytes()


DAMAGED_LISTS = {
    "rows of another shape": ("rows", np.zeros((700, 32), np.int8)),
    "rows of another type": ("rows", np.zeros((700, 64), np.uint8)),
    "rows by column": ("rows", np.zeros((700, 64), np.int8, order="F")),
    "an object": ("rows", np.array([{}] * 700, object)),
    "offsets that fall": ("offsets", np.array([0, 300, 200, 500, 600, 650, 700])),
    "offsets over the end": ("offsets", np.array([0, 100, 200, 300, 400, 500, 701])),
    "offsets of another type": ("offsets", np.array([0.0, 100, 200, 300, 400, 500, 700])),
    "no offsets": ("offsets", np.zeros(0, np.int64)),
    "more lists than centroids": ("offsets", np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 700])),
}


@pytest.mark.parametrize("kind", DAMAGED_LISTS)
def test_lists_that_do_not_fit_are_refused(kind: str, tmp_path: Path) -> None:
    write_lists(tmp_path, "some", [descriptors(700)])
    name, value = DAMAGED_LISTS[kind]
    np.save(tmp_path / f"some-{name}.npy", value)
    with pytest.raises(CorruptIndexError, match=str(tmp_path)):
        Lists(tmp_path, "some", 700)


@pytest.mark.parametrize("keep", [0, 5, 100, 5000])
def test_cut_lists_are_refused(keep: int, tmp_path: Path) -> None:
    write_lists(tmp_path, "some", [descriptors(700)])
    path = tmp_path / "some-rows.npy"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorruptIndexError, match="some-rows"):
        Lists(tmp_path, "some", 700)


def test_damaged_graphs_never_reach_hnswlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests guard against accidents; the structural check guards against whoever recomputes them."""
    monkeypatch.setattr(graph, "WHOLE", 0)
    builder = GraphBuilder()
    builder.add(descriptors(300))
    builder.save(tmp_path / "g")
    original, rng, refused = (tmp_path / "g").read_bytes(), np.random.default_rng(1), 0
    for trial in range(300):
        damaged = bytearray(original)
        where = rng.integers(0, 96 if trial % 3 == 0 else len(original), 4)
        for at in where:
            damaged[at] = int(rng.integers(256))
        (tmp_path / "g").write_bytes(bytes(damaged))
        try:
            damaged_graph = Graph(tmp_path / "g", 300)
        except CorruptIndexError:
            refused += 1
            continue
        vertex, _ = damaged_graph.search(descriptors(20, seed=2), 8)
        assert vertex.max() < 300
    assert refused > 150


@pytest.mark.parametrize("size", [0, 1, 95, 96, 5000])
def test_cut_graphs_are_refused(size: int, tmp_path: Path) -> None:
    builder = GraphBuilder()
    builder.add(descriptors(300))
    builder.save(tmp_path / "g")
    (tmp_path / "cut").write_bytes((tmp_path / "g").read_bytes()[:size])
    with pytest.raises(CorruptIndexError):
        check_graph(tmp_path / "cut", 300)
