import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from geosr.errors import UnsupportedRaster
from geosr.grid import Window
from geosr.rasters import profile
from geosr.rasters.placement import bounds, geographic_bounds, window_of
from geosr.rasters.profile import Profile
from geosr.rasters.source import RasterSource
from tests.conftest import camera, texture


def test_scaling_a_profile_keeps_the_ground():
    profile = Profile(7, 5, 1, "uint8", transform=Affine(2, 0.5, 100, 0.3, -3, 200))
    for k in (2, 3, 4):
        large = profile.scale(k)
        for corner in ((0, 0), (7, 0), (0, 5), (7, 5)):
            assert np.allclose(large.transform @ np.multiply(corner, k), profile.transform @ corner, rtol=0, atol=1e-9)


def test_scaling_a_profile_scales_control_points_and_rpcs():
    gcp = GroundControlPoint(row=2.5, col=3.5, x=10, y=20, z=3, id="a")
    rpcs = camera(999.5, 499.5, 1000)
    large = Profile(7, 5, 1, "uint8", gcps=(gcp,), rpcs=rpcs).scale(2)
    assert (large.gcps[0].row, large.gcps[0].col, large.gcps[0].x, large.gcps[0].z) == (5, 7, 10, 3)
    # The centre of pixel 999.5 + 0.5 = 1000.0 from the corner lies 2000.0 from it in pixels half as large.
    assert (large.rpcs.line_off, large.rpcs.line_scale) == (1999.5, 2000)
    assert (large.rpcs.samp_off, large.rpcs.samp_scale) == (999.5, 2000)
    assert large.rpcs.lat_off == rpcs.lat_off


def test_a_palette_is_refused_with_the_command_that_expands_it(make_raster):
    path = make_raster(texture(1, 20, 20))
    with rasterio.open(path, "r+") as out:
        out.write_colormap(1, {0: (0, 0, 0, 255), 1: (255, 0, 0, 255)})
    with pytest.raises(UnsupportedRaster, match=r"palette; expand it first: gdal_translate -expand rgb"):
        RasterSource(path)


def test_complex_numbers_and_single_bits_are_refused(make_raster):
    with pytest.raises(UnsupportedRaster, match="complex64"):
        RasterSource(make_raster(texture(1, 20, 20, dtype="complex64")))
    with pytest.raises(UnsupportedRaster, match="1 bit"):
        RasterSource(make_raster(texture(1, 20, 20) // 255, nbits=1))


def test_a_nodata_value_for_each_band_is_refused(make_raster, tmp_path):
    from rasterio.shutil import copy

    copy(make_raster(texture(2, 20, 20), nodata=0), tmp_path / "a.vrt", driver="VRT")
    text = (tmp_path / "a.vrt").read_text()
    head, _, tail = text.rpartition("<NoDataValue>0</NoDataValue>")
    (tmp_path / "a.vrt").write_text(f"{head}<NoDataValue>7</NoDataValue>{tail}")
    with pytest.raises(UnsupportedRaster, match="has a nodata value for each band"):
        RasterSource(tmp_path / "a.vrt")


def test_footprints_are_in_degrees(make_raster):
    west, south, east, north = geographic_bounds(RasterSource(make_raster()).profile)
    assert 13 < west < east < 14
    assert 45 < south < north < 46
    assert geographic_bounds(Profile(3, 3, 1, "uint8")) is None


def test_a_part_stays_where_it_was():
    gcp = GroundControlPoint(row=12.5, col=23.5, x=10, y=20, z=3, id="a")
    whole = Profile(
        60, 50, 1, "uint8", transform=Affine(2, 0.5, 100, 0.3, -3, 200), gcps=(gcp,), rpcs=camera(9, 19, 30)
    )
    part = whole.crop(Window(10, 5, 20, 30))
    assert (part.width, part.height) == (20, 30)
    assert part.transform @ (0, 0) == pytest.approx(whole.transform @ (10, 5))
    assert (part.gcps[0].row, part.gcps[0].col, part.gcps[0].x) == (7.5, 13.5, 10)
    assert (part.rpcs.line_off, part.rpcs.samp_off, part.rpcs.line_scale) == (4, 9, 30)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 20), st.integers(1, 20), st.floats(-0.4, 0.4))
def test_the_window_of_a_window_s_bounds_holds_it(col, row, width, height, turn):
    transform = Affine.translation(4e5, 5e6) @ Affine.rotation(turn) @ Affine.scale(10, -10)
    whole = Profile(60, 60, 1, "uint8", crs=CRS.from_epsg(32633), transform=transform)
    window = Window(col, row, width, height)
    found = window_of(whole, bounds(whole, window))
    assert found.intersection(window) == window
    if turn == 0:
        assert found == window


