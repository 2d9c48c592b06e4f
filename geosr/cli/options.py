"""Options that several commands share, each with one meaning, and those that are made from a job's own options."""

from __future__ import annotations

import logging
import math
import os
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from geosr import remote
from geosr.choices import exact_number
from geosr.cli import events
from geosr.cli.echo import echo
from geosr.cli.ending import CANCELLABLE
from geosr.cli.ending import ending as ending
from geosr.files import files_in, json_text
from geosr.rasters.sensors import NATURAL, SENSORS

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
T = TypeVar("T")


class Numbers(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Numbers with commas between, whole ones or any, a fixed count of them or at least one."""

    def __init__(self, name: str, kind: Callable[[str], float], *, example: str = "") -> None:
        self.name, self.kind, self.example = name, kind, example or name
        self.count = 0 if name.endswith("...") else name.count(",") + 1

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(self.kind(part) for part in value.replace(",", " ").split())
        except ValueError:
            numbers = ()
        if not numbers or len(numbers) != (self.count or len(numbers)):
            self.fail(f"must be {self.example}, got {value!r}", param, ctx)
        if not all(map(math.isfinite, numbers)):
            self.fail(f"must be finite, got {value!r}", param, ctx)
        return numbers


class Bands(Numbers):
    """Bands by number, from 1, or by name, with commas between: 4,3,2 or B4,green,Blue band."""

    def __init__(self) -> None:
        super().__init__("BAND,BAND,...", int, example="numbers from 1 or names of bands with commas between, as 4,3,2")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple) or not re.search(r"[^\d\s,+.-]", value):
            bands = super().convert(value, param, ctx)
            if min((band for band in bands if not isinstance(band, str)), default=1) < 1:
                self.fail(f"must be {self.example}, got {value!r}", param, ctx)
            return bands
        names = tuple(part.strip() for part in value.split(","))
        if not all(names):
            self.fail(f"must be {self.example}, got {value!r}", param, ctx)
        return tuple(int(name) if name.isdecimal() else name for name in names)


class Pair(Numbers):
    """Two rising numbers with a comma between: 0,4095."""

    def __init__(self) -> None:
        super().__init__("MIN,MAX", float, example="two numbers with a comma between, as 0,4095")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        low, high = super().convert(value, param, ctx)
        if not low < high:
            self.fail(f"must be finite and rise, got {value!r}", param, ctx)
        return low, high


class Size(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A number of bytes: 800MB, 1.5GiB; a number without a unit is of MB."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", value.strip(), re.IGNORECASE)
        power = " KMGT".index(match[2].upper() or "M") if match else 0
        size = int(float(match[1]) * (1024 if match[3] else 1000) ** power) if match else 0
        if not size:
            self.fail(f"must be a size, as 800MB or 1.5GiB, got {value!r}", param, ctx)
        return size


def _creation(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise click.BadParameter(f"must be NAME=VALUE, got {wrong[0]!r}", ctx, param)
    return {name.upper(): value for name, _, value in pairs}


class Noise(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A standard deviation in parts of the range, or auto."""

    name = "auto|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            level = value if value == "auto" else float(value)
        except ValueError:
            level = None
        if level != "auto" and not (isinstance(level, float) and 0 <= level < 1):
            self.fail(f"must be auto, or from 0 to below 1, parts of the range, got {value!r}", param, ctx)
        return level


class Number(click.types.FloatParamType):
    """A number, exact where it is whole."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        return exact_number(value) if isinstance(value, str) else number


class Model(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """The name of a model, or a file."""

    name = "text"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from geosr.models import cards

        names = ["bicubic", *dict.fromkeys(card.name for card in cards.shipped())]
        matches = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return matches or [CompletionItem(incomplete, type="file")]


KINDS: dict[str, dict[str, Any]] = {
    "bands": {"type": Bands()},
    "bounds": {"type": Numbers("LEFT,BOTTOM,RIGHT,TOP", float)},
    "creation": {"multiple": True, "metavar": "NAME=VALUE", "callback": _creation, "default": ()},
    "memory": {"type": Size()},
    "mtf": {"type": Numbers("N,N,...", float)},
    "nodata": {"type": Number()},
    "nodata_in": {"type": Number()},
    "noise": {"type": Noise()},
    "sensor": {"type": click.Choice((NATURAL, *SENSORS)), "metavar": "SENSOR"},
    "range": {"type": Pair()},
    "scale": {"type": click.IntRange(2, 8)},
    "tile": {"type": click.IntRange(16)},
    "window": {"type": Numbers("COL,ROW,WIDTH,HEIGHT", int)},
}
"""Click's arguments for fields of jobs' options whose declaration says too little."""


def of(options: type, *names: str | tuple[str, ...], **settings: dict[str, Any]) -> Decorator:
    """Return a decorator that adds command line options for fields of a job's options; see geosr.choices.

    A name alone gives `--name-of-field`; a tuple gives the field's name and then the option's own spellings.
    `settings` are click's arguments for the field of that name, where they are not those that the field implies.
    """
    declared = {item.name: item for item in fields(options)}

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for spelled in reversed(names):
            name, *spellings = (spelled,) if isinstance(spelled, str) else spelled
            arguments = {**_implied(declared[name]), **KINDS.get(name, {}), **settings.get(name, {})}
            command = click.option(*_spellings(declared[name], spellings), **arguments)(command)
        return command

    return add


def taken(options: type[T], values: dict[str, Any], **more: Any) -> T:
    """Return a job's options from a command's values, which are removed from them."""
    names = [item.name for item in fields(options) if item.name in values]  # type: ignore[arg-type]
    return options(**{name: values.pop(name) for name in names}, **more)


def _spellings(declared: Field[Any], spellings: Sequence[str]) -> list[str]:
    if any(spelling.startswith("--") for spelling in spellings):
        return [declared.name, *spellings]
    long = "--" + declared.name.replace("_", "-")
    switch = "bool" in str(declared.type) and declared.default is not False
    return [declared.name, *spellings, f"{long}/--no-{long[2:]}" if switch else long]


def _implied(declared: Field[Any]) -> dict[str, Any]:
    """Return click's arguments that follow from the declaration of a field."""
    limits, default, kind = declared.metadata, declared.default, str(declared.type)
    implied: dict[str, Any] = {"help": limits["help"], "default": default}
    if "bool" in kind:
        return implied | ({"is_flag": True} if default is False else {})
    least, most, above = limits["least"], limits["most"], limits["above"]
    if limits["choices"]:
        implied["type"] = click.Choice([str(choice) for choice in limits["choices"] if choice is not None])
    elif "tuple" not in kind and ("int" in kind or "float" in kind):
        number = click.IntRange if "int" in kind else click.FloatRange
        unlimited = (least, most, above) == (None, None, None)
        low, opened = (least, False) if above is None else (above, True)
        implied["type"] = (int if "int" in kind else float) if unlimited else number(low, most, min_open=opened)
    return implied | {"show_default": default is not None}


overwrite: Decorator = click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
restart: Decorator = click.option("--restart", is_flag=True, help="Discard what an interrupted run has left.")
jobs: Decorator = click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    default=min(os.cpu_count() or 1, 4),
    show_default="cores, at most 4",
    help="Threads that read, compute and write at the same time.",
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
dry_run: Decorator = click.option(
    "--dry-run", is_flag=True, help="Show what would be written and needed, and do nothing."
)
as_json: Decorator = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
verbose: Decorator = click.option("-v", "--verbose", count=True, help="More messages; twice for every detail.")
quiet: Decorator = click.option("-q", "--quiet", count=True, help="No progress; twice: no warnings either.")
seed: Decorator = click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Random seed."
)
rgb: Decorator = click.option(
    "--rgb",
    type=Bands(),
    help="Bands that are shown as red, green and blue, or one in gray: numbers or names; true colour by default.",
)
no_remote: Decorator = click.option(
    "--no-remote",
    is_flag=True,
    expose_value=False,
    callback=lambda ctx, param, value: remote.refuse() if value and not ctx.resilient_parsing else None,
    help="Refuse what GDAL would fetch from the network, also where a file names it.",
)
extension: Decorator = click.option(
    "--ext",
    default="tif",
    show_default=True,
    help="Extension of the files to take from a folder, without its subfolders; tif takes .tiff too.",
)
trust: Decorator = click.option("--trust", is_flag=True, help="Load a SavedModel, or a .keras file with code in it.")


