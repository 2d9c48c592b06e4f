"""A hook of mkdocs: pages of the site that are made from README, CHANGELOG and the commands' own help."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
from mkdocs.structure.files import File

from geosr.cli.main import main

ROOT = Path(__file__).parents[1]
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


def on_files(files, config):
    readme = (ROOT / "README.md").read_text().replace("](docs/", "](")
    help_texts = "\n".join(command_pages(main, click.Context(main, info_name="geosr", **main.context_settings)))
    for name, content in {
        "index.md": readme,
        "commands.md": help_texts.replace("# geosr\n", "# Commands\n", 1),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(),
    }.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    return OUTSIDE.sub(r"\1", markdown).replace("](../README.md)", "](index.md)")
