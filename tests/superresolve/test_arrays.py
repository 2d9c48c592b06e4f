"""A model as a function on arrays, against the command's own output."""

import pickle

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

import geosr
from geosr.errors import ModelError, OptionError, RasterError
from geosr.rasters.source import RasterSource, decimated
from geosr.superresolve.arrays import aligned
from tests.conftest import DATA, texture

da = pytest.importorskip("dask.array", reason="pip install 'geosr[xarray]'")
rioxarray = pytest.importorskip("rioxarray", reason="pip install 'geosr[xarray]'")


def written(source, output, **options):
    """What the command makes of a raster."""
    geosr.super_resolve(source, output, geosr.Options(**options))
    with rasterio.open(output) as made:
        return made.read()


def scene(kind, rows=150, cols=170):
    """A scene with a hole, and a slit where tiles and chunks meet: what fills it lies beyond a tile's halo."""
    array = texture(2, rows, cols, seed=3, low=300, high=2000, dtype=kind)
    array[:, 40:60, 50:90] = -9999 if kind == "float32" else 0
    array[:, 70:, 96:98] = -9999 if kind == "float32" else 0
    array[0, 5, 5] = np.nan if kind == "float32" else 0
    return array


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bicubic", "random"])
@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_an_array_comes_out_as_the_command_has_it(make_raster, tmp_path, random_idn, kind, model):
    array, nodata = scene(kind), -9999 if kind == "float32" else 0
    model = str(random_idn()) if model == "random" else model
    source = make_raster(array, nodata=nodata)
    wanted = written(source, tmp_path / "o.tif", model=model, tile=64)
    made = geosr.load(model, tile=64)(array, nodata=nodata)
    np.testing.assert_array_equal(made, wanted)
    assert made.dtype == array.dtype


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "chunks"),
    [("bicubic", (2, 60, 71)), ("bicubic", (1, 150, 40)), ("bicubic", (2, 150, 170)), ("bicubic", (2, 1, 170)),
     ("random", (1, 60, 71))],
)  # fmt: skip
def test_dask_gives_the_same_bits_and_computes_nothing_beforehand(random_idn, model, chunks):
    array = scene("float32")
    resolve = geosr.load(str(random_idn()) if model == "random" else model, tile=32)
    asked = []

    def block(block_info):
        asked.append(block_info[None]["array-location"])
        return array[tuple(slice(*ends) for ends in block_info[None]["array-location"])]

    lazy = da.map_blocks(block, chunks=da.core.normalize_chunks(chunks, array.shape), dtype="f4", meta=array[:0])
    made = resolve(lazy, nodata=-9999)
    assert not asked
    assert made.shape == (2, 300, 340)
    np.testing.assert_array_equal(made.compute(scheduler="threads"), resolve(array, nodata=-9999))


@pytest.mark.slow
def test_a_tile_is_the_same_whichever_part_of_a_lazy_result_is_asked_for(random_idn):
    array = scene("uint16")
    resolve = geosr.load(str(random_idn()), tile=32)
    whole = resolve(array, nodata=0)
    part = resolve(da.from_array(array, chunks=(2, 50, 50)), nodata=0)[:, 100:180, 110:200]
    np.testing.assert_array_equal(part.compute(), whole[:, 100:180, 110:200])


@pytest.mark.parametrize("shape", [(1500, 1100), (700, 2049), (3, 5000)])
def test_the_range_of_a_large_array_is_taken_from_the_pixels_that_gdal_would_take(make_raster, shape):
    array = np.random.default_rng(1).integers(0, 60000, (1, *shape)).astype("uint16")
    rows, cols = decimated(shape[1], shape[0], 1024)
    block, _ = RasterSource(make_raster(array)).thumbnail(1024)
    np.testing.assert_array_equal(array[:, rows][:, :, cols], block)


def test_a_range_can_be_given_and_luma_chosen(make_raster, tmp_path, random_idn):
    array = texture(3, 60, 60, dtype="uint16", high=4000)
    chosen = {"bands_mode": "luma", "range": (0, 4095)}
    wanted = written(make_raster(array), tmp_path / "o.tif", model=str(random_idn()), **chosen)
    made = geosr.load(random_idn(), **chosen)(array)
    np.testing.assert_array_equal(made, wanted)


