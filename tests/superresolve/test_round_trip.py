"""What each format keeps of each item of metadata, read back by rasterio: the table of docs/formats.md.

`python -m tests.superresolve.test_round_trip` writes the table anew.
"""

import contextlib
import logging
import re
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from geosr.errors import OptionError
from geosr.rasters.containers import open_raster
from geosr.superresolve.job import super_resolve
from geosr.superresolve.options import Options
from tests.conftest import camera, texture

DOCS = Path(__file__).parents[2] / "docs" / "formats.md"
HEAD = "| | "
DRIVERS = ("GTiff", "COG", "PNG", "JP2OpenJPEG", "NITF", "ENVI", "netCDF", "GPKG", "MBTiles")
TRANSFORM = Affine(10, 0, 400_000, 0, -10, 5_000_000)
GCPS = [GroundControlPoint(r, c, 10 + c / 9, 50 - r / 9) for r in (0, 25.5, 50) for c in (0, 30.25, 60)]


@dataclass(frozen=True)
class Case:
    """An item of metadata: how a scene gets it, how it is read, and what it must be in twice as many pixels."""

    expected: object
    read: Callable[[object], object]
    words: str
    """Those of a warning."""
    change: Callable[[object], None] = lambda scene: None
    corrected: bool = False
    profile: tuple[tuple[str, object], ...] = ()
    epoch: str = ""
    options: tuple[tuple[str, object], ...] = ()
    bands: int = 3


def set_masked(scene):
    scene.write_mask(np.tri(50, 60) > 0)


def set_gcps(scene):
    scene.gcps = GCPS, CRS.from_epsg(4326)


def set_alpha(scene):
    scene.write(np.where(np.tri(50, 60), 255, 0).astype("uint8"), 4)


def epoch_of(out):
    with rasterio.MemoryFile(ext=".vrt") as memory:
        rasterio.shutil.copy(out, memory.name, driver="VRT")
        return (re.findall('coordinateEpoch="([^"]*)"', memory.read().decode()) or [None])[0]


def per_inch(out):
    """Pixels per inch: some formats have another unit."""
    tags = {name.rpartition("#GDAL_")[2]: text for name, text in out.tags().items()}
    unit = 2.54 if tags.get("TIFFTAG_RESOLUTIONUNIT", "").startswith("3") else 1
    return [round(float(tags.get(f"TIFFTAG_{axis}RESOLUTION", 0)) * unit, 2) for axis in "XY"]


def setting(**values):
    def change(scene):
        for name, value in values.items():
            setattr(scene, name, value)

    return change


def tagging(*band, ns=None, **tags):
    return lambda scene: scene.update_tags(*band, ns=ns, **tags)


NOWHERE = (("crs", None), ("transform", Affine.identity()))
CASES = {
    "CRS": Case("EPSG:32633", lambda out: str(out.crs), "the CRS"),
    "transform": Case(
        True,
        lambda out: out.transform.almost_equals(TRANSFORM @ Affine.scale(0.5), 1e-6),
        "the transform",
        corrected=True,
    ),
    "coordinate epoch": Case(
        "2021.25",
        epoch_of,
        "the coordinate epoch",
        profile=(("crs", "EPSG:9000"), ("transform", Affine(0.1, 0, 5, 0, -0.1, 50))),
        epoch="2021.25",
    ),
    "nodata value": Case(7, lambda out: out.nodata, "the nodata value", profile=(("nodata", 7),)),
    "mask": Case(
        True,
        lambda out: (out.dataset_mask() > 0).shape == (100, 120)
        and bool(((out.dataset_mask() > 0) == (np.tri(50, 60) > 0).repeat(2, 0).repeat(2, 1)).all()),
        "the mask band",
        set_masked,
    ),
    "transparency": Case(
        ColorInterp.alpha,
        lambda out: out.colorinterp[-1],
        "colour interpretation",
        set_alpha,
        profile=(("photometric", "RGB"), ("alpha", "YES")),
        bands=4,
    ),
    "colour interpretation": Case(
        (ColorInterp.red, ColorInterp.green, ColorInterp.blue),
        lambda out: out.colorinterp,
        "colour interpretation",
        profile=(("photometric", "RGB"),),
    ),
    "overviews": Case(True, lambda out: bool(out.overviews(1)), "overviews", options=(("overviews", True),)),
    "tags": Case(
        ["one"],
        lambda out: [text for name, text in out.tags().items() if name.endswith("MISSION")],
        "some tags",
        tagging(MISSION="one"),
    ),
    "pixels per inch": Case(
        [144, 144],
        per_inch,
        "some tags",
        tagging(TIFFTAG_XRESOLUTION="72", TIFFTAG_YRESOLUTION="72", TIFFTAG_RESOLUTIONUNIT="2 (pixels/inch)"),
        corrected=True,
    ),
    "tags of other domains": Case({"a": "1"}, lambda out: out.tags(ns="MINE"), "some tags", tagging(ns="MINE", a="1")),
    "tags of bands": Case("560", lambda out: out.tags(2).get("wavelength"), "some tags", tagging(2, wavelength="560")),
    "names of bands": Case(
        ("red", "green", "nir"),
        lambda out: out.descriptions,
        "the descriptions of the bands",
        setting(descriptions=("red", "green", "nir")),
    ),
    "units": Case(("W", "W", "K"), lambda out: out.units, "the units of the bands", setting(units=("W", "W", "K"))),
    "scales": Case((0.1, 0.1, 0.2), lambda out: out.scales, "the scales of the bands", setting(scales=(0.1, 0.1, 0.2))),
    "offsets": Case((1, 2, 3), lambda out: out.offsets, "the offsets of the bands", setting(offsets=(1, 2, 3))),
    "GCPs": Case(
        [(2 * p.row, 2 * p.col, p.x, p.y) for p in GCPS],
        lambda out: [(p.row, p.col, p.x, p.y) for p in out.gcps[0]],
        "ground control points",
        set_gcps,
        corrected=True,
        profile=NOWHERE,
    ),
    "RPCs": Case(
        (49.5, 59.5, 60, 60),
        lambda out: out.rpcs and (out.rpcs.line_off, out.rpcs.samp_off, out.rpcs.line_scale, out.rpcs.samp_scale),
        "RPCs",
        setting(rpcs=camera(24.5, 29.5, 30)),
        corrected=True,
        profile=NOWHERE,
    ),
}  # fmt: skip


