"""The command line: the library, spoken. Data to stdout with --json, messages and progress to stderr."""

from __future__ import annotations

import json
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from localmatch.api import REFERENCE_BUDGET, Index
from localmatch.console import bar_of_work, console, progress, tell_index, tell_report
from localmatch.errors import LocalmatchError
from localmatch.images import printable
from localmatch.index.shard import MAX_IMAGES
from localmatch.kernels import backends as list_backends
from localmatch.workers import usual_workers

FAILED, FLAGGED = 1, 3
"""Exit codes besides 0 (done) and 2 (usage)."""

app = typer.Typer(
    help="Find the regions that a generated image copied from a training set.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
index_app = typer.Typer(help="Build and keep an index of training images.", no_args_is_help=True)
app.add_typer(index_app, name="index")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON to stdout.")]
Weights = Annotated[Path | None, typer.Option(help="Descriptor weights other than the shipped ones.")]
IndexPath = Annotated[Path, typer.Argument(help="The index folder.", metavar="INDEX")]
Workers = Annotated[
    int,
    typer.Option(
        min=1, default_factory=usual_workers, help="Processes: by default one a core, at most 4. An audit takes 1.3 GB."
    ),
]
Inputs = Annotated[
    list[Path], typer.Argument(help="Images, folders, *.txt lists, .tar and .parquet files.", metavar="INPUT...")
]


@index_app.command("build", epilog="Example: `localmatch index build photos/ -o train.lmx`")
def index_build(
    inputs: Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="The index folder to make.")],
    workers: Workers,
    budget: Annotated[
        int, typer.Option(min=50, help="Patches an image: more find smaller regions.")
    ] = REFERENCE_BUDGET,
    shard_images: Annotated[
        int, typer.Option(min=1, max=MAX_IMAGES, help="Images a shard: bounds memory and what a kill loses.")
    ] = 2048,
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Build an index of training images; run it again to go on after a kill."""
    with progress("indexing", inputs) as advance:
        index = Index.build(
            inputs,
            output,
            budget=budget,
            shard_images=shard_images,
            weights=weights,
            progress=advance,
            workers=workers,
        )
    tell_index(index, as_json)


@index_app.command("add", epilog="Example: `localmatch index add train.lmx more_photos/`")
def index_add(
    index: IndexPath, inputs: Inputs, workers: Workers, weights: Weights = None, as_json: Json = False
) -> None:
    """Add training images; those already there are passed over."""
    opened = Index.open(index, weights)
    with progress("indexing", inputs) as advance:
        opened.add(inputs, progress=advance, workers=workers)
    tell_index(opened, as_json)


@index_app.command("remove", epilog="Example: `localmatch index remove train.lmx photos/artist_7/ --compact`")
def index_remove(
    index: IndexPath,
    paths: Annotated[list[Path], typer.Argument(help="Images or folders, as they were indexed.", metavar="PATH...")],
    compact: Annotated[bool, typer.Option(help="Also erase their descriptors from disk.")] = False,
    weights: Weights = None,
) -> None:
    """Remove images: searches forget them at once."""
    opened = Index.open(index, weights)
    removed = opened.remove(paths)
    if compact:
        opened.compact()
    console.print(f"removed {len(removed)} images; {opened.info()['images']} are left")
    if removed and not compact:
        console.print("their descriptors stay on disk until `localmatch index compact`")
    if not removed:
        console.print("[yellow]nothing matched: give paths as `localmatch index info --names` prints them")
        raise typer.Exit(FAILED)


@index_app.command("compact", epilog="Example: `localmatch index compact train.lmx`")
def index_compact(index: IndexPath, weights: Weights = None) -> None:
    """Erase the descriptors of removed images from disk."""
    opened = Index.open(index, weights)
    opened.compact()
    console.print(f"{index}: {opened.info()['images']} images, {opened.info()['bytes'] / 1e6:.1f} MB")


@index_app.command("info", epilog="Example: `localmatch index info train.lmx --json`")
def index_info(
    index: IndexPath,
    names: Annotated[bool, typer.Option("--names", help="Print the path of every image instead.")] = False,
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Counts, settings and digests of an index."""
    opened = Index.open(index, weights)
    if names:
        for name in opened.names():
            print(json.dumps(name) if as_json else printable(name))
    elif as_json:
        print(json.dumps(opened.info()))
    else:
        for key, value in opened.info().items():
            print(f"{key:18} {value}")


@index_app.command("verify", epilog="Example: `localmatch index verify train.lmx`")
def index_verify(index: IndexPath, weights: Weights = None) -> None:
    """Check digests, counts and graphs of an index."""
    count = Index.open(index, weights).verify()
    console.print(f"{index}: sound, {count} images")


