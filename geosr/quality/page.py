"""A comparison as a page of HTML that needs no other file, and as a picture. Knows no files but its own script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from geosr import __version__, pictures, webpage
from geosr.quality import drawings
from geosr.quality.comparison import Comparison, Place
from geosr.quality.correctness import NAMES
from geosr.quality.verdict import decimals

SCRIPT = Path(__file__).with_suffix(".js")
PANEL = 256
"""Rows and columns of a panel of the picture."""
NATIVE = "input pixels"
ENDS = (1, 99)
"""Percentiles of a place that are shown black and white, where it is stretched by itself."""
BEYOND = 1.5
"""How far values beyond those percentiles are kept apart on the page, in spans between them."""
UNITS = {"PSNR": "dB", "beyond the input": "%", "recovered": "%", **dict.fromkeys(NAMES, "%")}
DECIMALS = {"PSNR": 2, "SSIM": 4, "beyond the input": 2, "recovered": 1, **dict.fromkeys(NAMES, 1)}
NOTE = (
    "Both sides are stretched alike. Values are shown with 8 bits; scores are computed from the values themselves. "
    "Hatched pixels hold no data."
)


def page(comparison: Comparison) -> str:
    """Return the page."""
    return webpage.document(
        comparison.title, _body(comparison), script=SCRIPT.read_text(encoding="utf-8"), data=_data(comparison)
    )


def _body(comparison: Comparison) -> str:
    error = (
        "<p>The result shrunk back to the input's pixels, less the input, without sign: dark is agreement, bright is "
        "what the input does not support.</p>"
        '<figure><canvas id="error" tabindex="0" role="img" aria-describedby="keys"></canvas>'
        '<div class="scale" aria-hidden="true"><span>0</span><canvas id="ramp" width="256" height="1"></canvas>'
        '<span id="most"></span></div><figcaption id="off"></figcaption></figure>'
    )
    scores = _table(comparison) + _legend(comparison.meanings)
    spectra = (
        "<p>Detail that a picture holds is power, and so is noise: the input holds none right of the dotted line, so "
        "that what a result has there is its model's estimate.</p>" + drawings.spectra(comparison)
    )
    where = "<p>The numbers are those of the places above, the most detailed first.</p>" + drawings.overview(comparison)
    return (
        f"<header><h1>{escape(comparison.title)}</h1>{webpage.facts(_facts(comparison))}"
        f'<p class="verdict">{escape(comparison.verdict)}</p></header>\n<main>\n{CONTROLS}\n{VIEW}\n'
        f'<p class="note">{escape(NOTE)}</p>\n'
        + "\n".join(
            webpage.folded(title, content, name=name)
            for title, name, content in (
                ("Scores", "scores", scores),
                ("Error map", "errors", error),
                ("Spectra", "spectra", spectra),
                ("Map of the places", "places", where),
            )
        )
        + "\n</main>"
    )


CONTROLS = """<noscript><p>The pictures need JavaScript; the scores and the spectra below do not.</p></noscript>
<div class="controls">
<label>Left <select id="left"></select></label>
<label>Right <select id="right"></select></label>
<label>Bands <select id="bands"></select></label>
<label>Place <select id="place"></select></label>
<label>Stretch <select id="stretch"></select></label>
<label>Gamma <input id="gamma" type="range" min="0.4" max="2.5" step="0.1" value="1"></label>
<span class="buttons">
<button type="button" id="out" aria-label="zoom out">&minus;</button>
<button type="button" id="fit">fit</button>
<button type="button" id="in" aria-label="zoom in">+</button>
</span>
</div>"""
VIEW = """<figure class="main">
<canvas id="view" tabindex="0" role="img" aria-describedby="keys"></canvas>
<label class="split"><span>Divider</span><input id="split" type="range" min="0" max="100" step="1" value="50"></label>
<figcaption><span id="where"></span><br><output id="at">&ndash;</output></figcaption>
</figure>
<details>
<summary>Keys and gestures</summary>
<p id="keys">Drag the divider to compare; drag beside it to move; wheel, pinch, or double tap to zoom. In the focused
picture: arrows move, + and &minus; zoom, 0 fits, comma and full stop move the divider, [ and ] change the place,
b changes the bands, s the stretch.</p>
</details>"""


def _facts(comparison: Comparison) -> dict[str, str]:
    """Return the facts of the header, by name."""
    width, height = comparison.size
    models = list(dict.fromkeys(filter(None, comparison.models)))
    if len(models) > 1:
        models = [
            f"{name}: {model}" for name, model in zip(comparison.results, comparison.models, strict=True) if model
        ]
    return {
        "Scene": f"{comparison.before}, {width} x {height} pixels",
        "Result": ", ".join(comparison.results),
        "Model": "; ".join(models),
        "Scale": f"x{comparison.scale}",
        "Pixel size": _pixel(comparison),
        "CRS": comparison.crs or "none",
        "Date": f"{comparison.date}, geosr {__version__}",
        "Command": comparison.command,
    }


def _pixel(comparison: Comparison) -> str:
    """Return the size of a pixel of the input and of the results."""
    if comparison.pixel is None:
        return ""
    *sides, unit = comparison.pixel
    sizes = [" x ".join(dict.fromkeys(f"{side / scale:.6g}" for side in sides)) for scale in (1, comparison.scale)]
    return f"{sizes[0]} to {sizes[1]} {unit}"


def sheet(comparison: Comparison) -> bytes:
    """Return a PNG: a row for each place, with its pictures and the errors of the first result."""
    rows = []
    channels = comparison.shown[0].channels[::-1]
    for number, place in enumerate(comparison.places, 1):
        top = _most(place)
        images = [
            np.stack([pictures.stretched(picture[i], *comparison.ends[i]) for i in channels], axis=-1)
            for picture in place.pictures
        ]
        panels = [pictures.panel(image, PANEL) for image in (*images, pictures.heatmap(place.errors[0], top))]
        labels = [*(f"{number}: {name}" for name in comparison.names), f"error, 0 to {top:.3g} {comparison.unit}"]
        rows.append(pictures.labelled_row(panels, labels))
    return pictures.png(np.vstack(rows))


def _data(comparison: Comparison) -> dict[str, Any]:
    """Return the data of the page's script."""
    modes = [(composite.name, composite.positions) for composite in comparison.shown if len(composite.positions) > 1]
    modes += [(name, (i,)) for i, name in enumerate(comparison.bands)]
    return {
        "names": [NATIVE, *comparison.names],
        "results": len(comparison.results),
        "scale": comparison.scale,
        "modes": [{"name": name, "bands": bands} for name, bands in modes],
        "ends": comparison.ends,
        "crs": comparison.crs,
        "located": comparison.located,
        "unit": comparison.unit,
        "places": [
            _place(comparison, place, number, [bands for _, bands in modes])
            for number, place in enumerate(comparison.places, 1)
        ],
    }


