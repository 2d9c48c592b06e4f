"""The scores of a result: from sums that add up over tiles, of each method and scene. Knows no files."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geosr import notebook
from geosr.files import plural
from geosr.grid import Block, Tile, Window
from geosr.quality import metrics
from geosr.quality.correctness import Correctness, correctness, enlarged
from geosr.quality.metrics import Mask, Mean, Spectra


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores against the truth; None where undefined."""

    psnr: float | None
    """dB, mean over the bands that have an error; infinite if none has."""
    ssim: float | None
    """Mean over bands."""
    psnr_y: float | None
    """PSNR of 8-bit Y with the border shaved, for scenes of three bands of 8 bits."""
    ssim_y: float | None
    sam: float | None
    """Degrees; for scenes of two bands and more."""
    ergas: float | None
    rmse: float | None
    """In the scene's unit, over all bands."""
    consistency: float | None
    """RMSE of the result, shrunk, against the shrunk scene, in the scene's unit."""
    recovered: float | None
    """Share of the truth's energy beyond the input's Nyquist that is in the result, in phase; mean over bands."""
    energy: float | None
    """All the energy that the result has there, as the same share; what exceeds `recovered` is invented."""
    improvement: float | None
    """Share of what the input lacks that the result has right, as opensr-test tells it."""
    omission: float | None
    """Share that it leaves out."""
    hallucination: float | None
    """Share that it makes up."""

    @classmethod
    def mean(cls, several: Sequence[Scores], *, one_unit: bool = True) -> Scores:
        """Return the mean of each score; None where one has none, and for errors where units differ."""

        def mean(name: str) -> float | None:
            values = [getattr(scores_here, name) for scores_here in several]
            if None in values or not (one_unit or name not in IN_A_UNIT):
                return None
            return float(np.mean(values))

        return cls(**{field.name: mean(field.name) for field in fields(cls)})


IN_A_UNIT = ("rmse", "consistency")


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums that scores are computed from, which add up over tiles."""

    errors: Mean
    level: Mean
    ssim: Mean
    angles: Mean
    inconsistency: Mean
    spectra: Spectra
    correctness: Correctness
    luma: tuple[Mean, Mean] | None
    """Squared errors and SSIM of Y."""

    def __add__(self, other: Sums) -> Sums:
        luma = None
        if self.luma and other.luma:
            luma = (self.luma[0] + other.luma[0], self.luma[1] + other.luma[1])
        return Sums(
            self.errors + other.errors,
            self.level + other.level,
            self.ssim + other.ssim,
            self.angles + other.angles,
            self.inconsistency + other.inconsistency,
            self.spectra + other.spectra,
            self.correctness + other.correctness,
            luma,
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """The truth around a tile's core, and the pixels that count, to compare results with."""

    truth: Block
    low: Block
    """The shrunk pixels that the result was made from."""
    valid: Mask
    """Validity of the truth."""
    good: Mask
    """Validity of the shrunk pixels."""
    core: Tile
    """In pixels of what the result was made of."""
    whole: Window
    """All of the truth."""
    scale: int
    peak: ArrayLike
    border: int
    colours: bool
    """True if the truth is 8-bit red, green and blue."""

    def sums(self, result: Block) -> Sums:
        """Over the core of a result, which has the truth's pixels."""
        there, truth = self.core.scale(self.scale), self.truth
        kept = self.valid & metrics.inner(there.outer, self.whole, self.border)
        counted = there.trim(kept)
        off, usable = metrics.inconsistencies(result, self.low, valid=self.good)
        return Sums(
            errors=Mean.of(there.trim(metrics.squared_errors(result, truth)), counted),
            level=Mean.of(there.trim(truth), counted),
            ssim=Mean.of(*map(there.trim, metrics.similarities(result, truth, peak=self.peak, valid=kept))),
            angles=Mean.of(*map(there.trim, metrics.angles(result, truth, valid=kept))),
            inconsistency=Mean.of(self.core.trim(off) ** 2, self.core.trim(usable)),
            spectra=metrics.spectra(*map(there.trim, (result, truth)), scale=self.scale, valid=there.trim(self.valid)),
            correctness=correctness(
                there.trim(result), there.trim(truth), there.trim(enlarged(self.low, self.scale)), counted
            ),
            luma=self._luma_sums(result) if self.colours else None,
        )

    def _luma_sums(self, result: Block) -> tuple[Mean, Mean]:
        """Return the sums of 8-bit Y, with `scale` pixels shaved."""
        there = self.core.scale(self.scale)
        first, other = (metrics.luma(block) for block in (result, self.truth))
        counted = (self.valid.all(axis=0) & metrics.inner(there.outer, self.whole, self.scale))[None]
        similar = metrics.similarities(first, other, peak=255, valid=counted)
        errors = metrics.squared_errors(first, other)
        return Mean.of(there.trim(errors), there.trim(counted)), Mean.of(*map(there.trim, similar))


