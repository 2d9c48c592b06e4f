"""The geosr command itself: its sub-commands are loaded when they are asked for."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from geosr import __version__
from geosr.choices import suggestion
from geosr.cli import events
from geosr.cli.echo import echo, printable
from geosr.errors import Cancelled, GeosrError

log = logging.getLogger(__name__)

COMMANDS = (
    "superresolve",
    "verify",
    "info",
    "compare",
    "burst",
    "dataset",
    "train",
    "evaluate",
    "models",
    "qgis",
)


class Commands(click.Group):
    """A group whose commands live in modules of the same name, and whose errors are one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"geosr.cli.{cmd_name}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if "" in args and not ctx.resilient_parsing:
            ctx.fail("an argument is empty; is it a variable without a value?")
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"No such command {args[0]!r}{suggestion(args[0], COMMANDS)}.")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with one_line():
                return super().invoke(ctx)
        except click.ClickException as error:
            error.message = printable(error.message)  # type: ignore[misc]
            if events.wanted():
                events.emit("error", text=" ".join(error.format_message().split()))
            raise


@contextmanager
def one_line() -> Iterator[None]:
    """Turn exceptions into one line, and the exit status that belongs to it."""
    try:
        yield
    except GeosrError as error:
        raise click.ClickException(str(error)) from error
    except BrokenPipeError:  # click ends without a word, as the reader wants no more
        raise
    except OSError as error:
        message = f"{error.strerror}: {error.filename!r}" if error.filename else str(error)
        raise click.ClickException(" ".join(message.split())) from error
    except Cancelled:
        _leave("Cancelled; nothing is left behind.")
    except KeyboardInterrupt:
        _leave("Interrupted; nothing is half-written.")
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except MemoryError as error:
        _show_traceback()
        raise click.ClickException("there is not enough memory; give less to --memory, or free some") from error
    except Exception as error:
        _show_traceback()
        raise click.ClickException(_unexpected(error)) from error


def _unexpected(error: Exception) -> str:
    """Return the line for an exception that nobody foresaw, with the files that the command was given."""
    values = [str(value) for value in sys.argv[1:] if os.path.lexists(value)]
    files = f" with {', '.join(map(repr, values))}" if values else ""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}{files}: {text or 'no more is known'}; -vv shows where; please report it"


def _log_unraisable(args: Any) -> None:
    """Log an exception that nobody can catch, as rasterio's when a text of GDAL is not UTF-8."""
    log.debug("%s in %r: %s", args.exc_type.__name__, args.object, args.exc_value)


def _show_traceback() -> None:
    """Show the traceback of the exception that is handled, where the user wants to see all (-vv)."""
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        traceback.print_exc()


def _leave(message: str) -> None:
    """End after an interruption, without waiting for a thread that is still in a network's call."""
    echo(message, err=True)
    if any(thread.name.startswith("geosr") for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)
    sys.exit(130)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="geosr")
def main() -> None:
    """Make georeferenced rasters sharper and keep everything about where and what they are."""
    sys.unraisablehook = _log_unraisable
    logging.basicConfig(handlers=[events.Lines()], level=logging.WARNING)


if __name__ == "__main__":
    main()
