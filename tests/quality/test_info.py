"""What is told of a raster, and whether its pixels were enlarged, on real scenes."""

import json
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from geosr.cli.main import main
from geosr.grid import Window, lattice
from geosr.quality.detail import side_for
from geosr.quality.info import OVERSAMPLED, inspect_raster, sharpness
from geosr.rasters.resample import enlarge, shrink
from geosr.rasters.source import RasterSource
from geosr.superresolve.options import Options
from tests.conftest import DATA, texture

BICUBIC = Options(model="bicubic")


def run(*args):
    return CliRunner().invoke(main, ["info", *map(str, args)])


def test_it_tells_what_the_job_would_take_and_make(make_raster):
    array = texture(3, 200, 300, dtype="uint16", low=200, high=4000)
    array[:, :20] = 0
    source = make_raster(array, nodata=0, photometric="RGB")
    with rasterio.open(source, "r+") as data:
        data.set_band_description(2, "grass")
    told = inspect_raster(source, BICUBIC)
    assert (told.width, told.height, told.dtype, told.crs, told.pixel) == (300, 200, "uint16", "EPSG:32633", (10, 10))
    assert told.bounds == (400_000, 4_998_000, 403_000, 5_000_000)
    assert told.invalid == pytest.approx(0.1)
    assert told.nodata == 0
    assert [(band.number, band.name, band.kind) for band in told.bands] == [
        (1, "red", "image"), (2, "grass", "image"), (3, "blue", "image"),
    ]  # fmt: skip
    low, high = np.percentile(array[1][20:], (0.1, 99.9))
    assert (told.bands[1].low, told.bands[1].high) == pytest.approx((low, high))
    assert (told.output.width, told.output.height) == (600, 400)
    assert not list(source.parent.glob("output*"))


def test_the_command_says_it_in_lines_and_as_json(make_raster):
    source = make_raster(texture(4, 90, 90), photometric="RGB", alpha="YES")
    done = run(source, "-m", "bicubic")
    assert done.exit_code == 0, done.output
    for said in (
        "GTiff, 90 x 90 pixels of 10 x 10, 4 bands of uint8",
        "CRS      EPSG:32633",
        "band     1 red: 0 and 255 become 0 and 1",
        "range    all values of 8 bits",
        "nodata   none",
        "model    bicubic, x2",
        "output   180 x 180 pixels of 5 x 5, uint8",
        "memory   about",
        "x2 can add to it",
    ):
        assert said in done.stdout
    told = json.loads(run(source, "-m", "bicubic", "--scale", "4", "--json").stdout)
    assert told["output"]["width"] == 360
    assert len(told["bands"]) == 4
    assert told["scale"] == 4


@pytest.mark.slow
def test_how_a_network_takes_the_bands_is_told(make_raster, random_idn):
    source = make_raster(texture(3, 64, 64))
    assert inspect_raster(source, Options(model=str(random_idn()))).taken == "each band by itself"
    assert "luma" in inspect_raster(source, Options(model=str(random_idn()), bands_mode="luma")).taken
    assert inspect_raster(source, Options(model=str(random_idn(2, 3)))).taken == "all bands together"
    assert inspect_raster(source, Options(model="bicubic", range=(0, 100))).range == "as given with --range"


def test_what_is_lost_and_transparency_are_told(make_raster):
    rgba = texture(4, 80, 80)
    rgba[3] = np.where(np.arange(80) < 40, 255, 0)
    told = run(make_raster(rgba, photometric="RGB", alpha="YES"), "-m", "bicubic").stdout
    assert "band     4: transparency" in told
    assert "50.00% of the values are not valid" in told


def test_what_would_be_refused_is_refused_in_a_line(tmp_path, make_raster):
    done = run(tmp_path / "none.tif")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: cannot read")
    done = run(make_raster(np.zeros((1, 9, 9), "complex64"), "c.tif"))
    assert "take its amplitude first" in done.stderr


# Sharpness


