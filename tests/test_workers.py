from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import photo, save

import localmatch as lm
from localmatch.errors import CalibrationError, WorkerError
from localmatch.report import write_report
from localmatch.workers import in_order


def ten() -> int:
    return 10


def times(factor: int, item: int) -> tuple[int, int]:
    time.sleep(0.2 / (item + 1))  # later items are done earlier
    return factor * item, os.getpid()


def refuse(_factor: int, item: int) -> int:
    if item == 2:
        raise CalibrationError("no two")
    return item


def die(_factor: int, item: int) -> int:
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@pytest.mark.parametrize(("count", "workers"), [(0, 2), (1, 2), (7, 1), (2, 3), (7, 3)])
def test_results_come_in_order(count: int, workers: int) -> None:
    results = list(in_order(times, range(count), 10, ten, workers))
    assert [value for value, _ in results] == [10 * item for item in range(count)]
    elsewhere = {process for _, process in results} - {os.getpid()}
    assert len(elsewhere) <= workers
    assert bool(elsewhere) == (workers > 1 and count > 1)


def test_items_are_read_a_few_ahead() -> None:
    read: list[int] = []
    results = in_order(times, (read.append(item) or item for item in range(100)), 10, ten, 2)
    next(results)
    assert len(read) < 10
    results.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_what_went_wrong_elsewhere_goes_wrong_here_after_what_came_before(workers: int) -> None:
    results = in_order(refuse, range(9), 10, ten, workers)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(CalibrationError, match="no two"):
        next(results)


def test_a_killed_worker_is_told_and_what_to_do() -> None:
    with pytest.raises(WorkerError, match="fewer workers"):
        list(in_order(die, range(5), 10, ten, 2))


def test_no_workers_are_refused() -> None:
    with pytest.raises(ValueError, match="1 or more workers, got 0"):
        list(in_order(times, [1], 10, ten, 0))


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\nfrom localmatch.workers import in_order\n"
        "def begin(): return None\n"
        "def work(_, item):\n"
        f"    open(f'{tmp_path}/{{os.getpid()}}.pid', 'w').close()\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    list(in_order(work, range(4), None, begin, 2))\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)])
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(workers) == 2
    parent.kill()
    parent.wait()
    while any(map(_runs, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_runs, workers))


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_report_is_the_same_whatever_the_number_of_workers(index_path: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries"
    queries.mkdir()
    for name in ("brick", "chelsea", "grass"):
        save(photo(name)[:200, :200], queries / f"{name}.png")
    (queries / "broken.png").write_bytes(b"no image")
    index, seen = lm.Index.open(index_path), []
    inputs = [queries, queries / "brick.png"]  # one of them twice
    write_report(index, inputs, tmp_path / "one", alpha=0.05)
    write_report(index, inputs, tmp_path / "two", alpha=0.05, workers=2, progress=seen.append)
    one, two = ((tmp_path / name / "results.jsonl").read_text() for name in ("one", "two"))
    assert one == two
    assert [Path(name).stem for name in seen].count("brick") == 2
    assert len(seen) == 5
    pictures = sorted(path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("*.png"))
    assert pictures == sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.png"))


def test_an_interrupted_report_of_several_workers_goes_on(index_path: Path, tmp_path: Path) -> None:
    inputs = [save(photo(name)[:200, :200], tmp_path / f"{name}.png") for name in ("brick", "chelsea", "grass")]
    index = lm.Index.open(index_path)

    def stop(_name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_report(index, inputs, tmp_path / "r", alpha=0.05, workers=2, progress=stop)
    results = tmp_path / "r" / "results.jsonl"
    first = results.read_text()
    assert len(first.splitlines()) == 1
    write_report(index, inputs, tmp_path / "r", alpha=0.05, workers=2)
    assert results.read_text().startswith(first)
    assert len(results.read_text().splitlines()) == 3


def test_clean_scores_are_the_same_whatever_the_number_of_workers(copied_index: Path, tmp_path: Path) -> None:
    clean = [save(photo(name)[:200, :200], tmp_path / f"{name}.png") for name in ("brick", "gravel", "grass", "coins")]
    index, scores = lm.Index.open(copied_index), []
    for workers in (1, 2):
        index.calibrate(clean, workers=workers)
        scores.append(index.background.scores.tolist())
    assert scores[0] == scores[1]
    assert len(scores[0]) == 4


def test_an_index_is_the_same_whatever_the_number_of_workers(tmp_path: Path) -> None:
    images = [save(photo(name)[:200, :200], tmp_path / f"{name}.png") for name in ("brick", "gravel", "grass", "coins")]
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    flat = save(0 * photo("brick")[:99, :99], tmp_path / "flat.png")
    indexes = [
        lm.Index.build(
            [broken, *images, flat], tmp_path / f"{workers}.lmx", budget=200, shard_images=3, workers=workers
        )
        for workers in (1, 2)
    ]
    one, two = (index.manifest.shards for index in indexes)
    assert [shard.files for shard in one] == [shard.files for shard in two]
    assert [shard.images for shard in one] == [3, 1]
    assert indexes[0].skipped == indexes[1].skipped
    assert [Path(skipped.name).stem for skipped in indexes[1].skipped] == ["broken", "flat"]


def test_what_was_encoded_before_a_worker_was_killed_is_kept(
    train_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: Any) -> Iterator[Any]:
        for number, item in enumerate(in_order(*arguments)):
            if number == 2:
                raise WorkerError("gone")
            yield item

    path = tmp_path / "train.lmx"
    with monkeypatch.context() as patch:
        patch.setattr("localmatch.index.build.in_order", killed)
        with pytest.raises(WorkerError, match="gone"):
            lm.Index.build([train_folder], path, budget=200)
    assert len(lm.Index.open(path).names()) == 2
    resumed = lm.Index.build([train_folder], path, budget=200)
    assert len(resumed.names()) == len(list(train_folder.iterdir()))
