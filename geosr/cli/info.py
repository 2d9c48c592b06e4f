"""geosr info."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geosr.cli import options
from geosr.cli.echo import echo
from geosr.errors import GeosrError
from geosr.files import plural
from geosr.superresolve.options import Options

if TYPE_CHECKING:
    from geosr.quality.info import Band, Info
    from geosr.rasters.products import Product


@click.command()
@click.argument("rasters", metavar="RASTER...", nargs=-1, required=True)
@options.of(
    Options, ("scale", "-s"), ("model", "-m"), ("bands", "-b"), "nodata_in", "memory", model={"type": options.Model()}
)
@options.extension
@options.jobs
@options.as_json
@options.no_remote
@options.verbose
@options.quiet
def info(rasters: tuple[str, ...], ext: str, jobs: int, as_json: bool, verbose: int, quiet: int, **values: Any) -> None:
    """Show what would be done with a raster, and why; or with each of several, or of those in a folder.

    Begins with a verdict: if the pixels were enlarged before, x2 adds nothing. Then lists how the bands are used and
    how sharp they are, which values become 0 and 1, the share that is not valid, and the size and needs of the output.
    Of a product, as a Sentinel-2 or Landsat folder or archive, lists the bands, unless --bands chooses some.

    \b
    Example:
      geosr info scene.tif
    """
    options.set_verbosity(verbose, quiet)
    from geosr.quality.info import inspect_raster
    from geosr.rasters.products import find_product

    paths, settings = _paths(rasters, ext), Options(**values)
    reports: list[dict[str, Any]] = []
    failed = 0
    for path in paths:
        product = None if values["bands"] else find_product(path)
        if product and len(product.grids) > 1:
            reports.append(_product(product))
            if not as_json:
                echo("\n".join(_product_lines(product)))
            continue
        try:
            report = inspect_raster(path, settings, workers=jobs)
        except GeosrError as error:
            if len(paths) == 1:
                raise
            failed += 1
            echo(f"Error: {error}", err=True)
            continue
        reports.append({**asdict(report), "oversampled": report.oversampled, "mtf": report.mtf})
        if not as_json:
            echo("\n".join(_lines(report)))
    if as_json:
        options.echo_json(reports[0] if [*rasters] == paths and len(paths) == 1 else reports)
    if failed:
        raise click.ClickException(f"{failed} of {plural(len(paths), 'raster')} could not be inspected")


def _paths(rasters: Sequence[str], extension: str) -> list[str]:
    """Return the rasters that are named; a folder that GDAL reads, as a Zarr store, is one."""
    from geosr.rasters.source import opens

    paths: list[str] = []
    for raster in rasters:
        whole = Path(raster).is_dir() and opens(raster)
        paths += [raster] if whole else options.rasters([raster], extension)
    return paths


def _product(product: Product) -> dict[str, Any]:
    bands = [
        {"number": band.number, "name": band.name, "pixel": band.pixel, "raster": band.raster} for band in product.bands
    ]
    return {"path": product.path, "bands": bands}


def _product_lines(product: Product) -> list[str]:
    """Return the bands of a product, those that belong together in one line."""
    head = f"{product.path}: a product of {len(product.bands)} bands; choose some of one size with --bands"
    return [head, *(f"  {line}" for line in product.lines())]


def _lines(report: Info) -> list[str]:
    from geosr.files import size_text

    output, count = report.output, len(report.bands)
    rows = [("CRS", report.crs or "none")]
    if report.bounds:
        rows.append(("bounds", ", ".join(f"{value:.10g}" for value in report.bounds)))
    if report.degrees:
        west, south, east, north = report.degrees
        rows.append(("", f"{west:.5f} to {east:.5f} degrees east, {south:.5f} to {north:.5f} north"))
    rows += [("band", _band(band)) for band in report.bands]
    rows.append(("range", f"{report.range}; values beyond it are kept"))
    nodata = [f"value {report.nodata:.12g}"] if report.nodata is not None else []
    nodata += ["a mask"] if report.mask else []
    rows.append(("nodata", f"{' and '.join(nodata) or 'none'}; {report.invalid:.2%} of the values are not valid"))
    if report.lost:
        rows.append(("lost", ", ".join(report.lost)))
    width, height = output.pixel
    rows += [
        ("model", f"{report.model}, x{report.scale}: {report.taken}"),
        ("output", f"{output.width} x {output.height} pixels of {width:.6g} x {height:.6g}, {output.dtype}"),
        (
            "tiles",
            f"{plural(output.tiles, 'tile')} of {output.tile} x {output.tile} input pixels, about "
            f"{output.empty:.0%} of them empty",
        ),
        ("memory", f"about {size_text(output.memory_bytes)}"),
        ("disk", f"about {size_text(output.disk_bytes)} at the peak, {size_text(output.output_bytes)} in the end"),
        ("time", f"about {options.duration(output.seconds)}"),
        ("sensor", _sensor(report)),
    ]
    width, height = report.pixel
    bands = plural(count, "band")
    head = f"{report.driver}, {report.width} x {report.height} pixels of {width:.6g} x {height:.6g}"
    return [
        f"{report.path}: {_advice(report)}",
        f"  {head}, {bands} of {report.dtype}",
        *(f"  {name:<8} {text}" for name, text in rows),
    ]


def _band(band: Band) -> str:
    name = f"{band.number} {band.name}" if band.name else str(band.number)
    if band.kind == "transparency":
        return f"{name}: transparency, enlarged without the network"
    text = f"{name}: {band.low:.6g} and {band.high:.6g} become 0 and 1"
    if band.noise is not None:
        text += f"; noise {band.noise:.3g}"
    if band.blur:
        text += f"; MTF {band.blur.mtf:.2f} ({band.blur.least:.2f} to {band.blur.most:.2f}, {band.blur.edges} edges)"
    if band.sharpness is None:
        return text
    from geosr.quality.info import OVERSAMPLED

    enlarged = ", enlarged before" if band.oversampled else ""
    return f"{text}; sharpness {band.sharpness:.2f} (sharp pixels: above {OVERSAMPLED:.2g}){enlarged}"


def _sensor(report: Info) -> str:
    if report.mtf is None:
        return "too few straight edges to measure the blur; the natural setting fits any sensor"
    return (
        f"the natural setting fits any sensor; the edges suggest an MTF near {report.mtf:g}: try --mtf {report.mtf:g} "
        "on a corner before you believe it, or --sensor with the name of yours"
    )


def _advice(report: Info) -> str:
    measured = [band for band in report.bands if band.oversampled is not None]
    if not measured:
        return "the sharpness of the pixels could not be measured"
    if report.oversampled:
        from geosr.quality.info import enlarged_text

        return enlarged_text(report.oversampled, len(measured))
    return "the pixels hold detail of their size; x2 can add to it" + (
        f", x{report.scale} invents" if report.scale > 2 else ""
    )
