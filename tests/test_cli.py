import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import photo, save
from typer.testing import CliRunner

import localmatch as lm
from localmatch.cli import app
from localmatch.report.results import decode_mask

COMMANDS = [
    ["index", "build"], ["index", "add"], ["index", "remove"], ["index", "compact"], ["index", "info"],
    ["index", "verify"], ["calibrate"], ["audit"], ["demo"], ["backends"], ["train-descriptor"],
]  # fmt: skip


def run(
    *arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from localmatch.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=os.environ | (env or {}), check=False)


@pytest.fixture(scope="session")
def queries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("queries")
    image = photo("brick").copy()
    image[200:380, 150:350] = photo("coffee")[60:240, 170:370]
    save(image, folder / "copied.png")
    save(photo("gravel"), folder / "clean<b>.png")
    (folder / "broken.png").write_bytes(b"no")
    return folder


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output
    assert " ".join(command) in Path("README.md").read_text()


def test_the_whole_way(train_folder: Path, clean_folder: Path, queries: Path, tmp_path: Path) -> None:
    index = tmp_path / "train.lmx"
    built = run("index", "build", train_folder, "-o", index, "--json")
    assert built.returncode == 0, built.stderr
    assert json.loads(built.stdout)["images"] == 6
    uncalibrated = run("audit", queries, "--index", index, "-o", tmp_path / "first", "--fail-on-flag")
    assert uncalibrated.returncode == 0
    assert "localmatch calibrate" in uncalibrated.stderr
    assert "Not calibrated" in (tmp_path / "first" / "index.html").read_text()

    calibrated = run("calibrate", index, clean_folder)
    assert calibrated.returncode == 0, calibrated.stderr
    assert "24 clean images" in calibrated.stderr
    refused = run("audit", queries, "--index", index, "-o", tmp_path / "report")
    assert refused.returncode == 1
    assert "at least 99 clean images" in refused.stderr

    report = tmp_path / "report"
    audited = run("audit", queries, "--index", index, "-o", report, "--alpha", 0.05, "--fail-on-flag", "--json")
    assert audited.returncode == 3, audited.stderr
    summary = json.loads(audited.stdout)
    assert (summary["queries"], summary["errors"], summary["flagged"]) == (2, 1, 1)
    records = {Path(r["query"]).name: r for r in map(json.loads, (report / "results.jsonl").read_text().splitlines())}
    assert "error" in records["broken.png"]
    region = records["copied.png"]["regions"][0]
    assert Path(region["reference"]).name == "coffee.png"
    mask = decode_mask(region["mask"])
    assert mask.shape == (512, 512)
    assert abs(mask.mean() - region["area_fraction"]) < 1e-9
    page = (report / "index.html").read_text()
    assert "clean&lt;b&gt;.png" in page
    assert "http" not in page.replace("http-equiv", "")
    for line in page.split('src="')[1:]:
        assert (report / line.split('"')[0]).exists()

    again = run("audit", queries, "--index", index, "-o", report, "--alpha", 0.05)
    assert again.returncode == 0
    other = run("audit", queries, "--index", index, "-o", report, "--alpha", 0.2)
    assert other.returncode == 1
    assert "--overwrite" in other.stderr


def test_a_killed_audit_goes_on(index_path: Path, queries: Path, tmp_path: Path) -> None:
    from localmatch.report import write_report

    index, seen = lm.Index.open(index_path), []

    def stop(name: str) -> None:
        seen.append(name)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_report(index, [queries], tmp_path / "r", alpha=0.05, progress=stop)
    results = tmp_path / "r" / "results.jsonl"
    first = results.read_text()
    results.write_text(first + '{"query": "cut in the mid')
    write_report(index, [queries], tmp_path / "r", alpha=0.05)
    text = results.read_text()
    assert text.startswith(first)
    assert len([json.loads(line) for line in text.splitlines()]) == 3


def test_index_commands(copied_index: Path, train_folder: Path, tmp_path: Path) -> None:
    assert run("index", "verify", copied_index).returncode == 0
    extra = save(photo("moon"), tmp_path / "moon.png")
    assert run("index", "add", copied_index, extra).returncode == 0
    listed = run("index", "info", copied_index, "--names").stdout.splitlines()
    assert listed[-1] == str(extra)
    removed = run("index", "remove", copied_index, train_folder / "coffee.png", "--compact")
    assert removed.returncode == 0
    info = json.loads(run("index", "info", copied_index, "--json").stdout)
    assert (info["images"], info["removed"]) == (6, 0)
    assert run("index", "remove", copied_index, "nothing").returncode == 1


def test_errors_are_one_line_and_tell_what_to_do(tmp_path: Path) -> None:
    failed = run("index", "info", tmp_path)
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "localmatch index build" in failed.stderr.replace("\n", " ")
    assert "Traceback" not in failed.stderr
    assert run("index", "build").returncode == 2
    assert run("nonsense").returncode == 2


def test_backends_are_listed() -> None:
    listed = {b["name"]: b for b in json.loads(run("backends", "--json").stdout)}
    assert listed["torch"]["live"]
    assert listed["cpp"]["live"] or listed["cpp"]["reason"]


def test_sigterm_ends_like_ctrl_c(tmp_path: Path, train_folder: Path) -> None:
    path = tmp_path / "i.lmx"
    command = [sys.executable, "-u", "-c", "from localmatch.cli import main; main()"]
    process = subprocess.Popen(
        [*command, "index", "build", str(train_folder), str(train_folder), "-o", str(path), "--shard-images", "2"],
        stderr=subprocess.PIPE,
    )
    while not list(path.glob("shards/*/images.json")) and process.poll() is None:
        pass
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert len(lm.Index.open(path).names()) >= 1
