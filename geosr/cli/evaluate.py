"""geosr evaluate."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from geosr.cli import degradation, options
from geosr.cli.echo import echo
from geosr.cli.progress import progress
from geosr.files import plural
from geosr.models.computing import Computing
from geosr.quality.options import Options

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
    "improvement": ("improvement", "{:.3f}"),
    "omission": ("omission", "{:.3f}"),
    "hallucination": ("hallucination", "{:.3f}"),
}


@click.command()
@click.argument("model")
@click.argument("scenes", nargs=-1, required=True)
@options.of(Options, ("scale", "-s"))
@options.of(Computing, "backend", "precision", "halo", "blend", "trust")
@options.of(Options, ("bands", "-b"), "alpha", "nodata_in", "range")
@degradation.options
@options.of(Options, "limit", "protocol", "border")
@options.extension
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the scores as CSV.")
@click.option(
    "--plots",
    "plots_folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Draw for each scene maps of errors, power spectra, and crops of the most detailed windows (PNG).",
)
@options.rgb
@options.jobs
@options.as_json
@options.overwrite
@options.no_remote
@options.verbose
@options.quiet
def evaluate(
    model: str,
    scenes: tuple[str, ...],
    ext: str,
    csv_file: Path | None,
    plots_folder: Path | None,
    jobs: int,
    as_json: bool,
    overwrite: bool,
    verbose: int,
    quiet: int,
    **values: Any,
) -> None:
    """Score a model on scenes that are shrunk and enlarged again.

    MODEL is bicubic, a shipped model, or a model file; SCENES are files, or folders of them. Every scene is shrunk, by
    bicubic interpolation or as --degradation says, and enlarged by the model, and beside it by nearest, bilinear,
    bicubic and Lanczos interpolation. PSNR (dB) and SSIM are means over bands, PSNR-Y and SSIM-Y those of luma with
    SCALE pixels shaved (for three bands of 8 bits); SAM is in degrees; ERGAS is best at 0; consistency is the RMSE of
    the result, shrunk by bicubic again, in the unit of the scene. Of the energy that is beyond the Nyquist frequency
    of what the scene was shrunk to, recovered is the share that the result has in phase with the truth, and energy what
    it has of whatever kind: the difference is invented. Improvement, omission and hallucination are those of
    opensr-test: the shares of the missing detail that are right, left out, and made up.

    \b
    Example:
      geosr evaluate idn scene.tif
    """
    options.set_verbosity(verbose, quiet)
    from geosr import pools
    from geosr.quality.evaluate import evaluate_model

    shrinking, computing = degradation.taken(values), options.taken(Computing, values)
    paths = options.rasters(scenes, ext)
    with options.ending(), pools.threads(jobs) as pool, progress("evaluate", "tiles", quiet=bool(quiet)) as show:
        report = evaluate_model(
            model,
            paths,
            Options(degradation=shrinking, computing=computing, **values),
            csv_file=csv_file,
            plots_folder=plots_folder,
            overwrite=overwrite,
            pool=pool,
            progress=show,
        )
    if as_json:
        options.echo_json(asdict(report))
        return
    for scene in report.scenes:
        echo(f"{scene.scene}: {scene.width} x {scene.height} pixels, {plural(scene.bands, 'band')} of {scene.dtype}")
        _show(scene.methods)
    if len(report.scenes) > 1:
        echo(f"mean of {len(report.scenes)} scenes")
        _show(report.total)


def _show(methods: dict[str, Any]) -> None:
    """Print the columns that have a value."""
    rows = {name: asdict(scores) for name, scores in methods.items()}
    columns = {key: column for key, column in COLUMNS.items() if any(row[key] is not None for row in rows.values())}
    width = max(map(len, rows))
    echo(f"  {'':<{width}}" + "".join(f"  {title:>{max(len(title), 6)}}" for title, _ in columns.values()))
    for name, row in rows.items():
        cells = [
            f"  {'-' if row[key] is None else form.format(row[key]):>{max(len(title), 6)}}"
            for key, (title, form) in columns.items()
        ]
        echo(f"  {name:<{width}}" + "".join(cells))
