import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from scipy.ndimage import distance_transform_edt, maximum_filter

from geosr import pools
from geosr.errors import ModelError, OptionError, OutputError, RasterError
from geosr.grid import Grid
from geosr.parts import Parts
from geosr.rasters import source as raster
from geosr.rasters.profile import Profile
from geosr.rasters.radiometry import fixed
from geosr.rasters.resample import enlarge
from geosr.rasters.source import ArraySource
from geosr.superresolve.estimate import estimate_job
from geosr.superresolve.job import is_done, super_resolve, write
from geosr.superresolve.options import Options
from geosr.superresolve.plan import make_plan
from geosr.superresolve.tiles import enlarged_tiles
from geosr.superresolve.upscalers import Bicubic, load_upscaler
from tests.conftest import camera, texture

BICUBIC = Options(model="bicubic", scale=2)


def result(source, tmp_path, options=BICUBIC, **kwargs):
    output = tmp_path / "out" / "result.tif"
    output.parent.mkdir(exist_ok=True)
    super_resolve(source, output, options, overwrite=True, **kwargs)
    return output


def assembled(array, upscaler, *, size, halo=None, nodata=None):
    """The whole output before rounding, from tiles of an array."""
    source = ArraySource(
        array, Profile(array.shape[2], array.shape[1], array.shape[0], str(array.dtype), nodata=nodata)
    )
    grid = Grid(array.shape[2], array.shape[1], size, upscaler.halo if halo is None else halo)
    values = fixed(0, 255, len(array))
    k = upscaler.scale
    out = np.zeros((len(array), array.shape[1] * k, array.shape[2] * k))
    for tile in grid:
        read = source.read(tile.outer)
        [made] = enlarged_tiles([tile], [read], source=source, upscaler=upscaler, values=values)
        core = tile.core.scale(k)
        out[:, core.row_off : core.row_off + core.height, core.col_off : core.col_off + core.width] = made
    return out


# Tiled equals whole


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(2, 4), st.integers(2, 9))
def test_tiled_bicubic_is_the_bicubic_of_the_whole(width, height, size, k, halo):
    array = texture(2, height, width, seed=width)
    assert np.allclose(assembled(array, Bicubic(k), size=size, halo=halo), enlarge(array, k), atol=1e-3)


@settings(max_examples=6)
@given(st.integers(20, 70), st.integers(20, 70), st.integers(16, 50), st.sampled_from([2, 4]))
def test_a_tiled_network_is_the_network_on_the_whole(random_idn, width, height, size, k):
    upscaler = load_upscaler(str(random_idn(k)))
    array = texture(1, height, width, seed=size)
    whole = assembled(array, upscaler, size=max(width, height))
    assert np.abs(whole - enlarge(array, k)).max() > 3
    assert np.abs(assembled(array, upscaler, size=size) - whole).max() < 1e-2
    assert np.abs(assembled(array, upscaler, size=size, halo=upscaler.halo + 5) - whole).max() < 1e-2