def _set_reporting(ctx: click.Context, param: click.Parameter, value: str) -> None:
    ctx.meta[events.KEY] = value
    if value == "json" and not ctx.resilient_parsing:
        events.begin(str(ctx.info_name))


def _set_cancellable(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[CANCELLABLE] = value


def supervised(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that another program runs; `events` and `ending` read them."""
    reporting = click.option(
        "--progress",
        type=click.Choice(events.CHOICES),
        default="text",
        show_default=True,
        # Before all others, so that errors in them are reported in this way.
        is_eager=True,
        expose_value=False,
        callback=_set_reporting,
        help="json: write progress, warnings, the result and errors as JSON to stdout, an object a line.",
    )
    cancellable = click.option(
        "--cancel-on-eof",
        is_flag=True,
        expose_value=False,
        callback=_set_cancellable,
        help="Stop at the next tile when standard input is closed, and leave nothing behind, no parts either.",
    )
    return reporting(cancellable(command))


def set_verbosity(verbose: int, quiet: int) -> None:
    """Set what logging shows; warnings by default."""
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


def rasters(scenes: Sequence[str], extension: str) -> list[str]:
    """Return the scenes that are named: files, those in folders with this extension, and the matches of patterns."""
    from geosr.rasters.source import opens

    paths: list[str] = []
    for scene in scenes:
        if Path(scene).is_dir() and not opens(scene):
            inside = [str(path) for path in files_in(Path(scene), extension)]
            if not inside:
                raise click.ClickException(
                    f"no .{extension.lstrip('.')} files in {scene!r}; name another kind with --ext"
                )
            paths += inside
        else:
            # A shell leaves a pattern as it is where nothing matches, or has no patterns; /vsi paths are no files.
            paths += _matching(Path(scene)) or [scene]
    return list(dict.fromkeys(paths))


def _matching(pattern: Path) -> list[str]:
    """Return the files that match a pattern; none for the name of an existing file."""
    if pattern.exists():
        return []
    try:
        return sorted(map(str, Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))))
    except ValueError as error:
        raise click.ClickException(f"{os.fspath(pattern)!r} is no pattern: {error}") from error


def echo_json(value: Any) -> None:
    """Print a value as JSON, with null for numbers that are infinite or no number, which JSON has no words for."""
    echo(json_text(value, indent=None))


def duration(seconds: float) -> str:
    """Return a time as hours, minutes and seconds.

    >>> duration(3723.4)
    '1:02:03'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