@dataclass(frozen=True, slots=True)
class Result:
    """A scene's scores, by method."""

    scene: str
    bands: int
    dtype: str
    width: int
    height: int
    methods: dict[str, Scores]


@dataclass(frozen=True, slots=True)
class Report:
    """The scores of an evaluation."""

    model: str
    scale: int
    protocol: str
    border: int
    scenes: list[Result]
    total: dict[str, Scores]
    """Means over the scenes."""

    def _repr_html_(self) -> str:
        """Return the means of the most important scores as a table, for notebooks."""
        columns = {"PSNR": ("psnr", ".2f"), "SSIM": ("ssim", ".4f"), "consistency": ("consistency", ".3g"),
                   "recovered": ("recovered", ".1%")}  # fmt: skip
        rows = [
            [name, *(_cell(getattr(means, key), form) for key, form in columns.values())]
            for name, means in self.total.items()
        ]
        count = plural(len(self.scenes), "scene")
        return notebook.table(f"{self.model} x{self.scale}, {count}", ["", *columns], rows)


def _cell(score: float | None, form: str) -> str:
    return "" if score is None else format(score, form)


def scores(sums: Sums, *, scale: int, peak: ArrayLike) -> Scores:
    """Return the scores of the sums; the peak of PSNR is one for all bands, or one for each."""
    error = sums.errors.value
    decibels = metrics.decibels(error, peak)
    luma, luma_ssim = sums.luma or (None, None)
    improvement, omission, hallucination = map(mean, np.split(sums.correctness.value, 3))
    return Scores(
        psnr=mean(np.where(error > 0, decibels, np.nan)) if np.any(error > 0) else mean(decibels),
        ssim=mean(sums.ssim.value),
        psnr_y=mean(metrics.decibels(luma.value, 255)) if luma else None,
        ssim_y=mean(luma_ssim.value) if luma_ssim else None,
        sam=mean(sums.angles.value) if len(error) > 1 else None,
        ergas=mean(np.array(metrics.relative_error(error, sums.level.value, scale=scale))),
        rmse=mean(error, root=True),
        consistency=mean(sums.inconsistency.value, root=True),
        recovered=mean(sums.spectra.recovered),
        energy=mean(sums.spectra.energy),
        improvement=improvement,
        omission=omission,
        hallucination=hallucination,
    )


def mean(values: NDArray[np.float64], *, root: bool = False) -> float | None:
    """Over the bands that have a value; its root, where they are squares; None without any."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        average = float(np.nanmean(values))
    if np.isnan(average):
        return None
    return float(np.sqrt(average)) if root else average


def total(results: Sequence[Result]) -> dict[str, Scores]:
    """The means over scenes, by method."""
    one_unit = len({result.dtype for result in results}) == 1
    return {
        name: Scores.mean([result.methods[name] for result in results], one_unit=one_unit)
        for name in results[0].methods
    }


def table(report: Report) -> str:
    """The scores as CSV, a line for each scene and method; the means come last, as the scene `total`."""
    names = [field.name for field in fields(Scores)]
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["scene", "method", "scale", "bands", "dtype", *names])
    rows: list[tuple[Any, ...]] = [
        (scene_scores.scene, scene_scores.bands, scene_scores.dtype, scene_scores.methods)
        for scene_scores in report.scenes
    ]
    for scene, bands, dtype, methods in [*rows, ("total", "", "", report.total)]:
        for method, scored in methods.items():
            values = [getattr(scored, name) for name in names]
            cells = ["" if value is None else f"{value:.6g}" for value in values]
            lines.writerow([scene, method, report.scale, bands, dtype, *cells])
    return text.getvalue()