@app.command(epilog="Example: `localmatch calibrate train.lmx clean_photos/`")
def calibrate(
    index: IndexPath, inputs: Inputs, workers: Workers, weights: Weights = None, as_json: Json = False
) -> None:
    """Learn the false-alarm rate from images known not to be in the training set."""
    opened = Index.open(index, weights)
    with progress("calibrating", inputs, passes=2) as advance:
        opened.calibrate(inputs, progress=advance, workers=workers)
    tell_index(opened, as_json)


@app.command(epilog="Example: `localmatch audit generated/ --index train.lmx -o report/ --fail-on-flag`")
def audit(
    generated: Inputs,
    index: Annotated[Path, typer.Option(help="The index folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The report folder to make.")],
    workers: Workers,
    alpha: Annotated[float, typer.Option(help="False-alarm rate at which an image is flagged.")] = 0.01,
    fail_on_flag: Annotated[bool, typer.Option(help="Exit with 3 when an image is flagged.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a report of other settings.")] = False,
    weights: Weights = None,
    as_json: Json = False,
) -> None:
    """Audit generated images and write the report; run it again to go on after a kill."""
    from localmatch.report import write_report

    opened = Index.open(index, weights)
    with progress("auditing", generated) as advance:
        summary = write_report(
            opened,
            generated,
            output,
            alpha=alpha,
            overwrite=overwrite,
            progress=advance,
            workers=workers,
        )
    if as_json:
        print(json.dumps(summary))
    tell_report(summary, output)
    if fail_on_flag and summary["flagged"]:
        raise typer.Exit(FLAGGED)


@app.command(epilog="Example: `localmatch demo -o demo/`")
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make.")] = Path("localmatch-demo"),
) -> None:
    """Build, calibrate and audit on scikit-image's bundled photos, with copies planted in them."""
    from localmatch.demo import run

    with progress("demo", None) as advance:
        summary = run(output, advance)
    tell_report(summary, output / "report")


@app.command(epilog="Example: `localmatch backends --json`")
def backends(as_json: Json = False) -> None:
    """Which kernel backends are live, and why the others are not."""
    found = list_backends()
    if as_json:
        print(json.dumps([{"name": b.name, "live": b.live, "reason": b.reason, "detail": b.detail} for b in found]))
    else:
        for one in found:
            print(f"{one.name:6} {'live' if one.live else 'not live: ' + str(one.reason)}  ({one.detail})")


@app.command(
    "train-descriptor", epilog="Example: `localmatch train-descriptor photos/ -o mine.safetensors --steps 5000`"
)
def train_descriptor(
    inputs: Inputs,
    output: Annotated[Path, typer.Option("--output", "-o", help="The safetensors file to write.")],
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = 7000,
    seed: Annotated[int, typer.Option(help="Of all random draws.")] = 0,
    learning_rate: Annotated[float, typer.Option(min=0, help="The highest; half of it is enough with --start.")] = 2e-3,
    start: Annotated[Path | None, typer.Option(help="Weights to begin with; without, random ones.")] = None,
    hold_out_every: Annotated[int, typer.Option(min=0, help="Leave out every n-th image, sorted by path.")] = 0,
    windows: Annotated[int, typer.Option(min=2, help="Training windows a step.")] = 32,
    device: Annotated[str, typer.Option(help="cuda, where PyTorch has a GPU.")] = "cpu",
    workers: Annotated[int, typer.Option(min=1, help="Processes that read images.")] = 1,
    bfloat16: Annotated[bool, typer.Option("--bfloat16", help="Faster where the processor has it.")] = False,
) -> None:
    """Train descriptor weights; run it again to go on after a kill."""
    from localmatch.descriptor.train import Recipe, train
    from localmatch.images import Source, expand

    found = [Path(item.name) for item in expand(inputs) if isinstance(item, Source) and item.member is None]
    if hold_out_every:
        found = [path for number, path in enumerate(sorted(found)) if number % hold_out_every]
    if not found:
        raise LocalmatchError(f"no images in {', '.join(map(str, inputs))}: name image files or folders with some.")
    with bar_of_work() as bar:
        task = bar.add_task("training", total=steps)

        def report(step: int, loss: float, rank1: float) -> None:
            bar.update(task, completed=step, description=f"training, loss {loss:.3f}, rank-1 {rank1:.3f}")

        recipe = Recipe(steps=steps, windows=windows, learning_rate=learning_rate, seed=seed, bfloat16=bfloat16)
        train(found, output, recipe, report, start, device, workers)
    console.print(f"wrote {output} and {output.with_suffix('.jsonl')}")


def main() -> None:
    """Run the command line; every expected error is one line and exit code 1."""
    warnings.filterwarnings("ignore", module="PIL")
    # A polite kill ends as Ctrl-C does: what was done is written.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        app()
    except (LocalmatchError, OSError) as error:
        console.print("error:", style="red", end=" ")
        console.print(printable(str(error)), highlight=False, markup=False)
        sys.exit(FAILED)
