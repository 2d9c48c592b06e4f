import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
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
from rasterio.enums import ColorInterp
from scipy.ndimage import distance_transform_edt, maximum_filter

from geosr.errors import OutputError
from geosr.rasters.resample import enlarge
from geosr.superresolve.job import super_resolve
from geosr.superresolve.options import Options
from tests.conftest import camera, texture
from tests.superresolve.helpers import BICUBIC, result


@pytest.mark.slow
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


def test_the_sample_scenes_are_where_they_were(tmp_path):
    for path in sorted((Path(__file__).parents[2] / "data").glob("*.tif")):
        with rasterio.open(path) as before, rasterio.open(result(path, tmp_path)) as after:
            assert after.crs == before.crs
            assert np.allclose(after.bounds, before.bounds, rtol=0, atol=1e-9 * abs(before.transform.a))


def test_files_that_belonged_to_an_older_output_go_with_it(make_raster, tmp_path):
    output = result(make_raster(), tmp_path)
    for ending in (".ovr", ".aux.xml"):
        output.with_name(output.name + ending).write_text("old")
    result(make_raster(), tmp_path)
    assert [path.name for path in output.parent.iterdir()] == ["result.tif"]


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


@pytest.mark.slow
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


def test_a_world_file_of_the_input_stays(tmp_path):
    source = tmp_path / "a.tiff"
    with rasterio.open(source, "w", driver="GTiff", width=60, height=50, count=3, dtype="uint8") as out:
        out.write(texture(3, 50, 60))
    (tmp_path / "a.tfw").write_text("0.5\n0\n0\n-0.5\n400000.25\n5000000.75\n")
    with pytest.raises(OutputError, match=r"a\.tfw' belongs to the input"):
        super_resolve(source, tmp_path / "a.tif", BICUBIC)


def test_control_points_where_pixels_are_points_stay_on_their_ground(make_raster, tmp_path):
    source = make_raster(crs=None, transform=Affine.identity())
    with rasterio.open(source, "r+") as out:
        out.update_tags(AREA_OR_POINT="Point")
        out.gcps = [GroundControlPoint(r, c, 10 + c, 50 - r) for r in (0, 40) for c in (0, 50)], CRS.from_epsg(4326)
    with rasterio.open(source) as before, rasterio.open(result(source, tmp_path)) as after:
        wanted = [(2 * p.row, 2 * p.col, p.x, p.y) for p in before.gcps[0]]
        assert [(p.row, p.col, p.x, p.y) for p in after.gcps[0]] == wanted


@pytest.mark.parametrize("format", ["GTiff", "COG", "PNG"])
def test_the_epoch_of_a_dynamic_crs_is_kept_or_named(make_raster, tmp_path, caplog, format):
    vrt = as_vrt(make_raster(crs="EPSG:9000", transform=Affine(0.1, 0, 5, 0, -0.1, 50)), tmp_path, "")
    vrt.write_text(vrt.read_text().replace("<SRS ", '<SRS coordinateEpoch="2021.25" '))
    output = result(vrt, tmp_path, replace(BICUBIC, format=format))
    with rasterio.MemoryFile(ext=".vrt") as memory:
        rasterio.shutil.copy(output, memory.name, driver="VRT")
        kept = 'coordinateEpoch="2021.25"' in memory.read().decode()
    assert kept or "the coordinate epoch could not be kept in the format PNG" in caplog.text
    assert kept or format == "PNG"
    with rasterio.open(vrt) as before, rasterio.open(output) as after:
        assert after.crs == before.crs
        assert np.allclose(after.bounds, before.bounds, atol=1e-9)


WORLD_FILE = "0.5\n0\n0\n-0.5\n400000.25\n5000000.75\n"
TAB_FILE = """!table
!version 300

Definition Table
  File "out.jpg"
  Type "RASTER"
  (100,200) (0,0) Label "1",
  (140,200) (40,0) Label "2",
  (140,170) (40,30) Label "3"
  CoordSys Earth Projection 1, 104
  Units "degree"
"""


@pytest.mark.parametrize(
    ("name", "beside", "text"),
    [
        ("out.tif", "out.wld", WORLD_FILE),
        ("out.tif", "out.TFW", WORLD_FILE),
        ("out.tif", "out.tifw", WORLD_FILE),
        ("out.tif", "out.tab", TAB_FILE.replace("out.jpg", "out.tif")),
        ("out.png", "out.pgw", WORLD_FILE),
        ("out.jpg", "out.jgw", WORLD_FILE),
        ("out.jpg", "out.tab", TAB_FILE),
        ("out.jp2", "out.wld", WORLD_FILE),
    ],
)
def test_a_file_that_gdal_would_take_for_a_part_of_the_output(make_raster, tmp_path, name, beside, text):
    source = make_raster(crs=None, transform=Affine.identity())
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / beside).write_text(text)
    with pytest.raises(OutputError, match=rf"{beside}' would be taken for a part of the output"):
        super_resolve(source, folder / name, BICUBIC)
    assert (folder / beside).read_text() == text
    (folder / beside).unlink()
    super_resolve(source, folder / name, BICUBIC)
    (folder / beside).write_text(text)
    super_resolve(source, folder / name, BICUBIC, overwrite=True)
    with rasterio.open(folder / name) as out:
        assert out.transform.is_identity
        assert beside not in [Path(file).name for file in out.files]


def test_a_world_file_that_another_raster_needs_stays(make_raster, tmp_path):
    source = make_raster(crs=None, transform=Affine.identity())
    super_resolve(source, tmp_path / "out.png", BICUBIC)
    super_resolve(source, tmp_path / "out.tif", BICUBIC)
    (tmp_path / "out.wld").write_text(WORLD_FILE)
    with pytest.raises(OutputError, match=r"out.wld' would be taken for a part of the output"):
        super_resolve(source, tmp_path / "out.tif", BICUBIC, overwrite=True)
    assert (tmp_path / "out.wld").exists()


def test_a_world_file_that_gdal_does_not_need_is_no_reason_to_refuse(make_raster, tmp_path):
    (tmp_path / "out.wld").write_text(WORLD_FILE)
    super_resolve(make_raster(), tmp_path / "out.tif", BICUBIC)
    with rasterio.open(make_raster()) as before, rasterio.open(tmp_path / "out.tif") as after:
        assert after.bounds == before.bounds
    assert (tmp_path / "out.wld").exists()
