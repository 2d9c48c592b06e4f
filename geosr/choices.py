"""Options of a job, each declared once: a dataclass field with its default, limits or choices, and a line of help.

Options are checked against this declaration when they are created, and geosr.cli makes the command line's from it.
Imports nothing heavy, so that `--help` is quick.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import MISSING, field, fields
from difflib import get_close_matches
from typing import Any

from geosr.errors import OptionError


def suggestion(word: str, words: Iterable[str]) -> str:
    """Return a question that offers the nearest of `words`; nothing if none is near.

    >>> suggestion("spam", ["idn", "span"])
    " (did you mean 'span'?)"
    """
    near = get_close_matches(word, list(words), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def option(
    default: Any = MISSING,
    help: str = "",
    *,
    choices: Sequence[Any] | None = None,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    factory: Any = MISSING,
) -> Any:
    """Return a dataclass field for an option.

    Args:
        default: The value without a choice; None means that the job decides.
        help: A phrase for the command line that stands alone.
        choices: The allowed values.
        least: The smallest allowed number.
        most: The largest allowed number.
        above: A number that the value must exceed.
        factory: A function that returns the default, for mutable ones.
    """
    metadata = {"help": help, "choices": choices, "least": least, "most": most, "above": above}
    if factory is not MISSING:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def exact_number(text: str) -> float:
    """Return the number that a text spells; a whole one of a size at which floats are rounded stays an integer.

    >>> exact_number("18446744073709551615"), exact_number("-9999"), exact_number("1e3")
    (18446744073709551615, -9999.0, 1000.0)
    """
    number = float(text)
    try:
        return int(text) if abs(int(text)) > 2**53 else number
    except ValueError:
        return number


def check_options(options: Any) -> None:
    """Refuse values outside the declared choices and limits; call it from `__post_init__`.

    Raises:
        OptionError: it names the field, what it must be, and what was got.
    """
    for item in fields(options):
        value, limits = getattr(options, item.name), item.metadata
        if not limits or (value is None and item.default is None):
            continue
        choices = limits["choices"]
        if choices is not None and value not in choices:
            raise OptionError(f"{item.name} must be one of {', '.join(map(str, choices))}, got {value!r}")
        least, most, above = limits["least"], limits["most"], limits["above"]
        if all(limit is None for limit in (least, most, above)):
            continue
        whole = "int" in str(item.type)
        if (
            isinstance(value, bool)
            or not isinstance(value, int if whole else (int, float))
            or not (
                (least is None or value >= least)
                and (most is None or value <= most)
                and (above is None or value > above)
            )
        ):
            raise OptionError(f"{item.name} must be {_limits(whole, least, most, above)}, got {value!r}")


def _limits(whole: bool, least: float | None, most: float | None, above: float | None) -> str:
    kind = "a whole number" if whole else "a number"
    low = f"above {above:g}" if above is not None else f"of {least:g} or more" if least is not None else ""
    high = f"at most {most:g}" if most is not None else ""
    return " ".join([kind, " and ".join(filter(None, (low, high)))])
