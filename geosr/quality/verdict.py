"""The sentence that a page of a comparison begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

AGREES, DEPARTS = 1.0, 5.0
"""Percent of the values shown by which a result, shrunk back, may differ from the input and agree or roughly agree."""
LIKE = 1.1
"""Ratio of a result's error to that of bicubic interpolation up to which it agrees with the input as well as that."""
DETAIL = 2.0
"""Ratio of a result's power beyond the input to that of bicubic interpolation from which detail has been added."""


def verdict(
    names: Sequence[str], totals: Mapping[str, Sequence[float]], *, results: int, span: float, unit: str = ""
) -> str:
    """Return a sentence on the results: against the truth if there is one, else against the input.

    `names` are those of bicubic interpolation, of the results and perhaps of the truth, for each of which `totals`
    have a figure. `span` is the width of the values that are shown.

    >>> totals = {"consistency": (9.0, 4.0), "beyond the input": (0.1, 0.4)}
    >>> print(verdict(["bicubic", "result"], totals, results=1, span=2000, unit="DN"))
    Shrunk back, the result agrees with the input to 4.0 DN (0.20 % of the range shown) and adds detail finer than \
the input's pixels, which is the model's estimate.
    """
    clauses = [
        _against_truth(i, totals) if "PSNR" in totals else _against_input(i, totals, span=span, unit=unit)
        for i in range(1, results + 1)
    ]
    subjects = ["the result" if names[i] == "result" else names[i] for i in range(1, results + 1)]
    text = "; ".join(f"{subject} {clause}" for subject, clause in zip(subjects, clauses, strict=True))
    if "PSNR" not in totals:
        text = f"shrunk back, {text}"
    # A file's name keeps its first letter.
    return f"{text if text.startswith(names[1]) else text[0].upper() + text[1:]}."


def _against_truth(i: int, totals: Mapping[str, Sequence[float]]) -> str:
    gain = totals["PSNR"][i] - totals["PSNR"][0]
    nearer = "nearer to" if gain >= 0 else "farther from"
    share, plain = totals["recovered"][i], totals["recovered"][0]
    text = f"is {abs(gain):.2f} dB {nearer} the truth than bicubic interpolation"
    if share == share:
        text += f" and holds {share:.0f} % of the detail that the input cannot hold (bicubic {plain:.0f} %)"
    return text


def _against_input(i: int, totals: Mapping[str, Sequence[float]], *, span: float, unit: str) -> str:
    error, plain = totals["consistency"][i], totals["consistency"][0]
    if error != error:
        return "could not be held against the input: too few of its pixels are valid"
    share, figure = 100 * error / span, f"{error:.{decimals((error,))}f}{f' {unit}' if unit else ''}"
    if share <= AGREES or error <= LIKE * plain:
        opinion = f"agrees with the input to {figure}"
    elif share <= DEPARTS:
        opinion = f"roughly agrees with the input, to {figure}"
    else:
        opinion = f"departs from the input by {figure}"
    fine = totals["beyond the input"][i] > DETAIL * totals["beyond the input"][0]
    added = (
        "adds detail finer than the input's pixels, which is the model's estimate"
        if fine
        else "adds hardly any detail finer than the input's pixels"
    )
    return f"{opinion} ({share:.2f} % of the range shown) and {added}"


def decimals(figures: Sequence[float], digits: int = 2) -> int:
    """Return the decimals that show the largest figure with this many digits, for all figures of a column alike.

    >>> decimals([0.0123, 0.5]), decimals([123.4]), decimals([float("nan")])
    (2, 0, 1)
    """
    known = [abs(figure) for figure in figures if figure == figure]
    top = f"{max(known, default=0.0):e}"
    exponent = int(top.partition("e")[2]) if max(known, default=0.0) else 0
    return max(0, digits - 1 - exponent)
