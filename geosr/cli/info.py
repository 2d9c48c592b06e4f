"""geosr info."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from geosr.cli import options

if TYPE_CHECKING:
    from geosr.quality.info import Band, Info


@click.command()
@click.argument("raster")
@options.scale
@options.model
@options.bands
@options.memory
@options.jobs
@options.as_json
@options.verbose
@options.quiet
def info(raster: str, jobs: int, as_json: bool, verbose: int, quiet: int, **chosen: Any) -> None:
    """Tell what would be done with a raster, and why.

    Which bands are taken as what, which values become 0 and 1, what is not valid, what the output would be and need,
    and whether the pixels hold detail down to their size: if they were enlarged before, x2 adds nothing.

    \b
    Example:
      geosr info scene.tif
    """
    options.set_verbosity(verbose, quiet)
    from geosr.quality.info import info as looked_at
    from geosr.superresolve.plan import Options

    told = looked_at(raster, Options(**chosen), workers=jobs)
    if as_json:
        click.echo(json.dumps(options.for_json({**asdict(told), "oversampled": told.oversampled})))
    else:
        click.echo("\n".join(_lines(told)))


def _lines(told: Info) -> list[str]:
    from geosr.files import size_text

    out, count = told.output, len(told.bands)
    minutes, seconds = divmod(round(out.seconds), 60)
    named = [("CRS", told.crs or "none")]
    if told.bounds:
        named.append(("bounds", ", ".join(f"{value:.10g}" for value in told.bounds)))
    if told.degrees:
        west, south, east, north = told.degrees
        named.append(("", f"{west:.5f} to {east:.5f} degrees east, {south:.5f} to {north:.5f} north"))
    named += [("band", _band(band)) for band in told.bands]
    named.append(("range", f"{told.range}; values beyond it are kept"))
    holes = [f"value {told.nodata:.12g}"] if told.nodata is not None else []
    holes += ["a mask"] if told.mask else []
    named.append(("nodata", f"{' and '.join(holes) or 'none'}; {told.invalid:.2%} of the values are not valid"))
    if told.lost:
        named.append(("lost", ", ".join(told.lost)))
    named += [
        ("model", f"{told.model}, x{told.scale}: {told.taken}"),
        ("output", f"{out.width} x {out.height} pixels of {out.pixel[0]:.6g} x {out.pixel[1]:.6g}, {out.dtype}"),
        ("tiles", f"{out.tiles} of {out.tile} x {out.tile} input pixels, about {out.empty:.0%} of them empty"),
        ("memory", f"about {size_text(out.memory_bytes)}"),
        ("disk", f"about {size_text(out.disk_bytes)} at the peak, {size_text(out.output_bytes)} in the end"),
        ("time", f"about {minutes // 60}:{minutes % 60:02}:{seconds:02}"),
        ("advice", _advice(told)),
    ]
    head = (
        f"{told.path}: {told.driver}, {told.width} x {told.height} pixels of {told.pixel[0]:.6g} x {told.pixel[1]:.6g}"
    )
    bands = "1 band" if count == 1 else f"{count} bands"
    return [f"{head}, {bands} of {told.dtype}", *(f"  {name:<8} {text}" for name, text in named)]


def _band(band: Band) -> str:
    if band.kind == "transparency":
        return f"{band.number} {band.name or ''}: transparency, enlarged without the network".replace(" :", ":")
    text = f"{band.number}{' ' + band.name if band.name else ''}: {band.low:.6g} and {band.high:.6g} become 0 and 1"
    if band.sharpness is None:
        return text
    return f"{text}; fine detail {band.sharpness:.2f} of coarse{', enlarged before' if band.oversampled else ''}"


def _advice(told: Info) -> str:
    known = [band for band in told.bands if band.oversampled is not None]
    if not known:
        return "how sharp the pixels are could not be measured"
    if len(told.oversampled) == len(known):
        return "the pixels were enlarged before, and hold no detail of their size: x2 adds nothing; shrink them first"
    if told.oversampled:
        numbers = ", ".join(map(str, told.oversampled))
        return f"band {numbers} was enlarged before and holds no detail of the pixels' size: x2 adds nothing there"
    return "the pixels hold detail of their size; x2 can add to it" + (", x4 invents" if told.scale > 2 else "")