def test_what_differs_is_told():
    one = Profile(7, 5, 2, "uint8", nodata=float("nan"), tags={"": {"a": "1"}}, descriptions=("x", None))
    assert profile.differences(one, one) == []
    other = Profile(7, 5, 2, "uint8", nodata=0, crs=CRS.from_epsg(4326), transform=Affine(1, 0, 2, 0, 1, 0))
    assert sorted(profile.differences(other, one)) == [
        "some tags", "the CRS", "the descriptions of the bands", "the nodata value", "the transform"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("element", "told"),
    [
        ("<CategoryNames><Category>water</Category></CategoryNames>", "category names"),
        (
            '<GDALRasterAttributeTable><FieldDefn index="0"><Name>v</Name><Type>0</Type><Usage>0</Usage></FieldDefn>'
            '<Row index="0"><F>1</F></Row></GDALRasterAttributeTable>',
            "a raster attribute table",
        ),
    ],
)
def test_what_rasterio_has_no_words_for_is_named_as_lost(make_raster, element, told):
    path = make_raster(texture(1, 20, 20))
    path.with_name(f"{path.name}.aux.xml").write_text(
        f'<PAMDataset><PAMRasterBand band="1">{element}</PAMRasterBand></PAMDataset>'
    )
    assert RasterSource(path).profile.lost == (told,)


def test_masks_of_single_bands_are_told_apart_and_become_one(make_raster, tmp_path):
    array = texture(2, 20, 20)
    mask = np.full((1, 20, 20), 255, "uint8")
    mask[0, :5] = 0
    make_raster(array, "pixels.tif")
    make_raster(mask, "mask.tif")

    def pixels_of(name, band):
        file = f'<SourceFilename relativeToVRT="1">{name}</SourceFilename>'
        return f"<SimpleSource>{file}<SourceBand>{band}</SourceBand></SimpleSource>"

    def band(number, masked):
        mask = f'<MaskBand><VRTRasterBand dataType="Byte">{pixels_of("mask.tif", 1)}</VRTRasterBand></MaskBand>'
        inner = pixels_of("pixels.tif", number) + (mask if masked else "")
        return f'<VRTRasterBand dataType="Byte" band="{number}">{inner}</VRTRasterBand>'

    vrt = tmp_path / "a.vrt"
    vrt.write_text(f'<VRTDataset rasterXSize="20" rasterYSize="20">{band(1, True)}{band(2, False)}</VRTDataset>')
    source = RasterSource(vrt)
    assert source.profile.masked
    assert "masks of single bands" in source.profile.lost[0]
    good = source.read(source.profile.window).valid
    assert (good[0] == (mask[0] > 0)).all()
    assert good[1].all()


def test_control_points_on_another_map_are_a_difference():
    points = tuple(GroundControlPoint(r, c, 10 + c, 50 - r) for r, c in ((0, 0), (0, 5), (5, 0)))
    expected = Profile(7, 5, 1, "uint8", gcps=points, gcps_crs=CRS.from_epsg(4326))
    assert profile.differences(expected, expected) == []
    for other in (CRS.from_epsg(4258), None):
        output = Profile(7, 5, 1, "uint8", gcps=points, gcps_crs=other)
        assert set(profile.differences(output, expected)) == {"ground control points"}


@pytest.mark.parametrize(
    "changes", [{"LAT_OFF": "north"}, {"LINE_NUM_COEFF": "1 x"}, {"SAMP_DEN_COEFF": ""}, {"LONG_SCALE": "nan"}]
)
def test_rpcs_that_are_no_numbers_are_lost(make_raster, changes):
    path = make_raster(transform=Affine.identity(), crs=None, rpcs=camera(10, 20, 30))
    assert RasterSource(path).profile.rpcs
    with rasterio.open(path) as data:
        values = data.tags(ns="RPC") | changes
    path = make_raster(transform=Affine.identity(), crs=None)
    items = "".join(f'<MDI key="{name}">{value}</MDI>' for name, value in values.items())
    path.with_name("scene.tif.aux.xml").write_text(
        f'<PAMDataset><Metadata domain="RPC">{items}</Metadata></PAMDataset>'
    )
    profile = RasterSource(path).profile
    assert profile.rpcs is None
    assert "RPCs, which are damaged," in profile.lost
