"""geosr qgis: installs the plugin, or the Processing scripts, in QGIS."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from geosr.cli import options
from geosr.cli.echo import echo
from geosr.files import check_output, json_text
from geosr.qgis import installation


def _locations(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose folders of QGIS."""
    profile = click.option("--profile", metavar="NAME", help="Profile of QGIS; all profiles by default.")
    folder = click.option(
        "--scripts-dir",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of scripts, instead of what is in profiles.",
    )
    return profile(folder(command))


@click.group()
def qgis() -> None:
    """Add geosr to the Processing toolbox of QGIS.

    Copies a plugin, with the path of this geosr, to folders where QGIS finds it, and enables it.

    \b
    Example:
      geosr qgis install
    """


@qgis.command()
@_locations
@click.option("--scripts", is_flag=True, help="Install scripts instead of the plugin; --scripts-dir does too.")
@options.as_json
def install(profile: str | None, folder: Path | None, scripts: bool, as_json: bool) -> None:
    """Install the plugin in the profiles of QGIS, or replace that of another version.

    After a restart, QGIS shows its algorithms in the Processing toolbox, under geosr. With --scripts they are under
    Scripts, Super-resolution. The plugin replaces the scripts and the scripts the plugin, so that nothing is listed
    twice.

    \b
    Example:
      geosr qgis install --profile default
    """
    kind = "scripts" if scripts or folder else "plugin"
    places = installation.places(profile, folder)
    chosen = [place for place in places if place.kind == kind]
    lines = [line for place in chosen for line in installation.install(place)]
    lines += [line for place in places if place.kind != kind for line in installation.uninstall(place)]
    if as_json:
        echo(json_text([str(place.folder) for place in chosen], indent=None))
        return
    echo("\n".join(lines))
    where = "geosr" if kind == "plugin" else "Scripts, Super-resolution"
    echo(f"Restart QGIS; the algorithms are in the Processing toolbox, under {where}.")


@qgis.command()
@_locations
@options.as_json
def status(profile: str | None, folder: Path | None, as_json: bool) -> None:
    """Show where the plugin or the scripts are and whether they work.

    Exit status 1 if there are none, or some are stale (not those of this geosr), disabled or broken (they do not find
    geosr).

    \b
    Example:
      geosr qgis status
    """
    states = [state for place in installation.places(profile, folder) if (state := installation.state(place))]
    if as_json:
        echo(json_text([asdict(state) for state in states]))
    for state in () if as_json else states:
        echo(f"{state.state:<8} {state.folder}{': ' + state.why if state.why else f', geosr {state.version}'}")
    if not states and not as_json:
        echo("Nothing is installed in QGIS; run geosr qgis install.")
    if not states or any(state.state != "good" for state in states):
        sys.exit(1)


@qgis.command()
@click.argument("output", type=click.Path(path_type=Path, dir_okay=False))
@options.overwrite
def plugin(output: Path, overwrite: bool) -> None:
    """Write the plugin for QGIS as a zip file, for what geosr qgis install does not find.

    Install it in QGIS with Plugins, Manage and Install Plugins, Install from ZIP. It runs this geosr, on this machine.

    \b
    Example:
      geosr qgis plugin geosr.zip
    """
    check_output(output, (), overwrite=overwrite)
    installation.write_plugin(output)
    echo(output)


@qgis.command()
@_locations
@options.as_json
def uninstall(profile: str | None, folder: Path | None, as_json: bool) -> None:
    """Remove the plugin and the scripts from the profiles of QGIS.

    \b
    Example:
      geosr qgis uninstall
    """
    lines = [line for place in installation.places(profile, folder) for line in installation.uninstall(place)]
    if as_json:
        echo(json_text(lines, indent=None))
    else:
        echo("\n".join(lines) or "Nothing is installed in QGIS; there is nothing to remove.")
