"""Drawings of a comparison as elements of a page: power spectra, and the map of its places."""

from __future__ import annotations

from html import escape

import numpy as np

from geosr.grid import Window
from geosr.quality.comparison import Comparison
from geosr.webpage import folded, lossless, table, wide

DASHES = ("", "9 4", "2 4", "12 4 2 4", "6 2")
"""Dash patterns of the pictures' curves, which must differ without colour."""
CHART = Window(56, 12, 560, 260)
"""Where the curves are drawn."""


def spectra(comparison: Comparison) -> str:
    """Return the curves, told apart by their dashes, and their figures."""
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
    rows = [
        [f"{f:.3f}", *(f"{curve[i]:.1f}" for curve in comparison.spectra)] for i, f in enumerate(comparison.frequencies)
    ]
    return wide(
        f'<svg viewBox="0 0 640 330" width="640" height="330" role="img" aria-labelledby="curves">'
        f'<title id="curves">Power in dB by spatial frequency of {escape(", ".join(comparison.names))}</title>'
        f'{"".join(drawn)}<text x="{(left + right) / 2}" y="{bottom + 42}" text-anchor="middle">'
        "spatial frequency, as a share of the result's Nyquist frequency</text>"
        f'<text x="14" y="{(top + bottom) / 2}" transform="rotate(-90 14 {(top + bottom) / 2})" text-anchor="middle">'
        "power, dB</text></svg>",
        label="power spectra",
    ) + folded("The figures", table(["frequency", *comparison.names], rows, label="figures of the spectra"))


def overview(comparison: Comparison) -> str:
    """Return the whole input, small, with the places marked."""
    height, width, _ = comparison.overview.shape
    k = width / comparison.size[0]
    boxes = []
    for number, place in enumerate(comparison.places, 1):
        w = place.window
        x, y, across, down = (round(value * k, 1) for value in (w.col_off, w.row_off, w.width, w.height))
        frame = f'x="{x}" y="{y}" width="{across}" height="{down}" fill="none"'
        # Dark and light, to be seen on any picture.
        boxes.append(f'<rect {frame} stroke="#000" stroke-width="4"/><rect {frame} stroke="#fff" stroke-width="1.5"/>')
        left, top = min(x, width - 24), max(min(y, height - 20), 0)
        boxes.append(f'<rect x="{left}" y="{top}" width="24" height="20" fill="#000"/>')
        boxes.append(f'<text x="{left + 12}" y="{top + 15}" text-anchor="middle" style="fill:#fff">{number}</text>')
    image = lossless(comparison.overview[..., ::-1])
    return (
        f'<svg class="overview" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="the whole input, with the places marked"><image href="{image}" '
        f'width="{width}" height="{height}"/>{"".join(boxes)}</svg>'
    )