def _place(comparison: Comparison, place: Place, number: int, modes: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    window, top = place.window, _most(place)
    limits = [_limits(place, band) for band in range(len(comparison.bands))]
    sides = (place.native, *place.pictures)
    return {
        "name": f"{number}: column {window.col_off}, row {window.row_off}",
        "words": f"Place {number}: column {window.col_off}, row {window.row_off} of the input, "
        f"{window.width} x {window.height} of its pixels",
        "col": window.col_off,
        "row": window.row_off,
        "transform": list(place.transform)[:6],
        "corners": place.corners,
        "metres": place.metres,
        "most": float(f"{top:.3g}"),
        "limits": limits,
        "stretches": [_stretch(place, bands, comparison.ends) for bands in modes],
        "images": [
            [webpage.lossless(pictures.stretched(band, *ends)) for band, ends in zip(side, limits, strict=True)]
            for side in sides
        ],
        "masks": [
            None if mask.all() else webpage.lossless(255 * mask.astype(np.uint8))
            for mask in (place.measured, place.valid)
        ],
        # Level 0 is left for pixels whose error is unknown, 1 is no error, 255 the brightest or more.
        "errors": [webpage.lossless(pictures.stretched(error, -top / 254, top)) for error in place.errors],
    }


def _limits(place: Place, band: int) -> tuple[float, float]:
    """Return the values of a band that the levels 0 and 255 of its images stand for."""
    values = np.concatenate(
        [place.native[band][place.measured], *(picture[band][place.valid] for picture in place.pictures)]
    )
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, ENDS)
    span = high - low or 1.0
    return max(float(values.min()), low - BEYOND * span), min(float(values.max()), high + BEYOND * span)


def _stretch(place: Place, bands: Sequence[int], ends: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the values of these bands that are black and white in a place.

    All bands share a brightness and a contrast, so that the balance of the colours stays that of the scene.
    """
    shares = [
        (place.native[band][place.measured] - low) / ((high - low) or 1.0)
        for band, (low, high) in ((band, ends[band]) for band in bands)
    ]
    values = np.concatenate(shares)
    values = values[np.isfinite(values)]
    first, last = np.percentile(values, ENDS) if values.size else (0.0, 1.0)
    if not last > first:
        first, last = 0.0, 1.0
    return [
        (low + float(first) * (high - low), low + float(last) * (high - low)) for low, high in (ends[b] for b in bands)
    ]


def _most(place: Place) -> float:
    """Return the error that is shown brightest."""
    known = np.concatenate([error[np.isfinite(error)] for error in place.errors])
    return max(float(np.percentile(known, 99.5)), 1e-9) if known.size else 1.0


def _table(comparison: Comparison) -> str:
    # A score that a picture has none of is left out with its column.
    columns = [
        (s, i) for s in comparison.totals for i in range(len(comparison.names)) if not np.isnan(comparison.totals[s][i])
    ]
    lines = [
        *((str(number), place.scores) for number, place in enumerate(comparison.places, 1)),
        ("all", comparison.totals),
    ]
    digits = {
        s: DECIMALS.get(s, decimals([scores[s][i] for _, scores in lines for t, i in columns if t == s], 3))
        for s in comparison.totals
    }
    spans = {score: sum(name == score for name, _ in columns) for score in comparison.totals}
    units = {**UNITS, "consistency": comparison.unit}
    top = "".join(
        f'<th scope="colgroup" colspan="{n}">{escape(", ".join(filter(None, (score, units.get(score, "")))))}</th>'
        for score, n in spans.items()
        if n
    )
    head = "".join(f'<th scope="col">{escape(comparison.names[i])}</th>' for _, i in columns)
    body = "".join(
        f'<tr><th scope="row">{name}</th>'
        + "".join(f"<td>{_figure(scores[score][i], digits[score])}</td>" for score, i in columns)
        + "</tr>"
        for name, scores in lines
    )
    return webpage.wide(
        f'<table><thead><tr><th scope="col" rowspan="2">place</th>{top}</tr><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>",
        label="scores",
    )


def _figure(value: float, digits: int) -> str:
    return "&ndash;" if np.isnan(value) else f"{value:.{digits}f}"


def _legend(meanings: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in meanings.items())
    return f'<dl class="terms">{rows}</dl>'
