from dataclasses import replace

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import RPCTransformer
from rasterio.warp import transform_geom

from geosr.grid import Window
from geosr.rasters import placement
from geosr.rasters.profile import Profile
from geosr.rasters.source import RasterSource

UTM = CRS.from_epsg(32633)


def profile(width=100, height=80, crs=UTM, transform=None, **more):
    return Profile(width, height, 1, "uint8", crs=crs, transform=transform or Affine(10, 0, 4e5, 0, -10, 5e6), **more)


def test_an_outline_is_the_transform_of_the_corners():
    turned = Affine.translation(4e5, 5e6) @ Affine.rotation(30) @ Affine.scale(10, -10)
    [ring] = placement.outlines(profile(transform=turned), [Window(10, 20, 30, 5)])
    wanted = shapely.Polygon([turned @ corner for corner in [(10, 20), (40, 20), (40, 25), (10, 25)]])
    assert shapely.Polygon(ring).symmetric_difference(wanted).area < 1e-6 * wanted.area


def test_a_footprint_is_the_polygon_that_gdal_gives():
    turned = Affine.translation(4e5, 5e6) @ Affine.rotation(30) @ Affine.scale(10, -10)
    corners = [turned @ corner for corner in [(0, 0), (100, 0), (100, 80), (0, 80)]]
    outline = {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
    wanted = shapely.geometry.shape(transform_geom(UTM, "EPSG:4326", outline))
    found = placement.footprint(profile(transform=turned))
    assert found.symmetric_difference(wanted).area < 1e-4 * wanted.area


def test_a_rotated_scene_is_not_its_box():
    turned = Affine.translation(4e5, 5e6) @ Affine.rotation(45) @ Affine.scale(10, -10)
    corner = profile(10, 10, transform=Affine(10, 0, 4e5 - 690, 0, -10, 5e6 + 690))
    assert not placement.footprint(profile(transform=turned)).intersects(placement.footprint(corner))


@pytest.mark.parametrize("west", [179.5, -180.5, 539.5])
def test_a_scene_across_the_antimeridian_lies_on_both_sides_of_it(west):
    found = placement.footprint(profile(100, 100, CRS.from_epsg(4326), Affine(0.01, 0, west, 0, -0.01, 10)))
    assert found.bounds == pytest.approx((-180, 9, 180, 10))
    assert found.area == pytest.approx(1)
    assert found.contains(shapely.Point(179.9, 9.5))
    assert found.contains(shapely.Point(-179.9, 9.5))
    assert not found.contains(shapely.Point(0, 9.5))


def test_a_scene_around_the_pole_reaches_to_it():
    polar = profile(200, 200, CRS.from_epsg(3413), Affine(1e4, 0, -1e6, 0, -1e4, 1e6))
    found = placement.footprint(polar)
    for lon in (-170, -90, 0, 33, 100, 179):
        assert found.contains(shapely.Point(lon, 89.9))
        assert found.contains(shapely.Point(lon, 82))
        assert not found.contains(shapely.Point(lon, 70))


# The upper edge of a map of the world, beyond which nothing lies.
AT_THE_EDGE = {"crs": CRS.from_string("ESRI:54030"), "transform": Affine(1000, 0, -1e6, 0, -1000, 8.6e6)}


def test_a_footprint_has_what_there_is_of_its_margin():
    scene = profile(300, 300, **AT_THE_EDGE)
    core, wide = placement.footprint(scene), placement.footprint(scene, 60)
    assert core.bounds[3] == pytest.approx(89.18, abs=0.01)
    assert wide.buffer(1e-9).contains(core)
    assert wide.bounds[1] < core.bounds[1] - 0.3
    assert wide.bounds[2] > core.bounds[2] + 1


def test_an_outline_of_nowhere_does_not_take_the_others_along():
    scene = profile(300, 300, **AT_THE_EDGE)
    windows = [Window(0, 0, 300, 300), Window(0, -5000, 300, 300), Window(0, 200, 50, 50)]
    found = placement.projected(placement.outlines(scene, windows), scene.crs, placement.DEGREES)
    assert [bool(np.isfinite(ring).all()) for ring in found] == [True, False, True]


def test_ground_control_points_place_a_raster():
    truth = Affine(10, 0, 4e5, 0, -10, 5e6)
    points = [GroundControlPoint(r, c, *(truth @ (c, r))) for r in (0, 40, 80) for c in (0, 50, 100)]
    loose = profile(crs=None, transform=Affine.identity(), gcps=tuple(points), gcps_crs=UTM)
    assert placement.crs_of(loose) == UTM
    both = [placement.footprint(one) for one in (loose, profile())]
    assert both[0].symmetric_difference(both[1]).area < 1e-6 * both[1].area
    crs, transform = placement.place_of(loose, Window(20, 30, 10, 10))
    assert crs == UTM
    assert np.allclose(transform, truth @ Affine.translation(20, 30))


def test_rpcs_place_a_raster_where_gdal_does(shared):
    path = shared / "nasty" / "rpc_only_qb2_jpeg.tif"
    footprint = placement.footprint(replace(RasterSource(path).profile, gcps=(), gcps_crs=None))
    with rasterio.open(path) as data, RPCTransformer(data.rpcs) as rpcs:
        corners = [(0, 0), (0, data.width), (data.height, data.width), (data.height, 0)]
        outline = shapely.Polygon([rpcs.xy(row, col) for row, col in corners])
    assert footprint.symmetric_difference(outline).area < 0.05 * outline.area


@pytest.mark.parametrize("crs", [None, CRS.from_user_input("ESRI:104903")])
def test_what_lies_nowhere_on_earth_has_an_empty_footprint_or_one_of_its_own(crs):
    found = placement.footprint(profile(crs=crs, transform=Affine.identity()))
    assert found.is_empty or crs is not None


def test_the_real_rasters_have_footprints(shared):
    for path in sorted((shared / "train").glob("*.tif")):
        with rasterio.open(path) as data:
            crs, transform, bounds = data.crs, data.transform, data.bounds
        found = placement.footprint(RasterSource(path).profile)
        assert found.is_empty == (crs is None), path.name
        if crs is not None and transform.b == 0:
            box = rasterio.warp.transform_bounds(crs, "EPSG:4326", *bounds, densify_pts=31)
            assert found.bounds == pytest.approx(box, abs=1e-6)
