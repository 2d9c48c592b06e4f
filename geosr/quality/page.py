"""A comparison as a page of HTML that needs no other file, and as a picture. Knows no rasters."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geosr import pictures
from geosr.files import json_text
from geosr.grid import Block, Window

PARTS = Path(__file__).with_name("page.html")
"""The template; its style and its script lie beside it."""
DASHES = ("", "9 4", "2 4")
"""Dash patterns of the pictures' curves, which must differ without colour."""
CHART = Window(56, 12, 560, 260)
"""Where the curves are drawn."""
PANEL = 256
"""Rows and columns of a panel of the picture."""
NOTE = (
    "Both sides are stretched alike: the percentiles 1 and 99 of the input become black and white. Values are shown "
    "with 8 bits; scores are computed from the values themselves. Hatched pixels hold no data."
)


@dataclass(frozen=True, slots=True)
class Place:
    """One window of the scene, in all pictures."""

    window: Window
    """In pixels of the input."""
    pictures: tuple[Block, ...]
    """Blocks (bands, rows, cols) of one size."""
    valid: NDArray[np.bool_]
    """True (rows, cols) of a picture."""
    error: Block
    """Error of the result, shrunk back, against the input (rows, cols); NaN where unknown."""
    transform: Affine
    """The transform of the pictures' pixels."""
    corners: tuple[tuple[float, float], ...] | None
    """Longitude and latitude of the upper left, upper right, lower left and lower right corner."""
    scores: Mapping[str, tuple[float, ...]]
    """For each score a figure for each picture; NaN where there is none."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that is to be shown."""

    before: str
    after: str
    model: str
    """The model that made the result and what it was told; empty where that is not known."""
    names: tuple[str, ...]
    """Names of the pictures."""
    scale: int
    bands: tuple[str, ...]
    colours: tuple[int, int, int] | None
    """Positions of the bands that are red, green and blue."""
    crs: str
    located: bool
    places: Sequence[Place]
    totals: Mapping[str, tuple[float, ...]]
    meanings: Mapping[str, str]
    """A sentence on each score."""
    frequencies: Sequence[float]
    """Shares of the Nyquist frequency of the pictures."""
    spectra: Sequence[Sequence[float]]
    """Power at those frequencies, in dB, of each picture."""
    ends: Sequence[tuple[float, float]]
    """Values of each band that are shown black and white."""
    overview: Block
    """The whole scene, small (rows, cols) of 8 bits."""
    size: tuple[int, int]
    """Columns and rows of the whole input."""

    @property
    def title(self) -> str:
        return f"{self.before} and {self.after}"


def page(comparison: Comparison) -> str:
    """The page."""
    count = len(comparison.places)
    summary = (
        f"{comparison.before} enlarged by {comparison.scale} with bicubic interpolation beside {comparison.after}, in "
        f"{count} {'window' if count == 1 else 'windows, the most detailed first'}"
    )
    return Template(PARTS.read_text(encoding="utf-8")).substitute(
        title=escape(comparison.title),
        summary=escape(summary)
        + (", and the truth" if len(comparison.names) > 2 else "")
        + (f". Made by {escape(comparison.model)}." if comparison.model else "."),
        note=escape(NOTE),
        error_caption="The result shrunk back to the input's pixels, less the input, without sign, in its unit.",
        style=PARTS.with_suffix(".css").read_text(encoding="utf-8"),
        script=PARTS.with_suffix(".js").read_text(encoding="utf-8"),
        table=_table(comparison),
        legend=_legend(comparison.meanings),
        spectra=_spectra(comparison),
        overview=_overview(comparison),
        # A script ends where the letters say so, whatever its type.
        data=json_text(_data(comparison), indent=None).replace("<", "\\u003c"),
    )


def sheet(comparison: Comparison) -> bytes:
    """Return a PNG: a row for each place, with its pictures and its errors."""
    rows = []
    for number, place in enumerate(comparison.places, 1):
        top = _most(place)
        images = [_bgr(comparison, picture) for picture in place.pictures]
        panels = [pictures.panel(image, PANEL) for image in (*images, pictures.heatmap(place.error, top))]
        labels = [*(f"{number}: {name}" for name in comparison.names), f"error, 0 to {top:.3g}"]
        rows.append(pictures.labelled_row(panels, labels))
    return pictures.png(np.vstack(rows))


