"""geosr evaluate."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from geosr.cli import degradation, options

COLUMNS = {
    "psnr": ("PSNR", "{:.2f}"),
    "ssim": ("SSIM", "{:.4f}"),
    "psnr_y": ("PSNR-Y", "{:.2f}"),
    "ssim_y": ("SSIM-Y", "{:.4f}"),
    "sam": ("SAM", "{:.2f}"),
    "ergas": ("ERGAS", "{:.2f}"),
    "consistency": ("consistency", "{:.3g}"),
    "recovered": ("recovered", "{:.1%}"),
    "energy": ("energy", "{:.1%}"),
}


@click.command()
@click.argument("model")
@click.argument("scenes", nargs=-1, required=True)
@options.scale
@options.computing
@options.bands
@options.alpha
@options.values
@degradation.options
@click.option(
    "--protocol",
    type=click.Choice(["scene", "paper"]),
    default="scene",
    show_default=True,
    help="scene: all bands, the shrunk scene rounded to its type. paper: as papers on photographs do, the Y of 8-bit "
    "red, green and blue alone, shrunk without rounding, with SCALE pixels at the edges shaved.",
)
@click.option(
    "--border", type=click.IntRange(0), help="Pixels at the edges that do not count; 0, or SCALE with --protocol paper."
)
@options.extension
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the scores as CSV.")
@click.option(
    "--plots",
    "plots_folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Draw for each scene maps of errors, power spectra, and crops of the most detailed windows (PNG).",
)
@options.jobs
@options.as_json
@options.overwrite
@options.verbose
@options.quiet
def evaluate(
    model: str,
    scenes: tuple[str, ...],
    values: tuple[float, float] | None,
    ext: str,
    csv_file: Path | None,
    plots_folder: Path | None,
    jobs: int,
    as_json: bool,
    overwrite: bool,
    verbose: int,
    quiet: int,
    **chosen: Any,
) -> None:
    """Score a model on scenes that are shrunk and enlarged again.

    MODEL is bicubic, a shipped model, or a model file; SCENES are files, or folders of them. Every scene is shrunk, by
    bicubic interpolation or as --degradation says, and enlarged by the model, and beside it by nearest, bilinear,
    bicubic and Lanczos interpolation. PSNR (dB) and SSIM are means over bands, PSNR-Y and SSIM-Y those of luma with
    SCALE pixels shaved (for three bands of 8 bits); SAM is in degrees; ERGAS is best at 0; consistency is the RMSE of
    the result, shrunk by bicubic again, in the unit of the scene. Of the energy that is beyond the Nyquist frequency
    of what the scene was shrunk to, recovered is the share that the result has in phase with the truth, and energy what
    it has of whatever kind: the difference is invented.

    \b
    Example:
      geosr evaluate idn scene.tif
    """
    options.set_verbosity(verbose, quiet)
    from geosr import pools
    from geosr.quality import evaluate as job

    paths = options.rasters(scenes, ext)
    with (
        options.ending(),
        pools.threads(jobs) as pool,
        options.progress("evaluate", "tiles", quiet=bool(quiet)) as show,
    ):
        report = job.evaluate(
            model,
            paths,
            job.Options(
                range=values, degradation=degradation.chosen(chosen), computing=options.computed(chosen), **chosen
            ),
            csv_file=csv_file,
            plots_folder=plots_folder,
            overwrite=overwrite,
            pool=pool,
            progress=show,
        )
    if as_json:
        click.echo(json.dumps(options.for_json(asdict(report))))
        return
    for scene in report.scenes:
        click.echo(f"{scene.scene}: {scene.width} x {scene.height} pixels, {scene.bands} bands of {scene.dtype}")
        _show(scene.methods)
    if len(report.scenes) > 1:
        click.echo(f"mean of {len(report.scenes)} scenes")
        _show(report.total)


def _show(methods: dict[str, Any]) -> None:
    """The columns that have something to say."""
    told = {name: asdict(scores) for name, scores in methods.items()}
    columns = {key: column for key, column in COLUMNS.items() if any(row[key] is not None for row in told.values())}
    width = max(map(len, told))
    click.echo(f"  {'':<{width}}" + "".join(f"  {title:>{max(len(title), 6)}}" for title, _ in columns.values()))
    for name, row in told.items():
        cells = [
            f"  {'-' if row[key] is None else form.format(row[key]):>{max(len(title), 6)}}"
            for key, (title, form) in columns.items()
        ]
        click.echo(f"  {name:<{width}}" + "".join(cells))