def test_a_resolver_travels(random_idn):
    array = texture(1, 40, 40)
    resolve = geosr.load(random_idn())
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(resolve))(array), resolve(array))


def test_chunks_are_whole_tiles_and_none_is_shorter_than_the_reach():
    for side in range(1, 900, 7):
        for chunk in (1, 50, 128, 400):
            for reach in (4, 73):
                lengths = aligned(side, chunk, 64, reach)
                assert sum(lengths) == side
                assert all(length % 64 == 0 for length in lengths[:-1])
                assert len(lengths) == 1 or min(lengths) >= reach


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((5, 5)), "must be (bands, rows, cols)"),
        (np.zeros((1, 0, 5)), "none of them 0"),
        (np.zeros((1, 5, 5), complex), "convert it first"),
        (np.zeros((1, 5, 5), bool), "got bool"),
    ],
)
def test_arrays_of_other_kinds_are_refused(array, said):
    with pytest.raises(OptionError) as error:
        geosr.load("bicubic")(array)
    assert said in str(error.value)


def test_what_does_not_fit_is_refused(random_idn):
    with pytest.raises(OptionError, match="nodata -9999 does not fit in uint8"):
        geosr.load("bicubic")(np.zeros((1, 5, 5), "uint8"), nodata=-9999)
    with pytest.raises(OptionError, match="the array has 1 bands but"):
        geosr.load(random_idn(2, 2))(np.zeros((1, 5, 5), "uint8"))
    with pytest.raises(OptionError, match="luma needs red, green and blue"):
        geosr.load(random_idn(), bands_mode="luma")(np.zeros((1, 5, 5), "uint8"))
    with pytest.raises(OptionError, match="bands_mode must be one of"):
        geosr.load("bicubic", bands_mode="all")
    with pytest.raises(ModelError, match="there is no model 'none'"):
        geosr.load("none")


# DataArrays


@pytest.mark.parametrize("chunks", [None, {"x": 90, "y": 80}])
@pytest.mark.parametrize("masked", [False, True])
def test_a_dataarray_comes_out_where_it_was(make_raster, tmp_path, masked, chunks):
    source = make_raster(scene("uint16"), nodata=0)
    with rasterio.open(source, "r+") as data:
        data.set_band_description(1, "red")
        data.update_tags(MISSION="test", STATISTICS_MEAN="1")
    wanted = written(source, tmp_path / "cmd.tif", model="bicubic")
    data = rioxarray.open_rasterio(source, masked=masked, chunks=chunks)
    made = geosr.load("bicubic")(data)
    assert (made.chunks is not None) == (chunks is not None)
    assert made.dims == data.dims
    assert made.rio.crs == data.rio.crs
    assert made.rio.transform() == made.rio.transform(recalc=True) == data.rio.transform() @ Affine.scale(0.5)
    assert made.rio.bounds() == data.rio.bounds()
    assert made.attrs["long_name"] == data.attrs["long_name"]
    assert made.attrs["MISSION"] == "test"
    assert made.attrs["GEOSR_MODEL"] == "bicubic x2"
    assert "STATISTICS_MEAN" not in made.attrs
    np.testing.assert_array_equal(made.band, data.band)
    if masked:
        holes = np.isnan(data.values).repeat(2, 1).repeat(2, 2)
        np.testing.assert_array_equal(np.isnan(made.values), holes)
        assert made.rio.encoded_nodata == 0
    else:
        assert made.rio.nodata == 0
        np.testing.assert_array_equal(made.values, wanted)
    made.rio.to_raster(tmp_path / "o.tif")
    with rasterio.open(tmp_path / "o.tif") as back, rasterio.open(tmp_path / "cmd.tif") as cmd:
        assert (back.crs, back.transform, back.nodata) == (cmd.crs, cmd.transform, cmd.nodata)
        assert back.dtypes == cmd.dtypes
        assert back.tags()["MISSION"] == "test"


