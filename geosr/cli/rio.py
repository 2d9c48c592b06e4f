"""rio superresolve: the job as a command of rasterio's program, with the options that its commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rasterio.rio import options as rio
from rasterio.rio.helpers import resolve_inout

from geosr.cli import options
from geosr.cli.main import one_line
from geosr.cli.progress import progress
from geosr.superresolve.options import Options


@click.command(short_help="Super-resolve a raster.")
@rio.files_inout_arg
@rio.output_opt
@rio.bidx_mult_opt
@rio.bounds_opt
@rio.format_opt
@rio.dtype_opt
@rio.nodata_opt
@rio.overwrite_opt
@rio.creation_options
@options.of(Options, ("scale", "-s"), ("model", "-m"))
@options.jobs
@options.restart
@click.pass_context
def superresolve(
    ctx: click.Context,
    /,
    files: tuple[str, ...],
    output: str | None,
    bidx: tuple[int, ...],
    driver: str | None,
    dtype: str | None,
    overwrite: bool,
    creation_options: dict[str, str],
    jobs: int,
    restart: bool,
    **values: Any,
) -> None:
    """Super-resolve a raster, on the same ground and with all its metadata.

    Does what geosr superresolve does, with rio's own options; that command has more.

    \b
    Example:
      rio superresolve scene.tif scene_x2.tif --scale 2
    """
    verbosity = ctx.obj["verbosity"]
    options.set_verbosity(max(verbosity, 0), max(-verbosity, 0))
    from geosr import pools
    from geosr.superresolve import job
    from geosr.superresolve.plan import make_plan

    if output is None and len(files) == 1:
        raise click.UsageError(f"OUTPUT is missing: name it after {files[0]!r}, or with --output", ctx)
    # An output that exists is refused below, with its name.
    target, [source] = resolve_inout(files=files, output=output, overwrite=True, num_inputs=1)
    with one_line(), options.ending(), ctx.obj["env"]:
        settings = Options(
            bands=bidx or None,
            format=driver,
            dtype="uint8" if dtype == "ubyte" else dtype,
            creation=creation_options,
            **values,
        )
        job.check_paths(source, target, overwrite=overwrite)
        plan = make_plan(source, settings, target)
        with (
            pools.threads(plan.workers(jobs)) as pool,
            progress(Path(source).name, "tiles", quiet=verbosity < 1) as show,
        ):
            job.write(plan, target, restart=restart, pool=pool, progress=show)