def scene_of(case, folder):
    profile = {"crs": "EPSG:32633", "transform": TRANSFORM} | dict(case.profile)
    array = texture(case.bands, 50, 60, low=20, high=250)
    with rasterio.open(
        folder / "scene.tif", "w", driver="GTiff", width=60, height=50, count=case.bands, dtype="uint8", **profile
    ) as scene:
        scene.write(array)
        case.change(scene)
    if not case.epoch:
        return folder / "scene.tif"
    rasterio.shutil.copy(folder / "scene.tif", folder / "scene.vrt", driver="VRT")
    text = (folder / "scene.vrt").read_text()
    (folder / "scene.vrt").write_text(text.replace("<SRS ", f'<SRS coordinateEpoch="{case.epoch}" '))
    return folder / "scene.vrt"


def outcome(case, driver):
    """Return kept, corrected, named or refused; or lost, if nobody is told."""
    messages = []
    handler, logger = logging.Handler(), logging.getLogger("geosr")
    handler.emit = lambda record: messages.append(record.getMessage())
    logger.addHandler(handler)
    try:
        with (
            tempfile.TemporaryDirectory() as name,
            warnings.catch_warnings(),
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        ):
            warnings.simplefilter("ignore")
            folder = Path(name)
            scene = scene_of(case, folder)
            options = Options(model="bicubic", scale=2, format=driver, alpha="mask", **dict(case.options))
            try:
                super_resolve(scene, folder / "out", options)
            except OptionError:
                return "refused"
            with open_raster(folder / "out") as out, contextlib.suppress(IndexError):
                if case.read(out) == case.expected:
                    return "corrected" if case.corrected else "kept"
    finally:
        logger.removeHandler(handler)
    return "named" if any(f": {case.words} could not be kept" in message for message in messages) else "lost"


def table(outcomes):
    """Return the table for people, in which nothing is lost."""
    lines = [f"{HEAD}{' | '.join(DRIVERS)} |", "|---|" + "---|" * len(DRIVERS)]
    lines += [f"| {item} | {' | '.join(outcomes[item, driver] for driver in DRIVERS)} |" for item in CASES]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "driver", [pytest.param(driver, marks=[] if driver == "GTiff" else [pytest.mark.slow]) for driver in DRIVERS]
)
@pytest.mark.parametrize("item", CASES)
def test_each_format_keeps_each_item_or_says_what_it_does_not(item, driver):
    [row] = [line for line in DOCS.read_text().splitlines() if line.startswith(f"| {item} | ")]
    result = outcome(CASES[item], driver)
    assert result != "lost"
    assert row.split(" | ")[1 + DRIVERS.index(driver)].strip(" |") == result


def main():
    outcomes = {(item, driver): outcome(case, driver) for item, case in CASES.items() for driver in DRIVERS}
    print(table(outcomes))
    text = DOCS.read_text()
    start = text.index(f"{HEAD}{DRIVERS[0]} |")
    DOCS.write_text(text[:start] + table(outcomes) + text[text.index("\n\n", start) + 1 :])


if __name__ == "__main__":
    main()