def test_bands_last_one_band_and_no_band_at_all_keep_their_order(make_raster):
    data = rioxarray.open_rasterio(make_raster(texture(3, 30, 40)))
    made = geosr.load("bicubic")(data)
    last = geosr.load("bicubic")(data.transpose("y", "x", "band"))
    assert last.dims == ("y", "x", "band")
    np.testing.assert_array_equal(last.transpose("band", "y", "x"), made)
    plain = geosr.load("bicubic")(data[1])
    assert plain.dims == ("y", "x")
    assert plain.band == 2
    np.testing.assert_array_equal(plain, made[1])


def test_a_selection_lies_where_its_coordinates_say(make_raster):
    data = rioxarray.open_rasterio(make_raster(texture(1, 40, 60)))
    part = data.isel(x=slice(10, 30), y=slice(5, 25))
    made = geosr.load("bicubic")(part)
    assert made.rio.bounds() == pytest.approx(part.rio.bounds(recalc=True), abs=1e-6)
    assert made.rio.transform() == made.rio.transform(recalc=True)
    assert made.x[0] == part.x[0] - 2.5
    assert made.y[0] == part.y[0] + 2.5


def test_south_up_and_rotated_rasters_lie_where_they_did(make_raster, caplog):
    up = rioxarray.open_rasterio(make_raster(texture(1, 20, 30), transform=Affine(10, 0, 0, 0, 10, 0)))
    made = geosr.load("bicubic")(up)
    assert made.rio.transform() == Affine(5, 0, 0, 0, 5, 0)
    assert (np.diff(made.y) > 0).all()
    turned = Affine.translation(500, 600) @ Affine.rotation(30) @ Affine.scale(10, -10)
    data = rioxarray.open_rasterio(make_raster(texture(1, 20, 30), "turned.tif", transform=turned))
    made = geosr.load("bicubic")(data)
    assert np.allclose(made.rio.transform(), turned @ Affine.scale(0.5))


def test_control_points_move_with_the_pixels(make_raster):
    points = [GroundControlPoint(r, c, 10 + c / 100, 50 - r / 100) for r, c in ((0, 0), (0, 30), (20, 0), (20, 30))]
    source = make_raster(texture(1, 20, 30), gcps=points, crs=CRS.from_epsg(4326), transform=Affine.identity())
    made = geosr.load("bicubic")(rioxarray.open_rasterio(source))
    assert [(p.row, p.col, p.x) for p in made.rio.get_gcps()] == [(p.row * 2, p.col * 2, p.x) for p in points]


def test_coordinates_that_lie_on_pixels_are_left_out_and_named(make_raster, caplog):
    data = rioxarray.open_rasterio(make_raster(texture(1, 20, 30)))
    data = data.assign_coords(lat=(("y", "x"), np.zeros((20, 30))), day=3)
    made = geosr.load("bicubic")(data)
    assert "lat" not in made.coords
    assert made.day == 3
    assert "the coordinates lat lie on the input's pixels" in caplog.text


def test_dataarrays_that_are_no_rasters_are_refused(make_raster):
    xarray = pytest.importorskip("xarray")
    with pytest.raises(RasterError, match="hold no rows and columns"):
        geosr.load("bicubic")(xarray.DataArray(np.zeros((2, 3)), dims=("a", "b")))
    data = rioxarray.open_rasterio(make_raster(texture(2, 20, 30)))
    with pytest.raises(RasterError, match="take one at a time"):
        geosr.load("bicubic")(data.expand_dims("time"))


def test_a_real_scene_gives_the_same_from_rioxarray_and_dask_as_from_the_command(tmp_path):
    source = DATA / "landsat8_great_salt_lake.tif"
    wanted = written(source, tmp_path / "o.tif", model="bicubic", alpha="band")
    lazy = rioxarray.open_rasterio(source, chunks={"x": 300, "y": 300})
    np.testing.assert_array_equal(geosr.load("bicubic")(lazy).values, wanted)
