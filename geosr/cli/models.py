"""geosr models: the shipped models and their cards; imports, exports and quantized networks."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from geosr.cli import options
from geosr.cli.echo import echo
from geosr.files import json_text
from geosr.models import cards

BICUBIC = "Keys' cubic convolution: no network, any scale, exact and fast"

cards_json = click.option("--json", "as_json", is_flag=True, help="Print the cards as JSON.")
shipped_scale = click.option("-s", "--scale", type=click.IntRange(2, 8), help="Scale of a shipped model; 2 by default.")


@click.group(invoke_without_command=True)
@cards_json
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the shipped models and the purpose of each.

    \b
    Example:
      geosr models
    """
    if ctx.invoked_subcommand:
        return
    if as_json:
        echo(json_text([asdict(card) for card in cards.shipped()]))
        return
    rows = [("bicubic", "any", "any", BICUBIC)]
    rows += [
        (card.name, f"x{card.scale}", "any" if card.bands == 1 else str(card.bands), card.purpose)
        for card in cards.shipped()
    ]
    for name, scale, bands, purpose in [("MODEL", "SCALE", "BANDS", "FOR"), *rows]:
        echo(f"{name:<10} {scale:<6} {bands:<6} {purpose}")


@models.command()
@click.argument("name")
@click.option("-s", "--scale", type=click.IntRange(2, 8), help="Scale of a shipped model; all by default.")
@cards_json
@click.option(
    "--write", is_flag=True, help="Write the card beside the file, to add to it by hand and to save time later."
)
@click.option("--overwrite", is_flag=True, help="Replace the card of another file of that name.")
@options.trust
def show(name: str, scale: int | None, as_json: bool, write: bool, overwrite: bool, trust: bool) -> None:
    """Show the card of a shipped model, or of a model file.

    For a file without a card, scale, bands and halo are found from the network.

    \b
    Example:
      geosr models show idn --scale 2
    """
    if cards.is_path(name):
        path = Path(name)
        selection = [
            cards.write_beside(path, trust=trust, overwrite=overwrite) if write else cards.of(path, trust=trust)
        ]
    elif write or trust:
        raise click.UsageError("--write and --trust are for model files; shipped models have their cards")
    elif scale:
        selection = [cards.of(cards.shipped_path(name, scale))]
    else:
        selection = [card for card in cards.shipped() if card.name == name] or [cards.of(cards.shipped_path(name, 2))]
    if as_json:
        echo(json_text([asdict(card) for card in selection]))
        return
    echo("\n\n".join(_text(card) for card in selection))


def _text(card: cards.Card) -> str:
    values = asdict(card)
    scores, commands = values.pop("scores"), values.pop("commands")
    lines = [f"{name.replace('_', ' '):<14} {value}" for name, value in values.items() if value not in ("", None)]
    lines += [f"{'made by' if not n else '':<14} {command}" for n, command in enumerate(commands)]
    for name, score in scores.items():
        if not isinstance(score, dict):
            lines.append(f"{name:<14} {score:.4g}")
            continue
        lines.append(name)
        lines += [f"  {scene:<24} bicubic {of['bicubic']:6.2f}   {of['gain']:+.2f}" for scene, of in score.items()]
    return "\n".join(lines)


@models.command("import")
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="CAFFEMODEL")
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "-s", "--scale", type=click.IntRange(2, 4), help="Scale of the network; from the file's name (_x2) by default."
)
@options.overwrite
def import_(source: Path, output: Path, scale: int | None, overwrite: bool) -> None:
    """Convert the IDN weights that the paper's authors published.

    They were trained on photographs and carry no licence: check that before you pass them on. The weights do not
    contain the network's scale.

    \b
    Example:
      geosr models import IDN_x2.caffemodel idn_published_x2.keras
    """
    from geosr.models import caffe, save

    match = re.search(r"_x([234])$", source.stem)
    scale = scale or (int(match[1]) if match else None)
    if scale is None:
        raise click.UsageError(f"the scale cannot be told from the name {source.name!r}; give it with --scale")
    if output.suffix != ".keras":
        raise click.BadParameter(f"must end in .keras, got {output.name!r}", param_hint="OUTPUT")
    if output.exists() and not overwrite:
        raise click.ClickException(f"{str(output)!r} exists; choose another output or --overwrite")
    save(caffe.read_idn(source, scale), output)
    echo(output)


@models.command()
@click.argument("model")
@click.argument("output", type=click.Path(path_type=Path))
@shipped_scale
@options.overwrite
def export(model: str, output: Path, scale: int | None, overwrite: bool) -> None:
    """Write a network for other programs: .onnx, .tflite (LiteRT), or a SavedModel (a folder).

    The written network is compared with the original; if a value differs by more than 0.0001 of the range, no file
    is left. ONNX networks take and give (n, bands, rows, cols), the others (n, rows, cols, bands).

    \b
    Example:
      geosr models export span span_x2.onnx
    """
    from geosr.files import check_output
    from geosr.models import exports

    source = cards.path_of(model, scale or 2)
    if not exports.is_saved_model(output) or not overwrite:
        check_output(output, [source], overwrite=overwrite)
    difference = exports.export(source, output)
    echo(f"{output} (values differ by {difference:.1e} at most)")


@models.command()
@click.argument("model")
@click.argument("output", type=click.Path(path_type=Path))
@click.argument("scenes", nargs=-1, required=True)
@shipped_scale
@click.option("--tiles", type=click.IntRange(1), default=200, show_default=True, help="Tiles to calibrate on.")
@click.option(
    "--keep",
    "kept",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Number of first and of last convolutions that stay in 32 bits.",
)
@options.seed
@options.extension
@options.as_json
@options.overwrite
def quantize(model: str, output: Path, scenes: tuple[str, ...], ext: str, as_json: bool, **values: Any) -> None:
    """Write a network in 8 bits for OpenVINO: faster on processors with VNNI or AMX.

    OUTPUT is a .xml file; a .bin file and a card are written beside it. Tiles of the SCENES calibrate the layers'
    ranges. Both networks are scored on the scenes; the loss of PSNR is printed and noted on the card.

    \b
    Example:
      geosr models quantize idn idn_int8_x2.xml scenes/
    """
    from geosr.quality.quantization import COSTLY, quantize_model

    result = quantize_model(model, output, options.rasters(scenes, ext), **values)
    if as_json:
        echo(json_text(asdict(result), indent=None))
        return
    echo(
        f"{result.output}: PSNR {result.quantized_psnr:.2f} dB, {result.psnr:.2f} in 32 bits, "
        f"{result.bicubic_psnr:.2f} bicubic; 8 bits cost {result.cost:.3f} dB"
    )
    if result.cost > COSTLY:
        echo(
            f"That is more than {COSTLY} dB: leave more in 32 bits by a larger --keep, or calibrate on other scenes.",
            err=True,
        )