def test_half_the_halo_is_not_enough(random_idn):
    upscaler = load_upscaler(str(random_idn()))
    array = texture(1, 90, 90)
    whole = assembled(array, upscaler, size=90)
    assert np.abs(assembled(array, upscaler, size=30, halo=upscaler.halo // 2) - whole).max() > 0.01


def test_the_file_is_the_bicubic_of_the_whole(make_raster, tmp_path):
    array = texture(3, 70, 90)
    with rasterio.open(result(make_raster(array), tmp_path, replace(BICUBIC, tile=32))) as out:
        expected = np.clip(np.rint(enlarge(array, 2)), 0, 255)
        assert (out.read() == expected).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_the_dtype_is_the_input_s_and_values_outside_the_range_survive(make_raster, tmp_path, dtype):
    array = texture(1, 40, 40, dtype=dtype, low=10, high=100)
    array[0, 20, 20] = 120 if dtype == "uint8" else 5000
    with rasterio.open(result(make_raster(array), tmp_path)) as out:
        assert out.dtypes == (dtype,)
        assert out.read().max() > (100 if dtype == "uint8" else 3000)


# The same bytes


@pytest.mark.parametrize("model", ["bicubic", "a network"])
def test_the_bytes_do_not_depend_on_the_pool_or_the_batch(make_raster, random_idn, tmp_path, model):
    source = make_raster(texture(3, 200, 210) if model == "bicubic" else texture(1, 100, 110))
    options = Options(model=model if model == "bicubic" else str(random_idn()), tile=64)
    alone = result(source, tmp_path, options).read_bytes()
    with pools.threads(3) as pool:
        assert result(source, tmp_path, options, pool=pool).read_bytes() == alone
        assert result(source, tmp_path, replace(options, batch=4), pool=pool).read_bytes() == alone


# Georeferencing and metadata


@given(
    st.floats(-1e6, 1e6), st.floats(-1e7, 1e7), st.floats(1e-6, 1e3),
    st.floats(-1e3, 1e3).filter(lambda x: abs(x) > 1e-6), st.floats(-0.5, 0.5), st.integers(2, 4),
)  # fmt: skip
@settings(max_examples=25)
def test_bounds_are_kept_to_a_billionth_of_a_pixel(tmp_path_factory, x, y, dx, dy, turn, k):
    folder = tmp_path_factory.mktemp("bounds")
    transform = Affine(dx, turn * dx, x, turn * dy, dy, y)
    with rasterio.open(
        folder / "a.tif",
        "w",
        driver="GTiff",
        width=7,
        height=5,
        count=1,
        dtype="uint8",
        crs="EPSG:32633",
        transform=transform,
    ) as out:
        out.write(texture(1, 5, 7))
    super_resolve(folder / "a.tif", folder / "b.tif", Options(model="bicubic", scale=k))
    with rasterio.open(folder / "a.tif") as before, rasterio.open(folder / "b.tif") as after:
        assert after.crs.to_wkt() == before.crs.to_wkt()
        assert (after.width, after.height) == (7 * k, 5 * k)
        for corner in ((0, 0), (7, 0), (0, 5), (7, 5)):
            moved = np.subtract(after.transform @ np.multiply(corner, k), before.transform @ corner)
            in_pixels = np.hypot(*moved) / min(abs(dx), abs(dy))
            assert in_pixels < max(1e-9, 4 * np.spacing(1e7) / min(abs(dx), abs(dy)))
        assert np.allclose(
            np.array(after.transform)[[0, 1, 3, 4]] * k, np.array(before.transform)[[0, 1, 3, 4]], rtol=1e-12
        )


MARS = (
    'GEOGCS["Mars 2000",DATUM["D_Mars_2000",SPHEROID["Mars_2000_IAU_IAG",3396190,169.894447223612]],'
    'PRIMEM["Reference_Meridian",0],UNIT["degree",0.0174532925199433]]'
)


USER_DATUM = (
    'GEOGCS["mine",DATUM["my datum",SPHEROID["my spheroid",6377397.155,299.1528128],TOWGS84[565,50,465,0,0,0,4]],'
    'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]'
)


@pytest.mark.parametrize(
    "crs",
    ["EPSG:4326", "EPSG:32733", "EPSG:3857", "ESRI:102039", "IAU_2015:49900", "EPSG:7415", MARS, USER_DATUM, None],
)
def test_the_crs_is_the_same(make_raster, tmp_path, crs):
    source = make_raster(crs=crs and CRS.from_user_input(crs))
    with rasterio.open(source) as before, rasterio.open(result(source, tmp_path)) as after:
        assert after.crs == before.crs
        assert crs is None or after.crs.to_epsg() == before.crs.to_epsg()


def test_metadata_are_carried_over(make_raster, tmp_path):
    source = make_raster(texture(4, 30, 30, dtype="int16", high=2000), nodata=-1, photometric="RGB")
    with rasterio.open(source, "r+") as out:
        out.descriptions = ("red", "green", "blue", "near infrared")
        out.units = ("W", "W", "W", "W/m2")
        out.scales, out.offsets = (0.1, 0.1, 0.1, 0.2), (1, 2, 3, 4)
        out.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.gray]
        out.update_tags(MISSION="test", AREA_OR_POINT="Area")
        out.update_tags(ns="PRIVATE", secret="kept")
        out.update_tags(2, wavelength="560", STATISTICS_MEAN="1")
    with rasterio.open(source) as before, rasterio.open(result(source, tmp_path)) as after:
        for name in ("descriptions", "units", "scales", "offsets", "colorinterp", "nodata", "dtypes"):
            assert getattr(after, name) == getattr(before, name), name
        assert after.tags()["MISSION"] == "test"
        assert after.tags(ns="PRIVATE") == {"secret": "kept"}
        assert after.tags(2) == {"wavelength": "560"}
        assert {"GEOSR_VERSION", "GEOSR_MODEL", "GEOSR_SCALE", "GEOSR_RANGE"} <= set(after.tags())
        assert after.compression.value == "DEFLATE"
        assert after.profile["tiled"]


def test_pixel_is_point_stays_and_moves_nothing(make_raster, tmp_path):
    source = make_raster()
    with rasterio.open(source, "r+") as out:
        out.update_tags(AREA_OR_POINT="Point")
    with rasterio.open(source) as before, rasterio.open(result(source, tmp_path)) as after:
        assert after.tags()["AREA_OR_POINT"] == "Point"
        assert np.allclose(after.bounds, before.bounds, atol=1e-6)


def test_control_points_and_rpcs_scale_with_the_pixels(make_raster, tmp_path):
    gcps = [GroundControlPoint(r, c, 10 + c, 50 - r, 7) for r, c in ((0, 0), (0, 60), (50, 0), (25.5, 30.25))]
    rpcs = camera(24.5, 29.5, 30)
    source = make_raster(crs=None, transform=Affine.identity())
    with rasterio.open(source, "r+") as out:
        out.gcps = gcps, CRS.from_epsg(4326)
        out.rpcs = rpcs
    with rasterio.open(result(source, tmp_path)) as after:
        points, crs = after.gcps
        assert crs == CRS.from_epsg(4326)
        assert [(p.row, p.col, p.x, p.y, p.z) for p in points] == [(2 * p.row, 2 * p.col, p.x, p.y, p.z) for p in gcps]
        assert (after.rpcs.line_off, after.rpcs.samp_off) == (49.5, 59.5)
        assert (after.rpcs.line_scale, after.rpcs.samp_scale) == (60, 60)


def test_what_cannot_be_carried_is_named(make_raster, tmp_path, caplog, monkeypatch):
    source = make_raster()
    with rasterio.open(source, "r+") as out:
        out.update_tags(ns="GEOLOCATION", X_DATASET="x.tif", Y_DATASET="y.tif")
    result(source, tmp_path)
    assert "geolocation arrays cannot be carried" in caplog.text


# Nodata, masks, alpha


def holes(array, nodata, seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.random(array.shape[1:]) < 0.1
    mask[10:20, 5:25] = True
    return np.where(mask, np.asarray(nodata, array.dtype), array), mask


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint8", 0), ("uint16", 65535), ("int16", -9999), ("float32", -3.4e38), ("float32", np.nan)]
)
def test_nodata_in_is_nodata_out_exactly(make_raster, tmp_path, dtype, nodata):
    array, mask = holes(texture(2, 60, 50, dtype=dtype, low=1, high=200), nodata)
    source = make_raster(array, nodata=nodata)
    with rasterio.open(source) as before, rasterio.open(result(source, tmp_path, replace(BICUBIC, tile=16))) as out:
        assert out.nodata == before.nodata or np.isnan(nodata)
        bad = ~raster.measured(out.read(), nodata)
        assert (bad == mask.repeat(2, 0).repeat(2, 1)).all()


def test_invalid_pixels_never_reach_valid_ones(make_raster, tmp_path):
    """What stands in the holes does not change a valid pixel, tiled or whole."""
    array, mask = holes(texture(1, 60, 50, dtype="float32", low=1, high=200), -9999)
    other = np.where(mask, np.float32(np.nan), array)
    kept = ~mask.repeat(2, 0).repeat(2, 1)
    made = []
    for i, (pixels, nodata) in enumerate([(array, -9999), (other, np.nan)]):
        for tile in (16, 64):
            source = make_raster(pixels, nodata=nodata, name=f"{i}.tif")
            with rasterio.open(result(source, tmp_path, replace(BICUBIC, tile=tile))) as out:
                made.append(out.read(1)[kept])
    for block in made[1:]:
        assert np.allclose(block, made[0], atol=1e-3)
    assert made[0].min() > -50
    assert made[0].max() < 250


@settings(max_examples=8)
@given(st.integers(20, 60), st.integers(20, 60), st.integers(8, 30), st.integers(0, 1000))
def test_tiled_equals_whole_beside_holes(width, height, size, seed):
    array = texture(1, height, width, seed=seed, dtype="float32")
    rng = np.random.default_rng(seed)
    bad = rng.random(array.shape) < rng.choice([0.02, 0.5, 0.95])
    bad[0, 0, 0] = False
    array[bad] = -1
    good = ~bad.repeat(2, 1).repeat(2, 2)
    tiled = assembled(array, Bicubic(2), size=size, nodata=-1)
    whole = assembled(array, Bicubic(2), size=60, nodata=-1)
    assert np.allclose(tiled[good], whole[good], atol=1e-3)


def test_a_mask_band_is_carried_over(make_raster, tmp_path):
    source = make_raster(texture(3, 60, 50))
    mask = np.full((60, 50), 255, "uint8")
    mask[20:40, :10] = 0
    with rasterio.open(source, "r+") as out:
        out.write_mask(mask)
    with rasterio.open(result(source, tmp_path, replace(BICUBIC, tile=16))) as out:
        assert MaskFlags.per_dataset in out.mask_flag_enums[0]
        assert (out.dataset_mask() == mask.repeat(2, 0).repeat(2, 1)).all()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["result.tif"]


def test_transparency_is_repeated_and_hides_what_is_under_it(make_raster, tmp_path):
    array = texture(4, 40, 40)
    array[3] = 255
    array[3, 10:20, 10:20] = 0
    clean = array.copy()
    array[:3, 10:20, 10:20] = 0
    clean[:3, 10:20, 10:20] = 255
    outs = []
    for i, pixels in enumerate((array, clean)):
        with rasterio.open(result(make_raster(pixels, f"{i}.tif", photometric="RGB", alpha="YES"), tmp_path)) as out:
            assert out.colorinterp[3] is ColorInterp.alpha
            outs.append(out.read())
    seen = array[3].repeat(2, 0).repeat(2, 1) == 255
    assert (outs[0][3] == np.where(seen, 255, 0)).all()
    assert (outs[0][:, seen] == outs[1][:, seen]).all()


def test_near_infrared_that_is_called_alpha_is_a_band(make_raster, tmp_path, caplog):
    array = texture(4, 40, 40, low=20, high=230)
    source = make_raster(array, photometric="RGB", alpha="YES")
    with rasterio.open(result(source, tmp_path)) as out:
        assert (out.read(4) == np.clip(np.rint(enlarge(array[3], 2)), 0, 255)).all()
        assert ColorInterp.alpha not in out.colorinterp
    assert "band 4 is called alpha but holds an image" in caplog.text
    with rasterio.open(result(source, tmp_path, replace(BICUBIC, alpha="mask"))) as out:
        assert (out.read(4) == array[3].repeat(2, 0).repeat(2, 1)).all()


class Unwilling(Bicubic):
    """An upscaler that must not be called."""

    def __call__(self, blocks, values, /):
        raise AssertionError("a tile without a valid pixel is not computed")


def test_tiles_without_a_valid_pixel_skip_the_network():
    made = assembled(np.full((2, 40, 40), 7, "uint16"), Unwilling(2), size=16, nodata=7)
    assert (made == 7).all()


# Choices


def test_bands_are_chosen_in_order(make_raster, tmp_path):
    array = texture(4, 30, 30)
    with rasterio.open(result(make_raster(array), tmp_path, replace(BICUBIC, bands=(4, 2)))) as out:
        assert (out.read() == np.clip(np.rint(enlarge(array[[3, 1]], 2)), 0, 255)).all()


def test_another_dtype_keeps_nodata_or_is_refused(make_raster, tmp_path):
    source = make_raster(texture(1, 30, 30, dtype="int16", low=1, high=3000), nodata=-1)
    with pytest.raises(OptionError, match="nodata -1 does not fit in uint16; give one that does with --nodata"):
        make_plan(source, replace(BICUBIC, dtype="uint16"))
    with rasterio.open(result(source, tmp_path, replace(BICUBIC, dtype="uint16", nodata=65535))) as out:
        assert (out.nodata, out.dtypes) == (65535, ("uint16",))


def test_creation_options_override(make_raster, tmp_path):
    with rasterio.open(result(make_raster(), tmp_path, replace(BICUBIC, creation={"COMPRESS": "LZW"}))) as out:
        assert out.compression.value == "LZW"


def test_a_network_of_three_bands_takes_exactly_three(make_raster, random_idn, tmp_path):
    options = Options(model=str(random_idn(2, 3)))
    with pytest.raises(OptionError, match=r"gives 4 bands but .* takes 3; choose them with --bands"):
        make_plan(make_raster(texture(4, 20, 20)), options)
    with rasterio.open(result(make_raster(texture(4, 20, 20)), tmp_path, replace(options, bands=(3, 2, 1)))) as out:
        assert out.count == 3


def test_luma_needs_three_bands(make_raster):
    with pytest.raises(OptionError, match="needs red, green and blue, got 4 bands"):
        make_plan(make_raster(texture(4, 20, 20)), Options(bands_mode="luma"))


# Nothing half-written


def test_an_output_that_exists_is_kept_unless_told(make_raster, tmp_path):
    (tmp_path / "there.tif").write_text("mine")
    with pytest.raises(OutputError, match="exists; choose another output or --overwrite"):
        super_resolve(make_raster(), tmp_path / "there.tif", BICUBIC)
    assert (tmp_path / "there.tif").read_text() == "mine"


def test_the_input_is_never_the_output(make_raster):
    source = make_raster()
    with pytest.raises(OutputError, match="is an input"):
        super_resolve(source, source, BICUBIC, overwrite=True)


def test_a_folder_that_is_not_there_is_said_before_the_work(make_raster, tmp_path):
    with pytest.raises(OutputError, match="there is no folder"):
        super_resolve(make_raster(), tmp_path / "no" / "out.tif", BICUBIC)


def damaged(path, block_row, block_col):
    """The raster with one block of rubbish."""
    with rasterio.open(path) as written:
        offset = int(written.get_tag_item(f"BLOCK_OFFSET_{block_col}_{block_row}", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[offset : offset + 100] = b"\xff" * 100
    path.write_bytes(data)
    return path


TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}


def test_a_damaged_input_leaves_no_output_and_keeps_the_finished_parts(make_raster, tmp_path):
    source = damaged(make_raster(texture(1, 640, 640), **TILED), 3, 3)
    with pytest.raises(RasterError, match=r"scene\.tif', band 1, rows 192 to 256, columns 192 to 256"):
        super_resolve(source, tmp_path / "out.tif", replace(BICUBIC, tile=64))
    assert not (tmp_path / "out.tif").exists()
    # The 22 tiles before the one whose halo meets the block.
    assert len(list((tmp_path / ".out.tif.geosr").glob("*.part"))) == 22


def test_a_changed_input_is_not_mixed_with_old_parts(make_raster, tmp_path):
    source, output = make_raster(), tmp_path / "out.tif"
    with contextlib.suppress(RuntimeError):
        super_resolve(source, output, replace(BICUBIC, tile=32), progress=stop_at(2))
    assert list((tmp_path / ".out.tif.geosr").glob("*.part"))
    make_raster(texture(3, 50, 60, seed=9))
    with pytest.raises(OutputError, match=r"another job: size and time of the input's files differ; .*--restart"):
        super_resolve(source, output, replace(BICUBIC, tile=32))
    super_resolve(source, output, replace(BICUBIC, tile=32), restart=True)


def test_a_cancelled_job_goes_on_where_it_stopped_and_gives_the_same_bytes(make_raster, tmp_path):
    source = make_raster(texture(2, 150, 130))
    options = replace(BICUBIC, tile=32)
    whole = result(source, tmp_path, options).read_bytes()
    output = tmp_path / "taken_up.tif"
    for after in (3, 9, 14):
        with pytest.raises(RuntimeError):
            super_resolve(source, output, options, progress=stop_at(after))
        assert not output.exists()
    seen = []
    super_resolve(source, output, options, progress=lambda done, total: seen.append(done))
    assert seen[0] >= 13
    assert seen == sorted(seen)
    assert output.read_bytes() == whole
    assert [path.name for path in tmp_path.glob(".*")] == []


def stop_at(done_tiles):
    def progress(done, total):
        if done >= done_tiles:
            raise RuntimeError("stop")

    return progress


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_under_the_name_and_is_taken_up_to_the_same_bytes(make_raster, tmp_path):
    source = make_raster(texture(3, 900, 800))
    options = replace(BICUBIC, tile=64)
    whole = result(source, tmp_path, options).read_bytes()
    output = tmp_path / "killed.tif"
    command = [
        sys.executable,
        "-m",
        "geosr",
        "superresolve",
        os.fspath(source),
        os.fspath(output),
        "-m",
        "bicubic",
        "--tile",
        "64",
    ]
    rng = np.random.default_rng(0)
    kills = 0
    for _ in range(40):
        run = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        time.sleep(0.5 + rng.random())
        if run.poll() is not None:
            break
        run.send_signal(signal.SIGKILL)
        run.wait()
        kills += 1
        assert not output.exists() or output.read_bytes() == whole
    run.wait()
    assert kills
    if not output.exists():
        subprocess.run(command, check=True)
    assert output.read_bytes() == whole


def test_two_jobs_do_not_write_one_output(make_raster, tmp_path):
    source, output = make_raster(), tmp_path / "out.tif"
    with Parts(output, {}), pytest.raises(OutputError, match="is being made by another process"):
        super_resolve(source, output, BICUBIC)


def test_a_missing_model_is_said_before_the_work(make_raster, tmp_path):
    with pytest.raises(ModelError, match=r"no model 'nothing\.keras'"):
        super_resolve(make_raster(), tmp_path / "out.tif", Options(model="nothing.keras"))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_every_real_raster_is_processed_or_refused_in_one_line(shared, tmp_path):
    refused = []
    for path in sorted((shared / "nasty").iterdir()):
        if path.suffix not in (".tif", ".vrt") or path.stat().st_size > 3_000_000 or path.name.startswith("big_"):
            continue
        output = tmp_path / f"{path.stem}.tif"
        try:
            super_resolve(path, output, BICUBIC)
        except (RasterError, OptionError) as error:
            assert "\n" not in str(error)
            assert not output.exists()
            refused.append(path.name)
            continue
        with rasterio.open(path) as before, rasterio.open(output) as after:
            assert after.crs == before.crs
            assert after.shape == (before.height * 2, before.width * 2)
            assert after.dtypes == before.dtypes
            assert (after.dataset_mask() > 0).tolist() == (before.dataset_mask() > 0).repeat(2, 0).repeat(2, 1).tolist()
    assert sorted(refused) == [
        "broken_vrt_missing_source.vrt", "complex_int16_gcps.tif", "d_text.tif", "d_truncated_header.tif",
        "palette_colormap_4326.tif", "palette_lcc.tif", "palette_utm17.tif", "unknown_datum_geokeys.tif",
    ]  # fmt: skip


def test_the_sample_scenes_are_where_they_were(tmp_path):
    for path in sorted((Path(__file__).parents[2] / "data").glob("*.tif")):
        with rasterio.open(path) as before, rasterio.open(result(path, tmp_path)) as after:
            assert after.crs == before.crs
            assert np.allclose(after.bounds, before.bounds, rtol=0, atol=1e-9 * abs(before.transform.a))


def test_lossy_compression_happens_once(make_raster, tmp_path):
    source = make_raster(texture(3, 60, 60), photometric="RGB")
    options = replace(BICUBIC, creation={"COMPRESS": "JPEG", "PHOTOMETRIC": "YCBCR"})
    with rasterio.open(result(source, tmp_path, options)) as out:
        lossy = out.read().astype(float)
        assert out.compression.value == "JPEG" or out.profile["compress"] == "jpeg"
    with rasterio.open(result(source, tmp_path)) as out, rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=120, height=120, count=3, dtype="uint8", tiled=True, blockxsize=256, blockysize=256,
            compress="jpeg", photometric="ycbcr",
        ) as once:  # fmt: skip
            once.write(out.read())
        with memory.open() as once:
            assert (once.read() == lossy).all()


def test_files_that_belonged_to_an_older_output_go_with_it(make_raster, tmp_path):
    output = result(make_raster(), tmp_path)
    for ending in (".ovr", ".aux.xml"):
        output.with_name(output.name + ending).write_text("old")
    result(make_raster(), tmp_path)
    assert [path.name for path in output.parent.iterdir()] == ["result.tif"]


def test_sparse_outputs_are_whole(make_raster, tmp_path):
    source = make_raster(np.zeros((1, 600, 600), "uint8"))
    with rasterio.open(result(source, tmp_path, replace(BICUBIC, creation={"SPARSE_OK": "TRUE"}))) as out:
        assert out.shape == (1200, 1200)


def test_another_nodata_value_is_written_into_the_holes(make_raster, tmp_path):
    array, mask = holes(texture(1, 40, 40, dtype="int16", low=1, high=99), -9999)
    with rasterio.open(result(make_raster(array, nodata=-9999), tmp_path, replace(BICUBIC, nodata=0))) as out:
        assert out.nodata == 0
        assert ((out.read(1) == 0) == mask.repeat(2, 0).repeat(2, 1)).all()


def test_numbers_that_are_not_need_a_value_in_integers(make_raster, tmp_path):
    array = texture(1, 20, 20, dtype="float32", low=1, high=200)
    array[0, 5, 5] = np.nan
    source = make_raster(array)
    with pytest.raises(OptionError, match=r"uint8 has no value for pixels that are not a number; .*--nodata"):
        make_plan(source, replace(BICUBIC, dtype="uint8"))
    with rasterio.open(result(source, tmp_path, replace(BICUBIC, dtype="uint8", nodata=0))) as out:
        assert np.argwhere(out.read(1) == 0).tolist() == [[10, 10], [10, 11], [11, 10], [11, 11]]


def test_transparency_hides_pixels_beside_a_nodata_value_too(make_raster, tmp_path):
    array = texture(4, 40, 40, low=1, high=109)
    array[3] = 255
    array[3, 10:20, 10:20] = 0
    array[:3, 10:20, 10:20] = 255
    source = make_raster(array, photometric="RGB", alpha="YES", nodata=0)
    with rasterio.open(result(source, tmp_path)) as out:
        seen = out.read(4) > 0
        assert out.read([1, 2, 3])[:, seen].max() < 115


def test_another_dtype_is_refused_beside_transparency(make_raster):
    array = texture(4, 20, 20)
    array[3] = 255
    source = make_raster(array, photometric="RGB", alpha="YES")
    with pytest.raises(OptionError, match="leave it out with --bands"):
        make_plan(source, replace(BICUBIC, dtype="uint16"))


def test_transparency_that_is_left_out_becomes_a_mask(make_raster, tmp_path):
    array = texture(4, 40, 40)
    array[3] = 255
    array[3, 10:20, 10:20] = 0
    source = make_raster(array, photometric="RGB", alpha="YES")
    with rasterio.open(result(source, tmp_path, replace(BICUBIC, bands=(1, 2, 3)))) as out:
        assert (out.dataset_mask() == array[3].repeat(2, 0).repeat(2, 1)).all()


def test_masks_do_not_depend_on_gdal_s_environment(make_raster, tmp_path, monkeypatch):
    monkeypatch.setenv("GDAL_TIFF_INTERNAL_MASK", "NO")
    source = make_raster(texture(1, 30, 30))
    mask = np.full((30, 30), 255, "uint8")
    mask[:9] = 0
    with rasterio.open(source, "r+") as out:
        out.write_mask(mask)
    output = result(source, tmp_path)
    assert [path.name for path in output.parent.iterdir()] == ["result.tif"]
    with rasterio.open(output) as out:
        assert (out.dataset_mask() == mask.repeat(2, 0).repeat(2, 1)).all()


def test_a_model_file_that_changes_is_read_again(make_raster, random_idn, tmp_path):
    from geosr import models

    path = tmp_path / "m.keras"
    source = make_raster(texture(1, 20, 20))
    pixels = []
    for seed in (0, 1):
        model = models.load(random_idn())
        model.set_weights([w * (1 + seed * 0.2) for w in model.get_weights()])
        models.save(model, path)
        with rasterio.open(result(source, tmp_path, Options(model=str(path)), restart=True)) as out:
            pixels.append(out.read())
    assert (pixels[0] != pixels[1]).any()


def test_a_network_is_loaded_once_by_many_threads(make_raster, random_idn, tmp_path, monkeypatch):
    from geosr import models

    loads = []
    load_one = models.load
    path = tmp_path / "once.keras"
    path.write_bytes(random_idn().read_bytes())
    options = Options(model=str(path), tile=32)
    source = make_raster(texture(1, 100, 100))
    make_plan(source, options)
    monkeypatch.setattr(models, "load", lambda *args, **kwargs: loads.append(args) or load_one(*args, **kwargs))
    with pools.threads(4) as pool:
        result(source, tmp_path, options, pool=pool)
    assert len(loads) == 1


def test_a_job_that_failed_without_a_part_does_not_stand_in_the_way(make_raster, tmp_path, monkeypatch):
    source, output = make_raster(), tmp_path / "out.tif"
    with pytest.raises(RuntimeError):
        super_resolve(source, output, BICUBIC, progress=stop_at(0))
    assert not list(tmp_path.glob(".*"))
    super_resolve(source, output, replace(BICUBIC, creation={"COMPRESS": "LZW"}))


@pytest.mark.parametrize("option", [("COMPRESS", "FOO"), ("FOO", "BAR"), ("BLOCKXSIZE", "100")])
def test_creation_options_that_gdal_would_pass_over_are_refused_before_the_work(make_raster, option):
    with pytest.raises(OptionError, match=r"GDAL refuses the creation options .*change --co"):
        make_plan(make_raster(), replace(BICUBIC, creation=dict([option])))


def test_a_finished_output_is_known_again_until_its_input_changes(make_raster, tmp_path):
    source = make_raster()
    output = result(source, tmp_path)
    assert is_done(make_plan(source, BICUBIC), output)
    assert not is_done(make_plan(source, replace(BICUBIC, scale=3)), output)
    assert not is_done(make_plan(source, replace(BICUBIC, window=(0, 0, 60, 50), overviews=True)), output)
    os.utime(source, (time.time() + 60, time.time() + 60))
    assert not is_done(make_plan(source, BICUBIC), output)


def test_luma_of_colours_in_another_order_is_refused(make_raster):
    source = make_raster(photometric="RGB")
    with pytest.raises(OptionError, match="needs red, green and blue, got blue, green, red"):
        make_plan(source, Options(bands_mode="luma", bands=(3, 2, 1)))


def test_an_exact_transform_comes_before_control_points_and_that_is_said(make_raster, tmp_path, caplog):
    gcps = '<GCPList Projection="EPSG:4326"><GCP Id="1" Pixel="0" Line="0" X="13" Y="45" /></GCPList>'
    vrt = as_vrt(make_raster(), tmp_path, gcps)
    with rasterio.open(vrt) as before, rasterio.open(result(vrt, tmp_path)) as after:
        assert before.gcps[0]
        assert after.crs == before.crs
        assert np.allclose(after.bounds, before.bounds, atol=1e-6)
    assert "ground control points beside a transform cannot be carried" in caplog.text


def as_vrt(source, folder, extra):
    """A VRT of a raster with something more in it."""
    vrt = folder / "x.vrt"
    rasterio.shutil.copy(source, vrt, driver="VRT")
    vrt.write_text(vrt.read_text().replace("<VRTRasterBand", extra + "<VRTRasterBand", 1))
    return vrt


@pytest.mark.parametrize(
    "wrong", [{"bands_mode": "xx"}, {"scale": 2.0}, {"scale": "2"}, {"bands": 9}, {"dtype": "complex64"}, {"tile": 0}]
)
def test_options_say_what_they_may_be(wrong):
    with pytest.raises(OptionError, match=f"{next(iter(wrong))} must be"):
        Options(**wrong)


def test_values_that_another_dtype_cannot_hold_are_told_of(make_raster, tmp_path, caplog):
    source = make_raster(texture(1, 30, 30, dtype="uint16", low=100, high=4000))
    result(source, tmp_path, replace(BICUBIC, dtype="uint8"))
    assert "% of the values do not fit in uint8 and saturate" in caplog.text


# More of what a raster can bring along


def test_colour_profile_and_documents_are_carried_over(make_raster, tmp_path, caplog):
    import base64

    icc = base64.b64encode(bytes(range(200))).decode()
    source = make_raster(photometric="RGB", SOURCE_ICC_PROFILE=icc)
    documents = {
        "xml:XMP": "<?xpacket begin='x'?><a b='c=d'>e</a>",
        "xml:ESRI": '<x a="1"><y/></x>',
        "json:Q": '{"=":1}',
    }
    with rasterio.open(source, "r+") as out:
        for domain, text in documents.items():
            name, _, value = text.partition("=")
            out.update_tags(ns=domain, **{name: value})
        out.update_tags(2, ns="xml:BAND", **{"<a b": '"c"/>'})
    output = result(source, tmp_path)
    with rasterio.open(source) as before, rasterio.open(output) as after:
        for domain in (*documents, "COLOR_PROFILE"):
            assert after.tags(ns=domain) == before.tags(ns=domain), domain
        assert after.tags(2, ns="xml:BAND") == before.tags(2, ns="xml:BAND")
    assert not caplog.text


def test_a_document_that_rasterio_cannot_write_is_named_as_lost(make_raster, tmp_path, caplog):
    vrt = as_vrt(make_raster(), tmp_path, '<Metadata domain="xml:X" format="xml"><a>b</a></Metadata>')
    result(vrt, tmp_path)
    assert "metadata of the domain xml:X cannot be carried" in caplog.text


def test_overviews_are_built_when_the_input_has_them_or_on_request(make_raster, tmp_path):
    source = make_raster(texture(1, 400, 400))
    for wish, levels in ((None, []), (True, [2, 4])):
        with rasterio.open(result(source, tmp_path, replace(BICUBIC, overviews=wish))) as out:
            assert out.overviews(1) == levels
    with rasterio.open(source, "r+") as out:
        out.build_overviews([2])
    for wish, levels in ((None, [2, 4]), (False, [])):
        with rasterio.open(result(source, tmp_path, replace(BICUBIC, overviews=wish))) as out:
            assert out.overviews(1) == levels


@pytest.mark.parametrize("kind", ["plain", "nodata", "mask"])
def test_a_cog_is_one_by_its_validator(make_raster, tmp_path, kind):
    from rio_cogeo import cog_validate

    source = make_raster(texture(3, 700, 600), nodata=0 if kind == "nodata" else None)
    if kind == "mask":
        with rasterio.open(source, "r+") as out:
            out.write_mask(np.tri(700, 600, dtype=bool))
    output = result(source, tmp_path, replace(BICUBIC, format="COG"))
    valid, errors, told = cog_validate(output, strict=True)
    assert valid, (errors, told)
    assert [path.name for path in output.parent.iterdir()] == ["result.tif"]
    plain = tmp_path / "plain.tif"
    super_resolve(source, plain, BICUBIC)
    with rasterio.open(output) as cog, rasterio.open(plain) as wanted:
        assert (cog.read() == wanted.read()).all()
        assert (cog.dataset_mask() == wanted.dataset_mask()).all()
        assert cog.overviews(1)
        assert (cog.crs, cog.transform, cog.tags()) == (wanted.crs, wanted.transform, cog.tags())


def test_the_output_s_name_tells_its_format(make_raster, tmp_path):
    source = make_raster()
    for name, driver in (("a.img", "HFA"), ("a.jp2", "JP2OpenJPEG"), ("a.png", "PNG")):
        super_resolve(source, tmp_path / name, BICUBIC)
        with rasterio.open(tmp_path / name) as out:
            assert (out.driver, out.shape) == (driver, (100, 120))
            assert (out.read() == np.clip(np.rint(enlarge(texture(3, 50, 60, seed=1), 2)), 0, 255)).all()
    with pytest.raises(OptionError, match="is that of no format that GDAL writes"):
        super_resolve(source, tmp_path / "a.what", BICUBIC)


def georeferenced(source, tmp_path):
    """What the raster says of itself is what its bicubic enlargement does."""
    with rasterio.open(source) as before, rasterio.open(result(source, tmp_path)) as after:
        assert after.crs == before.crs
        assert np.allclose(after.bounds, before.bounds, rtol=0, atol=1e-9 * abs(before.transform.a))
        assert (after.read() == np.clip(np.rint(enlarge(before.read(), 2)), 0, 255)).all()
        return after.transform


def test_a_world_file_is_believed(make_raster, tmp_path):
    array = texture(3, 40, 50)
    jpeg = tmp_path / "photo.jpg"
    with rasterio.open(jpeg, "w", driver="JPEG", width=50, height=40, count=3, dtype="uint8") as out:
        out.write(array)
    (tmp_path / "photo.wld").write_text("0.5\n0.1\n0.1\n-0.5\n400000.25\n5000000.75\n")
    transform = georeferenced(jpeg, tmp_path)
    assert transform @ (0.5, 0.5) == pytest.approx((400000.25 - 0.125 - 0.025, 5000000.75 + 0.125 - 0.025))


def test_a_scene_across_the_antimeridian_stays_there(make_raster, tmp_path):
    for west in (179.9, -180.1, 359.95):
        transform = Affine(0.005, 0, west, 0, -0.005, 10)
        assert georeferenced(make_raster(crs="EPSG:4326", transform=transform), tmp_path).c == west


def test_rpcs_in_a_file_beside_are_carried_over(make_raster, tmp_path):
    source = make_raster(crs=None, transform=Affine.identity())
    values = camera(24.5, 29.5, 30).to_gdal()
    lines = [f"{name}: {value}" for name, value in values.items() if "COEFF" not in name]
    for name in ("LINE_NUM", "LINE_DEN", "SAMP_NUM", "SAMP_DEN"):
        lines += [f"{name}_COEFF_{i}: {v}" for i, v in enumerate(values[f"{name}_COEFF"].split(), 1)]
    source.with_name("scene_RPC.TXT").write_text("\n".join(lines) + "\n")
    with rasterio.open(result(source, tmp_path)) as after:
        assert (after.rpcs.line_off, after.rpcs.samp_off, after.rpcs.line_scale) == (49.5, 59.5, 60)


def test_inputs_in_archives_on_servers_and_behind_vrts_are_read(make_raster, tmp_path):
    source = make_raster(texture(1, 60, 50, dtype="uint16", high=3000), tiled=True, blockxsize=16, blockysize=16)
    with rasterio.open(result(source, tmp_path)) as out:
        expected = out.read()
    with zipfile.ZipFile(tmp_path / "scenes.zip", "w") as archive:
        archive.write(source, "folder/scene.tif")
    rasterio.shutil.copy(source, tmp_path / "scene.vrt", driver="VRT")
    # In a process of its own: rasterio holds the interpreter's lock while it opens.
    serve = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", os.fspath(tmp_path)]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        port = re.search(r"port (\d+)", server.stdout.readline())[1]
        inputs = (
            f"/vsizip/{tmp_path}/scenes.zip/folder/scene.tif",
            f"zip://{tmp_path}/scenes.zip!folder/scene.tif",
            f"/vsicurl/http://127.0.0.1:{port}/scene.tif",
            f"http://127.0.0.1:{port}/scene.tif",
            tmp_path / "scene.vrt",
        )
        try:
            for path in inputs:
                with rasterio.open(result(path, tmp_path)) as out:
                    assert (out.read() == expected).all(), path
        finally:
            server.kill()


def test_jpeg_2000_is_read(make_raster, tmp_path):
    rasterio.shutil.copy(make_raster(), tmp_path / "a.jp2", driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    georeferenced(tmp_path / "a.jp2", tmp_path)


def test_control_points_without_a_crs_are_kept(make_raster, tmp_path):
    source = make_raster(crs=None, transform=Affine.identity())
    with rasterio.open(source, "r+") as out:
        out.gcps = [GroundControlPoint(r, c, 10 + c, 50 - r, 7) for r, c in ((0, 0), (0, 60), (50, 0))], CRS()
    with rasterio.open(result(source, tmp_path)) as after:
        assert [(p.row, p.col, p.x, p.y) for p in after.gcps[0]] == [(0, 0, 10, 50), (0, 120, 70, 50), (100, 0, 10, 0)]


def test_tags_that_are_not_utf_8_are_named_as_lost(make_raster, tmp_path, caplog):
    vrt = as_vrt(make_raster(), tmp_path, '<Metadata><MDI key="ARTIST">Ren##e</MDI></Metadata>')
    vrt.write_bytes(vrt.read_bytes().replace(b"##", b"\xe9\xe9"))
    result(vrt, tmp_path)
    assert "tags that are not UTF-8 cannot be carried" in caplog.text


# Parts of a raster


@settings(max_examples=15)
@given(st.integers(0, 69), st.integers(0, 59), st.integers(1, 70), st.integers(1, 60), st.sampled_from([16, 33, 128]))
def test_a_part_is_the_same_part_of_the_whole(tmp_path_factory, col, row, width, height, tile):
    folder = tmp_path_factory.mktemp("part")
    array, _ = holes(texture(2, 60, 70, dtype="uint16", low=1, high=3000), 0)
    with rasterio.open(
        folder / "a.tif", "w", driver="GTiff", width=70, height=60, count=2, dtype="uint16", nodata=0,
        crs="EPSG:32633", transform=Affine(10, 3, 4e5, 2, -10, 5e6),
    ) as out:  # fmt: skip
        out.write(array)
    options = replace(BICUBIC, tile=tile)
    super_resolve(folder / "a.tif", folder / "whole.tif", options)
    window = (col, row, min(width, 70 - col), min(height, 60 - row))
    super_resolve(folder / "a.tif", folder / "part.tif", replace(options, window=window))
    where = rasterio.windows.Window(*(2 * v for v in window))
    with rasterio.open(folder / "whole.tif") as whole, rasterio.open(folder / "part.tif") as part:
        assert (part.read() == whole.read(window=where)).all()
        assert np.allclose(part.transform, whole.window_transform(where), rtol=0, atol=1e-8)


def test_a_network_s_part_is_the_same_part_of_the_whole(make_raster, random_idn, tmp_path):
    source = make_raster(texture(1, 90, 100))
    options = Options(model=str(random_idn()), tile=32)
    with rasterio.open(result(source, tmp_path, options)) as out:
        whole = out.read()
    with rasterio.open(result(source, tmp_path, replace(options, window=(37, 11, 40, 50)))) as out:
        assert (out.read() == whole[:, 22:122, 74:154]).all()
        assert out.tags()["GEOSR_WINDOW"] == "37,11,40,50"


def test_bounds_choose_the_pixels_that_they_touch(make_raster, tmp_path):
    source = make_raster()
    with rasterio.open(source) as before:
        left, _, _, top = before.bounds
    asked = (left + 101, top - 209, left + 299, top - 95)
    with rasterio.open(result(source, tmp_path, replace(BICUBIC, bounds=asked))) as out:
        assert tuple(out.bounds) == (left + 100, top - 210, left + 300, top - 90)
    with pytest.raises(OptionError, match=r"bounds 0,0,1,1 lies outside the raster's 400000,4999500,400600,5000000"):
        make_plan(source, replace(BICUBIC, bounds=(0, 0, 1, 1)))
    with pytest.raises(OptionError, match="the window 50,0,20,20 is not inside 60 x 50 pixels"):
        make_plan(source, replace(BICUBIC, window=(50, 0, 20, 20)))


# Damage


def test_blocks_that_cannot_be_read_become_nodata_and_are_told(make_raster, tmp_path):
    array = texture(2, 200, 200, low=1, high=200)
    source = damaged(make_raster(array, nodata=0, interleave="band", **TILED), 1, 2)
    job = make_plan(source, replace(BICUBIC, skip_errors=True, tile=50))
    found = write(job, tmp_path / "out.tif")
    assert [(band, astuple(window)) for band, window in found] == [(1, (128, 64, 64, 64))]
    with rasterio.open(tmp_path / "out.tif") as out:
        holes_found = out.read() == 0
        wanted = np.zeros((2, 400, 400), bool)
        wanted[0, 128:256, 256:384] = True
        assert (holes_found == wanted).all()
    # What lies beside the block is as if it were a hole.
    filled = array.copy()
    filled[0, 64:128, 128:192] = 0
    clean = result(make_raster(filled, "clean.tif", nodata=0), tmp_path, replace(BICUBIC, tile=50))
    with rasterio.open(clean) as wanted, rasterio.open(tmp_path / "out.tif") as out:
        assert (wanted.read() == out.read()).all()


@pytest.mark.parametrize("kind", ["float32", "mask", "alpha", "uint16"])
def test_what_cannot_be_read_is_marked_however_the_raster_marks(make_raster, tmp_path, kind):
    bands = 4 if kind == "alpha" else 1
    array = texture(bands, 200, 200, dtype=kind if kind in ("float32", "uint16") else "uint8")
    more = {"photometric": "RGB", "alpha": "YES"} if kind == "alpha" else {}
    if kind == "alpha":
        array[3] = 255
    source = make_raster(array, **TILED, **more)
    if kind == "mask":
        with rasterio.open(source, "r+") as out:
            out.write_mask(np.ones((200, 200), bool))
    damaged(source, 1, 1)
    options = replace(BICUBIC, skip_errors=True)
    if kind == "uint16":
        with pytest.raises(OptionError, match="--skip-errors needs a value for what cannot be read"):
            make_plan(source, options)
        options = replace(options, nodata=7)
    with rasterio.open(result(source, tmp_path, options)) as out:
        seen = np.isfinite(out.read(1)) if kind == "float32" else out.dataset_mask() > 0
        wanted = np.ones((400, 400), bool)
        wanted[128:256, 128:256] = False
        assert (seen == wanted).all()


def test_damage_found_before_an_interruption_is_told_after_it(make_raster, tmp_path):
    source = damaged(make_raster(texture(1, 200, 200), nodata=0, **TILED), 0, 0)
    options = replace(BICUBIC, skip_errors=True, tile=50)
    with pytest.raises(RuntimeError):
        write(make_plan(source, options), tmp_path / "out.tif", progress=stop_at(9))
    assert len(write(make_plan(source, options), tmp_path / "out.tif")) == 1


# Memory and disk


def test_memory_chooses_the_tile_and_the_workers(make_raster, random_idn):
    source = make_raster(texture(3, 900, 900))
    options = Options(model=str(random_idn()))
    plans = {mib: make_plan(source, replace(options, memory=mib * 2**20)) for mib in (1100, 1536, 6000)}
    sizes = [job.grid.size for job in plans.values()]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    assert plans[1100].workers(1000) < 1000
    for mib, job in plans.items():
        assert job.memory_needed(job.workers(1000)) <= mib * 2**20
    with pytest.raises(OptionError, match=r"tiles of 128 need \d+ MiB here; give it more with --memory"):
        make_plan(source, replace(options, memory=200 * 2**20))


def test_without_resume_the_bytes_are_the_same_and_no_parts_are_kept(make_raster, tmp_path):
    source, options = make_raster(texture(2, 150, 130)), replace(BICUBIC, tile=32)
    whole = result(source, tmp_path, options).read_bytes()
    seen = set()

    def look(done, total):
        seen.update(path.name for path in (tmp_path / "out" / ".result.tif.geosr").glob("*.part"))

    assert result(source, tmp_path, options, resume=False, progress=look).read_bytes() == whole
    assert not seen


def test_too_little_room_is_said_before_the_work(make_raster, tmp_path, monkeypatch):
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    with pytest.raises(OutputError, match=r"will need about .* kB in .*, where 10\.0 kB are free; .*--no-resume"):
        super_resolve(make_raster(), tmp_path / "out.tif", BICUBIC)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scene.tif"]


@pytest.mark.parametrize(("options", "most"), [({}, 2.1), ({"format": "COG"}, 3.1), ({"resume": False}, 1.1)])
def test_the_disk_holds_no_more_than_is_said(make_raster, tmp_path, options, most):
    source, output = make_raster(texture(3, 800, 800, seed=3)), tmp_path / "out" / "o.tif"
    output.parent.mkdir()
    resume = options.pop("resume", True)
    job = make_plan(source, replace(BICUBIC, tile=128, **options), output)
    said = estimate_job(job, output, resume=resume)
    peak = 0

    def weigh():
        nonlocal peak
        peak = max(peak, sum(path.stat().st_size for path in output.parent.rglob("*") if path.is_file()))

    publish = Parts.publish

    def weighed_publish(parts, **kwargs):
        weigh()
        publish(parts, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parts, "publish", weighed_publish)
        write(job, output, resume=resume, progress=lambda done, total: weigh())
    assert peak <= most * output.stat().st_size
    assert 0.8 * peak < said.disk_bytes < 1.5 * peak
    assert 0.8 < said.output_bytes / output.stat().st_size < 1.4


# Any profile


@st.composite
def profiles(draw):
    dtype = draw(st.sampled_from(["uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"]))
    bands = draw(st.integers(1, 5))
    kind = np.dtype(dtype).kind
    nodata = draw(st.sampled_from([None, 0, 77] + ([np.nan, -1e30] if kind == "f" else [])))
    tiled = draw(st.booleans())
    blocks = {"blockxsize": 16, "blockysize": draw(st.sampled_from([16, 32]))} if tiled else {}
    dx, dy, turn = draw(st.floats(0.1, 100)), draw(st.floats(0.1, 100)), draw(st.floats(-1, 1))
    signs = draw(st.sampled_from([-1, 1])), draw(st.sampled_from([-1, 1]))
    return {
        "width": draw(st.integers(1, 50)),
        "height": draw(st.integers(1, 50)),
        "count": bands,
        "dtype": dtype,
        "nodata": nodata,
        "crs": draw(st.sampled_from([None, "EPSG:4326", "EPSG:32633", "EPSG:2154"])),
        "transform": Affine(signs[0] * dx, turn, 1e5, turn / 2, signs[1] * dy, 2e5),
        "interleave": draw(st.sampled_from(["band", "pixel"])),
        "compress": draw(st.sampled_from(["none", "deflate", "lzw", "zstd"])),
        "tiled": tiled,
        **blocks,
    }


@settings(max_examples=60)
@given(profiles(), st.integers(0, 1000), st.integers(2, 4), st.sampled_from([16, 40, None]))
def test_any_raster_comes_out_where_and_what_it_was(tmp_path_factory, profile, seed, scale, tile):
    """Against numpy and rasterio alone: the whole image filled, enlarged, rounded and stamped."""
    folder = tmp_path_factory.mktemp("any")
    rng = np.random.default_rng(seed)
    shape = (profile["count"], profile["height"], profile["width"])
    array = texture(*shape, seed=seed, dtype=profile["dtype"], low=1, high=200)
    bad = rng.random(shape) < rng.choice([0, 0.1, 0.9]) if profile["nodata"] is not None else np.zeros(shape, bool)
    array[bad] = profile["nodata"] if profile["nodata"] is not None else 0
    with rasterio.open(folder / "a.tif", "w", driver="GTiff", **profile) as out:
        out.write(array)
    super_resolve(folder / "a.tif", folder / "b.tif", Options(model="bicubic", scale=scale, tile=tile))
    with rasterio.open(folder / "a.tif") as before, rasterio.open(folder / "b.tif") as after:
        assert after.crs == before.crs
        assert after.dtypes == before.dtypes
        assert after.nodatavals == before.nodatavals or np.isnan(profile["nodata"])
        assert after.shape == (scale * shape[1], scale * shape[2])
        corners = [(0, 0), (shape[2], 0), (0, shape[1]), (shape[2], shape[1])]
        for corner in corners:
            there = after.transform @ np.multiply(corner, scale)
            assert np.allclose(there, before.transform @ corner, rtol=0, atol=1e-7)
        made = after.read()
    nodata = profile["nodata"]
    hole = (array == nodata) | ~np.isfinite(array) if nodata is not None else np.zeros(shape, bool)
    stamped = hole.repeat(scale, 1).repeat(scale, 2)
    found = (made == nodata) | ~np.isfinite(made) if nodata is not None else np.zeros(made.shape, bool)
    assert (found == stamped).all()
    for band in range(shape[0]):
        if hole[band].all():
            continue
        # Mirrored past the edges before it is filled, so that the nearest of several is the same one.
        wide, gaps = (np.pad(block[band], 9, mode="symmetric") for block in (array, hole))
        near = distance_transform_edt(gaps, return_distances=False, return_indices=True)
        exact = enlarge(wide[tuple(near)].astype(np.float64), scale)[9 * scale : -9 * scale, 9 * scale : -9 * scale]
        if np.dtype(profile["dtype"]).kind != "f":
            exact = np.clip(exact, *(float(end) for end in (np.iinfo(array.dtype).min, np.iinfo(array.dtype).max)))
        # Beside a hole, two valid pixels can be equally near, and either may fill it.
        beside = maximum_filter(hole[band], 5).repeat(scale, 0).repeat(scale, 1)
        off = np.abs(made[band].astype(np.float64) - exact)[~beside]
        # Half a step of rounding; a whole one more beside the nodata value.
        assert not off.size or off.max() <= (1.5 + 1e-3 if np.dtype(profile["dtype"]).kind != "f" else 1e-2)


# What must not be lost


def test_files_beside_the_output_never_take_the_place_of_the_input_s(make_raster, tmp_path):
    scene = tmp_path / "scene.dat"
    rasterio.shutil.copy(make_raster(), scene, driver="ENVI")
    header = (tmp_path / "scene.hdr").read_bytes()
    with pytest.raises(OutputError, match=r"scene\.hdr' belongs to the input and would be replaced"):
        super_resolve(scene, tmp_path / "scene.bil", replace(BICUBIC, format="ENVI"))
    (tmp_path / "other.hdr").write_text("precious")
    with pytest.raises(OutputError, match=r"other\.hdr' exists and would be replaced"):
        super_resolve(scene, tmp_path / "other.bil", replace(BICUBIC, format="ENVI"))
    assert (tmp_path / "scene.hdr").read_bytes() == header
    assert (tmp_path / "other.hdr").read_text() == "precious"
    super_resolve(scene, tmp_path / "new.bil", replace(BICUBIC, format="ENVI"))
    super_resolve(scene, tmp_path / "new.bil", replace(BICUBIC, format="ENVI"), overwrite=True)


def test_a_world_file_of_the_input_stays(tmp_path):
    source = tmp_path / "a.tiff"
    with rasterio.open(source, "w", driver="GTiff", width=60, height=50, count=3, dtype="uint8") as out:
        out.write(texture(3, 50, 60))
    (tmp_path / "a.tfw").write_text("0.5\n0\n0\n-0.5\n400000.25\n5000000.75\n")
    with pytest.raises(OutputError, match=r"a\.tfw' belongs to the input"):
        super_resolve(source, tmp_path / "a.tif", BICUBIC)


def test_no_part_of_the_input_is_the_output(make_raster, tmp_path):
    source = make_raster()
    rasterio.shutil.copy(source, tmp_path / "a.vrt", driver="VRT")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(source, "scene.tif")
    for path, output in ((tmp_path / "a.vrt", source), (f"/vsizip/{tmp_path}/a.zip/scene.tif", tmp_path / "a.zip")):
        with pytest.raises(OutputError, match="is an input, or a part of one"):
            super_resolve(path, output, BICUBIC, overwrite=True)


@pytest.mark.parametrize(
    "change", [{"dtype": "float32"}, {"nodata": 7}, {"creation": {"COMPRESS": "ZSTD"}}, {"overviews": True}]
)
def test_an_output_of_other_options_is_not_done(make_raster, tmp_path, change):
    source = make_raster()
    output = result(source, tmp_path)
    assert is_done(make_plan(source, BICUBIC, output), output)
    assert not is_done(make_plan(source, replace(BICUBIC, **change), output), output)


def test_a_damaged_part_is_said_with_the_remedy(make_raster, tmp_path):
    source, output, options = make_raster(texture(1, 100, 100)), tmp_path / "o.tif", replace(BICUBIC, tile=32)
    with pytest.raises(RuntimeError):
        super_resolve(source, output, options, progress=stop_at(5))
    next((tmp_path / ".o.tif.geosr").glob("*.part")).write_bytes(b"")
    with pytest.raises(OutputError, match=r"part .* is damaged; discard all parts with --restart"):
        super_resolve(source, output, options)


def test_control_points_where_pixels_are_points_stay_on_their_ground(make_raster, tmp_path):
    source = make_raster(crs=None, transform=Affine.identity())
    with rasterio.open(source, "r+") as out:
        out.update_tags(AREA_OR_POINT="Point")
        out.gcps = [GroundControlPoint(r, c, 10 + c, 50 - r) for r in (0, 40) for c in (0, 50)], CRS.from_epsg(4326)
    with rasterio.open(source) as before, rasterio.open(result(source, tmp_path)) as after:
        wanted = [(2 * p.row, 2 * p.col, p.x, p.y) for p in before.gcps[0]]
        assert [(p.row, p.col, p.x, p.y) for p in after.gcps[0]] == wanted


def test_overviews_of_the_input_do_not_change_the_output(make_raster, tmp_path):
    source = make_raster(texture(1, 1200, 1200, dtype="uint16", high=3000))
    options = replace(BICUBIC, overviews=False)
    before = result(source, tmp_path, options).read_bytes()
    with rasterio.open(source, "r+") as out:
        out.build_overviews([2], rasterio.enums.Resampling.average)
    assert result(source, tmp_path, options).read_bytes() == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_valid_pixels_at_the_end_of_the_range_stay_valid(make_raster, tmp_path, dtype):
    top = np.finfo(dtype).max
    array = np.where(np.random.default_rng(0).random((1, 30, 30)) < 0.5, -top, top).astype(dtype)
    with rasterio.open(result(make_raster(array), tmp_path)) as out:
        assert np.isfinite(out.read()).all()


def test_the_mask_is_that_of_the_input_alone(make_raster, tmp_path):
    array = texture(4, 40, 40, low=1)
    array[3] = np.where(np.tri(40, 40, -20), 0, 255)
    array[:3, :5] = 0
    source = make_raster(array, photometric="RGB", alpha="YES", nodata=0)
    mask = np.full((40, 40), 255, "uint8")
    mask[30:] = 0
    with rasterio.open(source, "r+") as out:
        out.write_mask(mask)
    with rasterio.open(source) as before, rasterio.open(result(source, tmp_path)) as after:
        for i in before.indexes:
            assert (after.read_masks(i) == before.read_masks(i).repeat(2, 0).repeat(2, 1)).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_mask_that_cannot_be_read_hides_what_it_may(make_raster, tmp_path, dtype):
    source = make_raster(texture(1, 200, 200, dtype=dtype), **TILED)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(source, "r+") as out:
        out.write_mask(np.random.default_rng(0).random((200, 200)) < 0.5)
    beside = source.with_name("scene.tif.msk")
    with rasterio.open(beside) as written:
        offset = int(written.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    data = bytearray(beside.read_bytes())
    data[offset : offset + 40] = b"\xff" * 40
    beside.write_bytes(data)
    with pytest.raises(RasterError, match=r"cannot read the mask of .*--skip-errors"):
        super_resolve(source, tmp_path / "o.tif", BICUBIC)
    assert write(make_plan(source, replace(BICUBIC, skip_errors=True)), tmp_path / "o.tif")
    with rasterio.open(tmp_path / "o.tif") as out:
        assert not out.dataset_mask()[:128, :128].any()


def test_a_tile_that_memory_does_not_hold_is_refused(make_raster):
    source = make_raster(texture(1, 3000, 3000))
    with pytest.raises(OptionError, match=r"tiles of 3000 need .* give it more with --memory, or a smaller --tile"):
        make_plan(source, replace(BICUBIC, tile=8192, memory=300 * 2**20))


def test_bounds_need_a_transform(make_raster):
    for transform in (Affine.identity(), Affine(1, 1, 4e5, 1, 1, 5e6)):
        source = make_raster(crs=None, transform=transform)
        with pytest.raises(OptionError, match="no transform that bounds could be told by; give --window"):
            make_plan(source, replace(BICUBIC, bounds=(0, 0, 1, 1)))


def test_holes_that_nobody_declared_are_told_of(make_raster, tmp_path, caplog):
    array = texture(1, 60, 60, low=1)
    array[:, :20] = 0
    result(make_raster(array), tmp_path, replace(BICUBIC, nodata=0))
    assert "33.3 % of the valid pixels are 0 and will be moved off it" in caplog.text


def test_a_cog_without_overviews_has_none(make_raster, tmp_path):
    source = make_raster(texture(1, 500, 500))
    with rasterio.open(result(source, tmp_path, replace(BICUBIC, format="COG", overviews=False))) as out:
        assert out.overviews(1) == []


def test_overviews_that_a_format_does_not_hold_are_told_of(make_raster, tmp_path, caplog):
    super_resolve(make_raster(texture(1, 50, 50)), tmp_path / "o.png", replace(BICUBIC, overviews=True))
    assert "overviews could not be kept in the format PNG" in caplog.text
