"""What a burst came to, for people: a page, a picture, and the figures in both. Knows arrays and words, no files."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from geosr.grid import Block, Window
from geosr.warp import Matrix, apply, corners

BINS = 20
"""Rings of the spectrum, from 0 to the Nyquist frequency of the photos."""
NEAR_NYQUIST = (0.5, 1.0)
"""Of the photos' Nyquist frequency: where a stack shows what one frame does not."""
MIDDLE = (0.1, 0.3)
SHOWN = 480
"""Rows and columns of a panel of the picture."""
COLUMNS = (
    ("name", "photo"), ("kept", "kept"), ("reason", "why not"), ("sharpness", "sharpness"), ("shift", "moved, px"),
    ("rotation", "turned, degrees"), ("zoomed", "enlarged"), ("inliers", "control points that agree"),
    ("points", "of"), ("rms", "their RMS, px"), ("motion", "left over, px"), ("still", "share that fits"),
    ("gain", "gain"), ("offset", "offset"),
)  # fmt: skip
STYLE = (
    "body{font:15px/1.4 sans-serif;margin:2em;max-width:80em}table{border-collapse:collapse}"
    "td,th{border:1px solid #bbb;padding:.2em .6em;text-align:left}img{max-width:100%}.out{color:#a00}"
)


def movement(matrix: Matrix, size: tuple[int, int]) -> dict[str, Any]:
    """How a frame moved: pixels at its middle, degrees clockwise, and times that it is enlarged."""
    edge = corners(Window(0, 0, *size))
    centre = edge.mean(axis=0, keepdims=True)
    shift = (apply(matrix, centre) - centre)[0]
    top = np.diff(apply(matrix, edge[:2]), axis=0)[0]
    return {
        "shift": [round(float(x), 3) for x in shift],
        "rotation": round(float(np.degrees(np.arctan2(top[1], top[0]))), 4),
        "zoomed": round(float(np.hypot(*top)) / size[0], 5),
    }


def spectrum(single: Block, result: Block, *, scale: int) -> dict[str, Any]:
    """Power of two gray images (rows, cols) by spatial frequency, and how much more of it near Nyquist the result has.

    Frequencies are shares of the Nyquist frequency of the photos. The gain in decibels is near Nyquist, less the gain
    at middle frequencies: contrast alone is no sharpness.
    """
    frequency, before = _rings(single, scale)
    _, after = _rings(result, scale)

    def level(power: Block, ends: tuple[float, float]) -> float:
        return float(power[(frequency >= ends[0]) & (frequency < ends[1])].mean())

    gains = [10 * np.log10(max(level(after, e), 1e-12) / max(level(before, e), 1e-12)) for e in (NEAR_NYQUIST, MIDDLE)]
    return {
        "frequency": [round(float(f), 3) for f in frequency],
        "reference": [float(f"{p:.4g}") for p in before],
        "result": [float(f"{p:.4g}") for p in after],
        "gain near Nyquist, dB": round(float(gains[0] - gains[1]), 2),
    }


def picture(single: Block, result: Block, maps: Sequence[Block], *, title: str) -> bytes:
    """A PNG: the reference beside the result (bands, rows, cols), and the maps of coverage and deviation below."""
    import cv2

    low, high = np.percentile(single, 0.5), np.percentile(single, 99.5)
    panels = [_panel(_colours((block - low) / max(high - low, 1e-9)), cv2.INTER_NEAREST) for block in (single, result)]
    for plane in maps:
        top = max(float(np.percentile(plane, 99.5)), 1e-9)
        shown = np.uint8(255 * np.clip(plane / top, 0, 1))
        panels.append(_panel(cv2.applyColorMap(shown, cv2.COLORMAP_VIRIDIS), cv2.INTER_AREA))
    titles = (
        *title.split(" | "),
        f"frames that count, {maps[0].max():g} at most",
        f"deviation, {maps[1].mean():.3g} on average",
    )
    for panel, text in zip(panels, titles, strict=True):
        cv2.putText(panel, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(panel, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255, 255, 255), 1, cv2.LINE_AA)
    whole = np.vstack([np.hstack(panels[:2]), np.hstack(panels[2:])])
    return bytes(cv2.imencode(".png", whole)[1])


def page(said: Mapping[str, Any], picture: bytes) -> str:
    """A page of HTML that needs no other file."""
    head = "".join(f"<th>{escape(title)}</th>" for _, title in COLUMNS)
    rows = "".join(
        f"<tr{'' if frame['kept'] else ' class=out'}>" + "".join(_cell(frame, key) for key, _ in COLUMNS) + "</tr>"
        for frame in said["frames"]
    )
    facts = {
        "photos kept": f"{said['kept']} of {len(said['frames'])}",
        "size": " x ".join(map(str, said["size"])) + f", {said['dtype']}",
        "images": ", ".join(said["outputs"]),
        "frames that count at a pixel, on average": f"{said['coverage']:.2f}",
        "standard deviation of the frames, on average": f"{said['deviation']:.4g}",
        "power near Nyquist over the reference's": f"{said['spectrum']['gain near Nyquist, dB']:+.1f} dB",
    }
    listed = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items())
    image = base64.b64encode(picture).decode()
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>geosr burst</title><style>{STYLE}</style>'
        f"<h1>geosr burst</h1><table>{listed}</table><h2>Photos</h2><table><tr>{head}</tr>{rows}</table>"
        f'<h2>Reference, result, maps</h2><img alt="crops and maps" src="data:image/png;base64,{image}"></html>\n'
    )


def _cell(frame: Mapping[str, Any], key: str) -> str:
    value = frame[key]
    if key == "kept":
        value = "reference" if frame["reference"] else "yes" if value else "no"
    if isinstance(value, list):
        value = ", ".join(f"{x:.2f}" for x in value)
    if isinstance(value, float):
        value = f"{value:.4g}"
    return f"<td>{escape(str(value))}</td>"


def _rings(image: Block, scale: int) -> tuple[Block, Block]:
    """Frequencies and the mean power (bins,) there, of the windowed image."""
    rows, cols = image.shape
    window = np.hanning(rows)[:, None] * np.hanning(cols)
    power = np.abs(np.fft.rfft2((image - image.mean()) * window)) ** 2 / (window**2).sum()
    down, right = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(cols)
    radius = np.hypot(down, right) * 2 * scale
    ring = np.minimum((radius * BINS).astype(int), BINS)
    sums, counts = (np.bincount(ring.ravel(), w, BINS + 1)[:BINS] for w in (power.ravel(), np.ones(power.size)))
    return (np.arange(BINS) + 0.5) / BINS, sums / np.maximum(counts, 1)


def _colours(block: Block) -> Block:
    """The block (bands, rows, cols) of 0 to 1 as blue, green and red (rows, cols, 3)."""
    shown = block[2::-1] if len(block) >= 3 else block[:1].repeat(3, axis=0)
    return np.ascontiguousarray(np.moveaxis(np.uint8(255 * np.clip(shown, 0, 1)), 0, -1))


def _panel(image: Block, how: int) -> Block:
    import cv2

    k = SHOWN / max(image.shape[:2])
    small = cv2.resize(image, None, fx=k, fy=k, interpolation=how)
    panel = np.zeros((SHOWN, SHOWN, 3), np.uint8)
    panel[: small.shape[0], : small.shape[1]] = small[:SHOWN, :SHOWN]
    return panel
