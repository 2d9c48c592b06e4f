"""Options that several commands share, each with one meaning, and what they do to the process."""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import click

from geosr import models
from geosr.cli import events
from geosr.cli.ending import KEY as CANCELLABLE
from geosr.cli.ending import Ending, holding
from geosr.cli.ending import ending as ending
from geosr.engine import Pool, Progress

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Bands(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Band numbers, from 1, with commas between: 4,3,2."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            bands = tuple(int(part) for part in value.split(","))
        except ValueError:
            bands = ()
        if not bands or min(bands) < 1:
            self.fail(f"must be band numbers from 1 with commas between, as 4,3,2, got {value!r}", param, ctx)
        return bands


class Pair(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Two rising numbers with a comma between: 0,4095."""

    name = "MIN,MAX"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            low, high = (float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"must be two numbers with a comma between, as 0,4095, got {value!r}", param, ctx)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            self.fail(f"must be finite and rise, got {value!r}", param, ctx)
        return low, high


class Numbers(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Four numbers with commas between, whole ones or any."""

    def __init__(self, name: str, kind: Callable[[str], float]) -> None:
        self.name, self.kind = name, kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            one, two, three, four = (self.kind(part) for part in value.replace(",", " ").split())
        except ValueError:
            self.fail(f"must be {self.name}, got {value!r}", param, ctx)
        if not all(map(math.isfinite, (one, two, three, four))):
            self.fail(f"must be finite, got {value!r}", param, ctx)
        return one, two, three, four


class Size(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A number of bytes: 800MB, 1.5GiB; a number without a unit is of MB."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", value.strip(), re.IGNORECASE)
        size = 0
        if found:
            power = " KMGT".index(found[2].upper() or "M")
            size = int(float(found[1]) * (1024 if found[3] else 1000) ** power)
        if not size:
            self.fail(f"must be a size, as 800MB or 1.5GiB, got {value!r}", param, ctx)
        return size


def of(options: type, *names: str | tuple[str, ...], **settings: Mapping[str, Any]) -> Decorator:
    """Return a decorator that adds command line options for fields of a job's options; see geosr.choices.

    A name alone gives `--name-of-field`; a tuple gives the field's name and then the option's own spellings.
    `settings` are click's arguments for the field of that name, where they are not those that the field implies.
    """
    declared = {one.name: one for one in fields(options)}

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            name, *spellings = (name,) if isinstance(name, str) else name
            command = click.option(
                *_spellings(declared[name], spellings), **{**_implied(declared[name]), **settings.get(name, {})}
            )(command)
        return command

    return add


def _spellings(declared: Field[Any], spellings: Sequence[str]) -> list[str]:
    if any(one.startswith("--") for one in spellings):
        return [declared.name, *spellings]
    long = "--" + declared.name.replace("_", "-")
    return [declared.name, *spellings, f"{long}/--no-{long[2:]}" if declared.default is True else long]


def _implied(declared: Field[Any]) -> dict[str, Any]:
    """What the declaration of a field says about its command line option, in click's arguments."""
    limits, default, kind = declared.metadata, declared.default, str(declared.type)
    implied: dict[str, Any] = {"help": limits["help"], "default": default}
    if "bool" in kind:
        return implied | ({"is_flag": True} if default is False else {})
    if limits["choices"]:
        names = [str(choice) for choice in limits["choices"] if choice is not None]
        implied["type"] = click.Choice(names)
    elif "int" in kind and "tuple" not in kind:
        implied["type"] = click.IntRange(limits["least"], limits["most"])
    elif "float" in kind and "tuple" not in kind:
        low = limits["above"] if limits["above"] is not None else limits["least"]
        implied["type"] = click.FloatRange(low, limits["most"], min_open=limits["above"] is not None)
    return implied | {"show_default": default is not None}


def _creation(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise click.BadParameter(f"must be NAME=VALUE, got {wrong[0]!r}", ctx, param)
    return {name.upper(): value for name, _, value in pairs}


overwrite: Decorator = click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
restart: Decorator = click.option("--restart", is_flag=True, help="Discard what an interrupted run has left.")
bands: Decorator = click.option("-b", "--bands", type=Bands(), help="Bands to use, in this order, from 1.")
creation: Decorator = click.option(
    "--co",
    "creation",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_creation,
    help="GDAL creation option, as COMPRESS=ZSTD.",
)
DTYPES = click.Choice(["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"])
"""Those of geosr.rasters.profile, which is not loaded for help."""
model: Decorator = click.option(
    "-m",
    "--model",
    default=models.DEFAULT,
    show_default=True,
    help="bicubic, a shipped model, or a .keras, .onnx or .xml (OpenVINO) file.",
)


def computing(command: Callable[..., Any]) -> Callable[..., Any]:
    """How a network is computed; the command gets one geosr.Computing by `computed`."""
    for option in (
        click.option(
            "--trust", is_flag=True, help="Load a SavedModel, or a .keras file with code in it, which can do anything."
        ),
        click.option(
            "--blend",
            is_flag=True,
            help="Mix windows that overlap: for a network that depends on the whole image, for which no halo is exact.",
        ),
        click.option(
            "--halo",
            type=click.IntRange(0),
            help="Input pixels that a result of the network depends on, on each side; seen from it by default.",
        ),
        click.option(
            "--precision",
            type=click.Choice(["float32", "bfloat16", "float16", "auto"]),
            default="float32",
            show_default=True,
            help="What the network computes in; auto is 16 bits where the device is known to be faster in them.",
        ),
        click.option(
            "--backend",
            type=click.Choice(["auto", "tensorflow", "openvino", "onnx"]),
            default="auto",
            show_default=True,
            help="What computes the network; auto is the first that reads the model's file and is installed.",
        ),
    ):
        command = option(command)
    return command


def computed(chosen: dict[str, Any]) -> Any:
    """Takes the options of `computing` out of those that were chosen."""
    from geosr.superresolve.upscalers import Computing

    return Computing(**{name: chosen.pop(name) for name in ("backend", "precision", "halo", "blend", "trust")})


jobs: Decorator = click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    default=min(os.cpu_count() or 1, 4),
    show_default="cores, at most 4",
    help="Threads that read, compute and write at once.",
)


def _address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value not in (None, "local") and not re.fullmatch(
        r"(tcp|tls|ws|wss)://(\[[0-9a-fA-F:]+\]|[^\s:/]+):\d+", value or ""
    ):
        raise click.BadParameter(f"must be local or a scheduler's, as tcp://10.0.0.1:8786, got {value!r}", ctx, param)
    return value


dask: Decorator = click.option(
    "--dask",
    metavar="ADDRESS",
    callback=_address,
    help="Work on a Dask cluster: the address of its scheduler, as tcp://10.0.0.1:8786, or local for JOBS processes "
    "on this machine. Its workers must reach the files.",
)
memory: Decorator = click.option(
    "--memory",
    type=Size(),
    help="Memory that may be needed, as 800MB or 4GiB; tiles are chosen for it.  "
    "[default: half of the machine's, at most 8GiB]",
)
stack_memory: Decorator = click.option(
    "--memory",
    type=Size(),
    help="Memory that may be needed, as 800MB or 4GiB; tiles are chosen for it.  [default: 1.5GiB]",
)
dry_run: Decorator = click.option(
    "--dry-run", is_flag=True, help="Say what will be made and needed here, and do nothing."
)
as_json: Decorator = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
verbose: Decorator = click.option("-v", "--verbose", count=True, help="Say more; twice for every detail.")
quiet: Decorator = click.option("-q", "--quiet", count=True, help="No progress; twice: no warnings either.")
seed: Decorator = click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of everything that is random."
)
scale: Decorator = click.option(
    "-s", "--scale", type=click.IntRange(2, 8), help="Enlargement; the model's own by default, or 2."
)
alpha: Decorator = click.option(
    "--alpha",
    type=click.Choice(["auto", "band", "mask"]),
    default="auto",
    show_default=True,
    help="How to take a band called alpha: as transparency, or as a band (near infrared often is called so).",
)
values: Decorator = click.option(
    "--range", "values", type=Pair(), help="Values that become 0 and 1 for the network, of every band."
)
extension: Decorator = click.option(
    "--ext",
    default="tif",
    show_default=True,
    help="Of the files to take from a folder, without its subfolders; tif takes .tiff too.",
)


def _told_as(ctx: click.Context, param: click.Parameter, value: str) -> None:
    ctx.meta[events.KEY] = value
    if value == "json" and not ctx.resilient_parsing:
        events.begin(str(ctx.info_name))


def _cancelled(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[CANCELLABLE] = value


def supervised(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that another program runs; they are read by `events` and `ending`."""
    told = click.option(
        "--progress",
        type=click.Choice(events.CHOICES),
        default="text",
        show_default=True,
        # Before all others, so that what is wrong with them is told in the way that is asked for.
        is_eager=True,
        expose_value=False,
        callback=_told_as,
        help="json: tell progress, warnings, the result and errors as JSON, an object a line on stdout.",
    )
    cancelled = click.option(
        "--cancel-on-eof",
        is_flag=True,
        expose_value=False,
        callback=_cancelled,
        help="Stop at the next tile when standard input is closed; nothing is left behind, no parts to go on from.",
    )
    return told(cancelled(command))


def pool(dask: str | None, jobs: int) -> AbstractContextManager[Pool]:
    """What the work runs on: so many threads, or the cluster at this address."""
    from geosr import pools

    return pools.dask(dask, workers=jobs) if dask else pools.threads(jobs)


def set_verbosity(verbose: int, quiet: int) -> None:
    """What logging says; warnings by default."""
    level = logging.WARNING + 20 * (quiet > 1) - 10 * verbose
    logging.getLogger().setLevel(max(level, logging.DEBUG))
    # GDAL warns of much that is as it should be, and rasterio tells of every step.
    logging.getLogger("rasterio").setLevel(logging.WARNING if verbose else logging.ERROR)
    # Dask leaves futures that no one asks when Ctrl-C ends its loop; asyncio would tell of them after our last line.
    logging.getLogger("asyncio").setLevel(logging.WARNING if verbose else logging.CRITICAL)
    # Photos have no place on the map; rasterio's own way to say nothing of it does not hold across threads.
    warnings.filterwarnings("ignore", "Dataset has no geotransform")
    if not verbose:
        # numpy's and rasterio's, of values at the ends of what floating point holds.
        warnings.simplefilter("ignore", RuntimeWarning)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if verbose > 1 else "3")  # before TensorFlow is loaded


@contextmanager
def progress(
    label: str,
    unit: str,
    *,
    quiet: bool,
    end: Ending | None = None,
    temporary: Sequence[Path] = (),
    made: Sequence[Path] = (),
    each: float = 0.0,
    each_unit: str = "",
) -> Iterator[Progress | None]:
    """A progress callable that draws a bar on a terminal, else prints a plain line now and then; or writes events.

    `each` is how much of `each_unit` a step makes, for the rate that is shown. The first call says that the job holds
    what is `temporary`, which must not outlive it when it is cancelled, and the folders that were `made` for it, from
    the inside out, which must not when they are empty. None when quiet and without an `end` to tell.
    """
    shown: AbstractContextManager[Progress | None]
    if quiet:
        shown = nullcontext()
    elif events.wanted():
        shown = nullcontext(_events(label, unit, temporary=temporary, made=made))
    elif sys.stderr.isatty():
        shown = _bar(label, unit, each, each_unit)
    else:
        shown = nullcontext(_lines(label, unit, each, each_unit))
    with shown as show:
        yield holding(end, show, temporary=temporary, made=made) if end else show


def _events(label: str, unit: str, *, temporary: Sequence[Path], made: Sequence[Path]) -> Progress:
    held = {"temporary": temporary, "made": made}
    first = {name: [os.fspath(path.absolute()) for path in paths] for name, paths in held.items()}

    def show(done: int, total: int) -> None:
        events.emit("progress", label=label, unit=unit, done=done, total=total, **first)
        first.clear()

    return show


@contextmanager
def _bar(label: str, unit: str, each: float, each_unit: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None, rate="")
        start = _Start()

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, rate=start.rate(done, each, each_unit))

        yield show


def _lines(label: str, unit: str, each: float, each_unit: str) -> Progress:
    start, last = _Start(), [0.0]

    def show(done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - last[0] < 10:
            return
        last[0] = now
        rate = start.rate(done, each, each_unit)
        click.echo(f"{label}: {done} of {total} {unit}{', ' + rate if rate else ''}{start.left(done, total)}", err=True)

    return show


class _Start:
    """When the first step was reported, which a resumed job begins with."""

    def __init__(self) -> None:
        self.at: tuple[float, int] | None = None

    def pace(self, done: int) -> float:
        """Steps a second since the first report."""
        if self.at is None:
            self.at = time.monotonic(), done
        elapsed = time.monotonic() - self.at[0]
        return (done - self.at[1]) / elapsed if elapsed > 0 else 0.0

    def rate(self, done: int, each: float, unit: str) -> str:
        pace = self.pace(done)
        return f"{pace * each:.2f} {unit}/s" if pace and each else ""

    def left(self, done: int, total: int) -> str:
        pace = self.pace(done)
        return f", {(total - done) / pace:.0f} s left" if pace and done < total else ""


def rasters(scenes: Sequence[str], extension: str) -> list[str]:
    """The scenes that are named: files, what is in folders with this extension, and what patterns match."""
    found: list[str] = []
    for scene in scenes:
        if Path(scene).is_dir():
            inside = [str(path) for path in rasters_in(Path(scene), extension)]
            if not inside:
                raise click.ClickException(
                    f"no .{extension.lstrip('.')} files in {scene!r}; name another kind with --ext"
                )
            found += inside
        else:
            # A shell leaves a pattern as it is where nothing matches, or has no patterns; /vsi paths are no files.
            found += _matching(Path(scene)) or [scene]
    return list(dict.fromkeys(found))


def _matching(pattern: Path) -> list[str]:
    """The files that a pattern matches; a file of that very name is the one."""
    if pattern.exists():
        return []
    try:
        return sorted(map(str, Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))))
    except ValueError as error:
        raise click.ClickException(f"{os.fspath(pattern)!r} is no pattern: {error}") from error


def for_json(value: Any) -> Any:
    """The value with None for what is infinite or no number, which JSON has no words for."""
    if isinstance(value, dict):
        return {name: for_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [for_json(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rasters_in(folder: Path, extension: str) -> list[Path]:
    """The files in a folder with this extension, in order of name; `tif` takes .tiff too."""
    suffix = "." + extension.lstrip(".").lower()
    suffixes = (".tif", ".tiff") if suffix == ".tif" else (suffix,)
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
