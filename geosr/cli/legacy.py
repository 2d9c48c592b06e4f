"""The command lines of the original programs, translated into those of geosr: python -m geosr.legacy.

The new form is shown in one line on stderr and run.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from geosr.cli.echo import echo
from geosr.cli.main import main
from geosr.cli.options import Decorator
from geosr.files import files_in

Line = list[str]

PLAIN = {"num_fb_layers": 2, "num_dist_blocks": 4}
"""The numbers of layers in the original network, which is IDN."""
RECORDS = ".tfrecords"
"""Suffix of the original's training sets, which are converted first."""
CHECKPOINT = ("checkpoint", "*.meta", "*.ckpt*", "*.index")
"""Files of TensorFlow 1 in a folder of checkpoints."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def legacy() -> None:
    """Run the command lines of the original programs."""


def folder(name: str, default: str | None, text: str) -> Decorator:
    """Return an option that names a folder."""
    return click.option(f"--{name}", type=click.Path(path_type=Path), default=default, show_default=True, help=text)


def whole(name: str, default: int, text: str, *, least: int = 1, most: int | None = None) -> Decorator:
    """Return an option for a whole number, with the limits of the command that it is translated to."""
    kind = click.IntRange(least, most)
    return click.option(f"--{name}", name.lower(), type=kind, default=default, show_default=True, help=text)


def factor(default: int, text: str) -> Decorator:
    """Return the option of the scale."""
    return whole("upsampling_factor", default, text, least=2, most=8)


def tile_size(columns: str, rows: str) -> Decorator:
    """Return a decorator that adds the options for the size of a set's tiles."""

    def both(command: Callable[..., Any]) -> Callable[..., Any]:
        return whole("tile_size_w", 400, columns, least=16)(whole("tile_size_h", 400, rows, least=16)(command))

    return both


