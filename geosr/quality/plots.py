"""Pictures of what an evaluation found, as PNG bytes: maps of errors, power spectra, crops. Knows arrays alone."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.grid import Block

DPI = 110
ENDS = (1, 99)
"""Percentiles of a picture that become black and white."""
STYLES = {"truth": "k-", "nearest": "C7:", "bilinear": "C0--", "bicubic": "C1-", "lanczos": "C2--"}
OTHER = "C3-"


def picture(
    block: Block, valid: NDArray[np.bool_], channels: tuple[int, int, int], *, like: Block | None = None
) -> Block:
    """Return a block (bands, rows, cols) as (rows, cols, 3) from 0 to 1; `channels` are red, green and blue.

    The ends are percentiles of each band of `like`, or of the block itself; pixels that are not valid are gray.
    """
    rgb = np.empty((*block.shape[1:], 3))
    for i, band in enumerate(channels):
        good = valid[band] & np.isfinite(block[band])
        values = (block if like is None else like)[band]
        values = values[good] if like is None else values[np.isfinite(values)]
        low, high = np.percentile(values.astype(np.float64), ENDS) if values.size else (0.0, 1.0)
        scaled = (np.where(good, block[band], low) - low) / max(high - low, 1e-12)
        rgb[..., i] = np.where(good, np.clip(scaled, 0, 1), 0.5)
    return rgb


def error_maps(scene: Block, maps: Mapping[str, Block], *, title: str) -> bytes:
    """The scene (rows, cols, 3) beside maps of its errors, which are shares of the range; NaN where there is none."""
    from matplotlib import colormaps

    figure = _figure(4.2 * (1 + len(maps)) + 0.8, 4.2 * _tall(scene) + 0.7)
    colours = colormaps["magma"].with_extremes(bad="0.5")
    axes = figure.subplots(1, 1 + len(maps), squeeze=False)[0]
    axes[0].imshow(scene, interpolation="nearest")
    axes[0].set_title("scene")
    percents = {name: 100 * errors for name, errors in maps.items()}
    known = np.concatenate([errors[np.isfinite(errors)] for errors in percents.values()])
    top = float(np.percentile(known, 99)) if known.size else 1.0
    for axis, (name, errors) in zip(axes[1:], percents.items(), strict=True):
        drawn = axis.imshow(errors, vmin=0, vmax=top or 1.0, cmap=colours, interpolation="nearest")
        axis.set_title(f"{name}: RMSE {np.sqrt(np.nanmean(errors**2)) if known.size else 0:.2f} % of the range")
    for axis in axes:
        axis.set_axis_off()
    figure.colorbar(drawn, ax=list(axes), label="error, % of the range", fraction=0.03, pad=0.01)
    figure.suptitle(title)
    return _png(figure)


def power_spectra(frequencies: Block, curves: Mapping[str, Block], *, nyquist: float, title: str) -> bytes:
    """Power by radial frequency, of the truth and of each method; `nyquist` is the input's."""
    figure = _figure(7.5, 5)
    axis = figure.subplots()
    for name, power in curves.items():
        axis.semilogy(frequencies[1:], power[1:], STYLES.get(name, OTHER), label=name, lw=1.6)
    axis.axvline(nyquist, color="0.6", lw=0.8)
    axis.annotate(
        "the input held nothing beyond", (nyquist, 1), xycoords=("data", "axes fraction"), xytext=(4, -12),
        textcoords="offset points", color="0.4", fontsize=8,
    )  # fmt: skip
    axis.set(xlabel="cycles per pixel of the truth", ylabel="power, range² per coefficient", xlim=(0, 0.5), title=title)
    axis.grid(alpha=0.3)
    axis.legend()
    return _png(figure)


def crop_sheet(rows: Sequence[tuple[str, Mapping[str, Block], Mapping[str, str]]], *, title: str) -> bytes:
    """A row for each window: its position, and the pictures (rows, cols, 3) by name, each with its caption."""
    across = max(len(pictures) for _, pictures, _ in rows)
    figure = _figure(2.3 * across, 2.55 * len(rows) + 0.5)
    axes = figure.subplots(len(rows), across, squeeze=False)
    for line, (place, pictures, captions) in zip(axes, rows, strict=True):
        for axis, (name, crop) in zip(line, pictures.items(), strict=True):
            axis.imshow(crop, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{name} {captions.get(name, '')}".strip(), fontsize=9)
        line[0].set_ylabel(place, fontsize=8)
    figure.suptitle(title)
    return _png(figure)


def _tall(scene: Block) -> float:
    """Height over width, within what a page can show."""
    return float(np.clip(scene.shape[0] / scene.shape[1], 0.25, 4))


def _figure(width: float, height: float) -> Any:
    # Without pyplot, which keeps figures and asks for a screen.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _png(figure: Any) -> bytes:
    content = io.BytesIO()
    # Without the version of matplotlib: the same scores give the same bytes.
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