def enlarged(source, target, *, before=None):
    """The raster enlarged by 2 with bicubic interpolation, in its own type; `before` it is shrunk by as much."""
    with rasterio.open(source) as data:
        array, profile = data.read(), data.profile
    array = array[:, : array.shape[1] // 2 * 2, : array.shape[2] // 2 * 2]
    made = enlarge(np.rint(shrink(array, 2)) if before else array, 2)
    ends = np.iinfo(array.dtype)
    made = np.clip(np.rint(made), ends.min, ends.max).astype(array.dtype)
    profile.update(height=made.shape[1], width=made.shape[2])
    with rasterio.open(target, "w", **{**profile, "driver": "GTiff"}) as out:
        out.write(made)
    return target


def shares(path):
    source = RasterSource(path, alpha="band")
    return [sharpness(source, i) for i in range(source.profile.count)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["landsat8_great_salt_lake.tif", "neon_osbs_rgb.tif"])
@pytest.mark.parametrize("before", [False, True])
def test_a_real_scene_is_told_from_one_that_was_enlarged(tmp_path, name, before):
    assert min(shares(DATA / name)) > OVERSAMPLED
    assert max(shares(enlarged(DATA / name, tmp_path / "o.tif", before=before))) < OVERSAMPLED
    told = inspect_raster(tmp_path / "o.tif", Options(model="bicubic", alpha="band"))
    assert told.oversampled == [band.number for band in told.bands]
    assert "x2 adds nothing" in run(tmp_path / "o.tif", "-m", "bicubic").stdout
    assert "the pixels hold detail of their size" in run(DATA / name, "-m", "bicubic").stdout


@pytest.mark.slow
def test_no_scene_of_the_real_ones_is_taken_for_another(shared, tmp_path):
    names = sorted(shared.glob("val/*.tif")) + sorted(shared.glob("val/naip_ca/*.tif"))
    wrong = []
    for path in names:
        if not all(share > OVERSAMPLED for share in shares(path)):
            wrong.append(path.name)
        if not all(share < OVERSAMPLED for share in shares(enlarged(path, tmp_path / "o.tif"))):
            wrong.append(f"{path.name}, enlarged")
    assert len(names) > 20
    assert not wrong


def test_single_bands_that_were_enlarged_are_named(make_raster, tmp_path):
    with rasterio.open(DATA / "neon_osbs_rgb.tif") as data:
        fine = data.read()[:, :256, :256]
    fine[1] = np.clip(np.rint(enlarge(np.rint(shrink(fine[1:2], 2)), 2)), 0, 255)[0]
    source = make_raster(fine)
    assert inspect_raster(source, BICUBIC).oversampled == [2]
    assert "band 2 was enlarged before" in run(source, "-m", "bicubic").stdout


def test_a_scale_beyond_2_is_named_as_one_that_invents():
    done = run(DATA / "neon_osbs_rgb.tif", "-m", "bicubic", "-s", "3")
    assert "x2 can add to it, x3 invents" in done.stdout


def test_what_cannot_be_measured_is_not_told(make_raster):
    small, flat = make_raster(texture(1, 40, 200), "s.tif"), make_raster(np.full((1, 99, 99), 7, "uint8"), "f.tif")
    for source in (small, flat):
        assert inspect_raster(source, BICUBIC).bands[0].oversampled is None
        assert "could not be measured" in run(source, "-m", "bicubic").stdout


def test_holes_do_not_make_a_scene_look_sharp(make_raster, tmp_path):
    with rasterio.open(DATA / "neon_osbs_rgb.tif") as data:
        low = data.read([1])[:, :200, :200]
    made = np.clip(np.rint(enlarge(low, 2)), 1, 255).astype("uint8")
    made[:, 100:130, 100:160] = 0
    assert inspect_raster(make_raster(made, nodata=0), BICUBIC).oversampled == [1]


# Places


@pytest.mark.parametrize(("width", "height"), [(1, 1), (64, 500), (500, 64), (1000, 999), (70, 70)])
@pytest.mark.parametrize("count", [1, 8])
def test_windows_are_inside_and_none_lies_over_another(width, height, count):
    seen = np.zeros((height, width), int)
    part = Window(5, 7, width, height)
    windows = lattice(part, side_for(part, 128, count))
    for window in windows:
        rows, cols = window.slices(within=Window(5, 7, width, height))
        assert rows.start >= 0 and cols.start >= 0
        seen[rows, cols] += 1
    assert seen.max() == 1
    assert sum(w.width * w.height for w in windows) == seen.sum()
    assert len(windows) >= count or max(width, height) < 64 * count


def test_no_network_is_computed_for_an_estimate(make_raster):
    code = (
        "import sys; from geosr.quality.info import inspect_raster; info = inspect_raster(sys.argv[1]); "
        "assert info.output.seconds > 0; "
        "print({'tensorflow', 'keras', 'openvino', 'onnxruntime'} & sys.modules.keys())"
    )
    words = [sys.executable, "-c", code, str(make_raster(texture(1, 300, 300)))]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_folder_is_inspected_raster_by_raster_and_what_cannot_be_read_is_named(make_raster, tmp_path):
    (tmp_path / "scenes").mkdir()
    for name in ("a.tif", "b.tif"):
        make_raster(texture(1, 80, 90), f"scenes/{name}")
    done = run(tmp_path / "scenes", "-m", "bicubic")
    assert done.exit_code == 0, done.output
    first = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert [line.partition(": ")[0] for line in first] == [
        str(tmp_path / "scenes" / name) for name in ("a.tif", "b.tif")
    ]
    reports = json.loads(run(tmp_path / "scenes", "-m", "bicubic", "--json").stdout)
    assert [report["width"] for report in reports] == [90, 90]
    assert json.loads(run(tmp_path / "scenes" / "a.tif", "-m", "bicubic", "--json").stdout)["width"] == 90
    (tmp_path / "scenes" / "c.tif").write_text("none")
    done = run(tmp_path / "scenes", "-m", "bicubic")
    assert done.exit_code == 1
    assert "b.tif: " in done.stdout
    assert "Error: 1 of 3 rasters could not be inspected" in done.stderr
    done = run(tmp_path, "-m", "bicubic")
    assert (done.exit_code, "no .tif files in" in done.stderr) == (1, True)