def _data(comparison: Comparison) -> dict[str, Any]:
    """Return the data of the page's script."""
    modes: list[dict[str, Any]] = [{"name": name, "bands": [i]} for i, name in enumerate(comparison.bands)]
    if comparison.colours:
        modes.insert(0, {"name": "red, green, blue", "bands": list(comparison.colours)})
    return {
        "names": comparison.names,
        "scale": comparison.scale,
        "modes": modes,
        "crs": comparison.crs,
        "located": comparison.located,
        "places": [_place(comparison, place, number) for number, place in enumerate(comparison.places, 1)],
    }


def _place(comparison: Comparison, place: Place, number: int) -> dict[str, Any]:
    window, top = place.window, _most(place)
    # Level 0 is left for pixels whose error is unknown, 1 is no error, 255 the brightest or more.
    errors = pictures.stretched(place.error, -top / 254, top)
    return {
        "name": f"{number}: column {window.col_off}, row {window.row_off}",
        "told": f"place {number}, column {window.col_off}, row {window.row_off} of the input, "
        f"{window.width} x {window.height} pixels of it",
        "col": window.col_off,
        "row": window.row_off,
        "transform": list(place.transform)[:6],
        "corners": place.corners,
        "most": float(f"{top:.3g}"),
        "images": [
            [_uri(pictures.stretched(band, *ends)) for band, ends in zip(picture, comparison.ends, strict=True)]
            for picture in place.pictures
        ],
        "mask": None if place.valid.all() else _uri(255 * place.valid.astype(np.uint8)),
        "error": _uri(errors),
    }


def _most(place: Place) -> float:
    """The error that is shown brightest."""
    known = place.error[np.isfinite(place.error)]
    return max(float(np.percentile(known, 99.5)), 1e-9) if known.size else 1.0


def _uri(image: Block) -> str:
    """An image (rows, cols) of 8 bits, without loss, as a data URI."""
    import cv2

    data = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1]
    return "data:image/webp;base64," + base64.b64encode(bytes(data)).decode()


def _bgr(comparison: Comparison, picture: Block) -> pictures.Picture:
    """Return a picture (bands, rows, cols) in OpenCV's order."""
    channels = comparison.colours[::-1] if comparison.colours else (0, 0, 0)
    return np.stack([pictures.stretched(picture[i], *comparison.ends[i]) for i in channels], axis=-1)


def _figure(value: float) -> str:
    return "&ndash;" if np.isnan(value) else escape(f"{value:.4g}")