def layers(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that shaped the original's network."""
    decay: Decorator = click.option("--weight_decay", type=float, help="Passed over.")
    return whole("num_FB_layers", 2, "Must be 2.")(whole("num_Dist_blocks", 4, "Must be 4.")(decay(command)))


extension: Decorator = click.option("--img_ext", default=".tif", show_default=True, help="Ending of the images.")
debug: Decorator = click.option("--debug", is_flag=True, help="Write the bicubic images too.")


@legacy.command("eval_superres_net")
@folder("data_path", "00325_PANSHARP", "Folder of the images; results go to the folder with _x<factor> added.")
@folder("pretrained_path", None, "Folder with x<factor>/ckpts; the shipped network by default.")
@folder("mean_values_path", None, "Passed over: values are not centred here.")
@extension
@factor(4, "Enlargement.")
@whole("batch_size", 1, "Tiles in a task.")
@whole("nchan", 1, "Passed over: the network tells.")
@whole("num_tiles_w", 5, "Tiles beside each other; chosen for the memory if not given.")
@whole("num_tiles_h", 5, "Tiles below each other; chosen for the memory if not given.")
@layers
@debug
@click.pass_context
def eval_superres_net(
    ctx: click.Context, /, data_path: Path, img_ext: str, upsampling_factor: int, **values: Any
) -> None:
    """Super-resolve the images of a folder: geosr superresolve."""
    _check_layers(values)
    images = _images(data_path, img_ext)
    output, scale = _beside(data_path, f"_x{upsampling_factor}"), str(upsampling_factor)
    line = ["superresolve", str(data_path), str(output), "--scale", scale, "--ext", img_ext.lstrip(".")]
    model = _weights(values["pretrained_path"] / f"x{scale}") if values["pretrained_path"] else None
    if model:
        line += ["--model", str(model)]
    sizes = _sizes(images)
    if {count for _, _, count in sizes} == {3} and _bands(model) == 1:
        line += ["--bands-mode", "luma"]
    if values["batch_size"] > 1:
        line += ["--batch", str(values["batch_size"])]
    if any(ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ("num_tiles_w", "num_tiles_h")):
        sides = [max(w // values["num_tiles_w"], h // values["num_tiles_h"]) + 1 for w, h, _ in sizes]
        line += ["--tile", str(max(16, *sides))]
    lines = [line]
    if values["debug"]:
        bicubic = ["--scale", scale, "--model", "bicubic"]
        lines += [
            ["superresolve", str(image), str(output / f"{image.stem}_bic_up.tif"), *bicubic]
            for image in images
            if not (output / f"{image.stem}_bic_up.tif").exists()
        ]
    _run(*lines)


@legacy.command("create_training_dataset")
@folder("data_path", "00325_PANSHARP", "Folder of the images.")
@folder("out_path", "Training_Data", "Gets x<factor>/Training and x<factor>/Validation.")
@extension
@factor(2, "Factor between the two resolutions.")
@whole("num_data_per_file", 250, "Passed over: shards are of one size in bytes.")
@tile_size("Columns of a tile; as many as rows.", "Rows of a tile.")
@click.option("--no_shuffle", is_flag=True, help="Passed over: training shuffles.")
@click.option("--debug", is_flag=True, help="Passed over.")
def create_training_dataset(
    data_path: Path, out_path: Path, img_ext: str, upsampling_factor: int, **values: Any
) -> None:
    """Build a training set: geosr dataset."""
    _images(data_path, img_ext)
    size, scale = _square(values), upsampling_factor
    line = ["dataset", str(data_path), str(out_path), "--scale", str(scale), "--size", str(size)]
    _run([*line, "--ext", img_ext.lstrip(".")])


@legacy.command("train_superres_net")
@folder("data_path", "Training_Data", "Folder with x<factor>/Training and x<factor>/Validation.")
@folder("out_path", "Training_Results", "Gets x<factor>/ckpts and x<factor>/Log.")
@folder("pretrained_path", None, "Folder with x<factor>/ckpts, for --restore.")
@extension
@factor(2, "Scale of the set and the network.")
@whole("batch_size", 1, "Samples in a step.")
@whole("nchan", 1, "Bands that the network takes.")
@tile_size("Columns of the set's tiles.", "Rows of the set's tiles.")
@layers
@whole("nepochs", 3, "Passes over the training tiles.")
@whole("shuffle", 50, "Passed over.")
@click.option(
    "--learning_rate",
    type=click.FloatRange(0, min_open=True),
    default=1e-4,
    show_default=True,
    help="Highest learning rate.",
)
@whole("num_img_viz", 3, "Passed over.")
@click.option("--restore", is_flag=True, help="Begin with the weights in --pretrained_path.")
@click.option("--ssim_loss", is_flag=True, help="Maximise SSIM instead of minimising the absolute difference.")
@click.option("--debug", is_flag=True, help="Passed over.")
def train_superres_net(data_path: Path, out_path: Path, upsampling_factor: int, **values: Any) -> None:
    """Train a network: geosr train."""
    _check_layers(values)
    scale, size = f"x{upsampling_factor}", _square(values)
    _check_set(data_path / scale)
    lines = []
    if next((data_path / scale / "Training").glob(f"*{RECORDS}"), None):
        old, data_path = data_path / scale, _beside(data_path, "_converted")
        if not (data_path / scale).exists():
            lines.append(["dataset", "convert", str(old), str(data_path), "--size", str(size)])
    # The original trained on whole tiles; a larger crop than a tile would not fit.
    crop = max(8, min(48, size // upsampling_factor))
    line = ["train", str(data_path), str(out_path), "--scale", str(upsampling_factor), "--model", "idn"]
    line += ["--bands", str(values["nchan"]), "--epochs", str(values["nepochs"]), "--batch", str(values["batch_size"])]
    line += ["--crop", str(crop), "--rate", f"{values['learning_rate']:g}"]
    line += ["--loss", "ssim" if values["ssim_loss"] else "l1"]
    if values["restore"] and not values["pretrained_path"]:
        raise click.UsageError("--restore needs --pretrained_path, the folder of the weights")
    # geosr train resumes from a run's own checkpoints anyway.
    if values["restore"] and values["pretrained_path"].absolute() != out_path.absolute():
        line += ["--fine-tune", str(_weights(values["pretrained_path"] / scale))]
    _run(*lines, line)


@legacy.command("superresolution")
@click.argument("process", default="process", type=click.Path(path_type=Path))
@click.argument("superresolution", default="superresolution", type=click.Path(path_type=Path))
def superresolution(process: Path, superresolution: Path) -> None:
    """Stack the photos in the folder PROCESS into a mean and a median: geosr burst."""
    _run(["burst", str(process), str(superresolution), "--method", "mean", "--method", "median"])


def _run(*lines: Line) -> None:
    """Show the new form in one line, and run it."""
    echo("new form: " + " && ".join(shlex.join(["geosr", *line]) for line in lines), err=True)
    for line in lines:
        try:
            main.main(line, prog_name="geosr", standalone_mode=False)
        except SystemExit as end:
            if end.code:
                raise


def _beside(folder: Path, ending: str) -> Path:
    """Return the folder with an ending added to its name, which "." and ".." do not have."""
    path = folder if folder.name not in ("", "..") else folder.resolve()
    return Path(f"{path}{ending}")


def _images(data: Path, ending: str) -> list[Path]:
    if not data.is_dir():
        raise click.ClickException(f"there is no folder {str(data)!r}; name that of the images with --data_path")
    images = files_in(data, ending)
    if not images:
        raise click.ClickException(f"no {ending} files in {str(data)!r}; name another ending with --img_ext")
    return images


def _sizes(images: list[Path]) -> list[tuple[int, int, int]]:
    """Return columns, rows and bands of the readable images; the command reports the others."""
    import rasterio

    from geosr.rasters import gdal

    sizes = []
    for image in images:
        try:
            with gdal.environment(), gdal.quiet(), rasterio.open(image) as data:
                sizes.append((data.width, data.height, data.count))
        except gdal.ERRORS:
            continue
    return sizes


def _bands(model: Path | None) -> int | None:
    """Return the bands that a network takes at once; None if it cannot be read, which the command reports."""
    from geosr.errors import ModelError
    from geosr.models import cards

    try:
        return cards.of(model).bands if model else 1
    except ModelError:
        return None


def _weights(folder: Path) -> Path:
    """Return the newest .keras file in the folder of a scale, or among its checkpoints."""
    files = sorted([*folder.glob("*.keras"), *folder.glob("ckpts/*.keras")], key=lambda path: path.stat().st_mtime)
    if files:
        results = [path for path in files if path.parent == folder]
        return (results or files)[-1]
    if any(next((folder / "ckpts").glob(pattern), None) for pattern in CHECKPOINT):
        raise click.ClickException(
            f"{str(folder / 'ckpts')!r} holds checkpoints of TensorFlow 1, which TensorFlow 2 cannot run; leave "
            "--pretrained_path out for the shipped network, or train again: geosr train"
        )
    raise click.ClickException(f"there is no .keras file in {str(folder)!r} or its ckpts; geosr train makes them")


def _check_set(folder: Path) -> None:
    if not (folder / "Training").is_dir():
        raise click.ClickException(f"there is no folder {str(folder / 'Training')!r}; geosr dataset makes it")


def _check_layers(values: dict[str, Any]) -> None:
    for name, value in PLAIN.items():
        if values[name] != value:
            raise click.ClickException(f"--{name} must be {value}, as in IDN, got {values[name]}; leave it out")


def _square(values: dict[str, Any]) -> int:
    if values["tile_size_w"] != values["tile_size_h"]:
        raise click.ClickException(
            f"tiles are square here, got {values['tile_size_w']} x {values['tile_size_h']}; "
            "give --tile_size_w and --tile_size_h the same value"
        )
    return int(values["tile_size_w"])
