"""A hook of mkdocs: pages of the site that are made from README, CHANGELOG and the commands' own help."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
from mkdocs.structure.files import File

from geosr.cli.main import main

ROOT = Path(__file__).parents[1]
REFERENCE = {
    "Super-resolution": (
        *("superresolve.job.super_resolve", "superresolve.folder.super_resolve_folder", "superresolve.arrays.load"),
        *("superresolve.arrays.Resolver", "superresolve.options.Options", "models.computing.Computing"),
    ),
    "Bursts": ("burst.job.stack", "burst.options.Options"),
    "Training sets": ("dataset.job.build", "dataset.options.Options"),
    "Training": ("training.job.train", "training.options.Options"),
    "Quality": (
        *("quality.info.inspect_raster", "quality.verify.verify_output", "quality.compare.compare_rasters"),
        *("quality.evaluate.evaluate_model", "quality.options.Options", "quality.quantization.quantize_model"),
    ),
    "Notebooks": ("notebook.ProgressBar",),
    "Errors": ("errors",),
}
"""What the reference of the library shows of geosr, by chapter."""
OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./(?!README)[^)]+\)")
"""A link to a file of the repository that is no page of the site."""


def command_pages(command: click.Command, context: click.Context) -> Iterator[str]:
    """Return the help of a command and of those below it, as sections."""
    level = "##" if " " in context.command_path else "#"
    yield f"{level} {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            yield from command_pages(below, click.Context(below, context, name, **main.context_settings))


def reference() -> Iterator[str]:
    """Return the lines of the library's reference, which mkdocstrings fills with the docstrings."""
    yield "# Python reference\n\n[From Python](api.md) shows how they are used."
    for chapter, names in REFERENCE.items():
        yield f"\n## {chapter}\n"
        yield from (f"::: geosr.{name}\n" for name in names)


def on_files(files, config):
    readme = (ROOT / "README.md").read_text().replace("](docs/", "](")
    help_texts = "\n".join(command_pages(main, click.Context(main, info_name="geosr", **main.context_settings)))
    for name, content in {
        "index.md": readme,
        "commands.md": help_texts.replace("# geosr\n", "# Commands\n", 1),
        "reference.md": "\n".join(reference()),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(),
    }.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    return OUTSIDE.sub(r"\1", markdown).replace("](../README.md)", "](index.md)")