def _table(comparison: Comparison) -> str:
    # A score that a picture has none of is left out with its column.
    columns = [
        (s, i) for s in comparison.totals for i in range(len(comparison.names)) if not np.isnan(comparison.totals[s][i])
    ]
    spans = {score: sum(score_name == score for score_name, _ in columns) for score in comparison.totals}
    top = "".join(f'<th scope="colgroup" colspan="{n}">{escape(score)}</th>' for score, n in spans.items() if n)
    head = "".join(f'<th scope="col">{escape(comparison.names[i])}</th>' for _, i in columns)
    body = "".join(
        f'<tr><th scope="row">{name}</th>'
        + "".join(f"<td>{_figure(scores[score][i])}</td>" for score, i in columns)
        + "</tr>"
        for name, scores in [
            *((str(n), place.scores) for n, place in enumerate(comparison.places, 1)),
            ("all", comparison.totals),
        ]
    )
    return (
        f'<table><thead><tr><th scope="col" rowspan="2">place</th>{top}</tr><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _legend(meanings: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in meanings.items())
    return f"<dl>{rows}</dl>"


def _spectra(comparison: Comparison) -> str:
    """The curves, told apart by their dashes, and their figures."""
    powers = np.array(comparison.spectra)
    low, high = 10 * np.floor(powers.min() / 10), 10 * np.ceil(powers.max() / 10 + 1e-9)
    (top, bottom), (left, right) = CHART.toranges()

    def x(share: float) -> float:
        return left + share * CHART.width

    def y(power: float) -> float:
        return float(bottom - (power - low) / max(high - low, 1) * CHART.height)

    drawn = [f'<path class="axis" d="M{left} {top}V{bottom}H{right}"/>']
    for share in (0, 0.25, 0.5, 0.75, 1):
        drawn.append(f'<path class="axis" d="M{x(share)} {bottom}v5"/>')
        drawn.append(f'<text x="{x(share)}" y="{bottom + 20}" text-anchor="middle">{share:g}</text>')
    for power in np.arange(low, high + 1, 20 if high - low > 60 else 10):
        drawn.append(f'<path class="axis" d="M{left} {y(power):.1f}h-5"/>')
        drawn.append(f'<text x="{left - 8}" y="{y(power) + 4:.1f}" text-anchor="end">{power:g}</text>')
    edge = x(1 / comparison.scale)
    drawn.append(f'<path class="axis" stroke-dasharray="1 3" d="M{edge:.1f} {top}V{bottom}"/>')
    drawn.append(f'<text x="{edge + 4:.1f}" y="{bottom - 6}">finest detail of the input</text>')
    for k, (name, curve) in enumerate(zip(comparison.names, comparison.spectra, strict=True)):
        points = " ".join(f"{x(f):.1f},{y(p):.1f}" for f, p in zip(comparison.frequencies, curve, strict=True))
        dashes = DASHES[k % len(DASHES)]
        row = top + 14 + 20 * k
        drawn.append(f'<polyline class="curve" stroke-dasharray="{dashes}" points="{points}"/>')
        drawn.append(f'<path class="curve" stroke-dasharray="{dashes}" d="M{right - 190} {row}h50"/>')
        drawn.append(f'<text x="{right - 132}" y="{row + 4}">{escape(name)}</text>')
    rows = "".join(
        f'<tr><th scope="row">{f:.3f}</th>'
        + "".join(f"<td>{curve[i]:.1f}</td>" for curve in comparison.spectra)
        + "</tr>"
        for i, f in enumerate(comparison.frequencies)
    )
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in comparison.names)
    return (
        f'<svg viewBox="0 0 640 330" width="640" height="330" role="img" aria-labelledby="curves">'
        f'<title id="curves">Power in dB by spatial frequency of {escape(", ".join(comparison.names))}</title>'
        f'{"".join(drawn)}<text x="{(left + right) / 2}" y="{bottom + 42}" text-anchor="middle">'
        "spatial frequency, as a share of the result's Nyquist frequency</text>"
        f'<text x="14" y="{(top + bottom) / 2}" transform="rotate(-90 14 {(top + bottom) / 2})" text-anchor="middle">'
        "power, dB</text></svg>"
        "<p>Detail that a picture holds is power; so is noise. The input holds none beyond the dotted line: what a "
        "result has there is its model's estimate.</p>"
        '<details><summary>The figures</summary><div class="wide" tabindex="0" role="region" aria-label="figures of '
        f'the spectra"><table><thead><tr><th scope="col">frequency</th>{head}</tr></thead><tbody>{rows}</tbody>'
        "</table></div></details>"
    )


def _overview(comparison: Comparison) -> str:
    height, width = comparison.overview.shape
    k = width / comparison.size[0]
    boxes = []
    for number, place in enumerate(comparison.places, 1):
        w = place.window
        x, y, wide, high = (round(value * k, 1) for value in (w.col_off, w.row_off, w.width, w.height))
        frame = f'x="{x}" y="{y}" width="{wide}" height="{high}" fill="none"'
        # Dark and light, to be seen on any picture.
        boxes.append(f'<rect {frame} stroke="#000" stroke-width="4"/><rect {frame} stroke="#fff" stroke-width="1.5"/>')
        left, top = min(x, width - 24), max(min(y, height - 20), 0)
        boxes.append(f'<rect x="{left}" y="{top}" width="24" height="20" fill="#000"/>')
        boxes.append(f'<text x="{left + 12}" y="{top + 15}" text-anchor="middle" style="fill:#fff">{number}</text>')
    return (
        f'<svg class="overview" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="the whole input, with the places marked"><image href="{_uri(comparison.overview)}" '
        f'width="{width}" height="{height}"/>{"".join(boxes)}</svg>'
    )
