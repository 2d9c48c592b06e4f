"""Areas as people's files hold them: in collections, with open rings, beside points; judged by shapely's own areas."""

import json
import resource
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from pyogrio import raw
from rasterio.crs import CRS

from geosr.dataset import job, polygons
from geosr.dataset.options import Options
from geosr.errors import DatasetError
from geosr.grid import Window
from geosr.rasters.profile import Profile
from tests.conftest import texture
from tests.dataset.helpers import three_places

SQUARE = [[0, 0], [4, 0], [4, 3], [0, 3], [0, 0]]


def write(path, *geometries):
    features = [{"type": "Feature", "properties": {}, "geometry": geometry} for geometry in geometries]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    return path


def test_polygons_in_collections_count_and_points_do_not(tmp_path, caplog):
    inner = {"type": "Polygon", "coordinates": [SQUARE]}
    far = {"type": "MultiPolygon", "coordinates": [[[[x + 10, y] for x, y in SQUARE]]]}
    collection = {"type": "GeometryCollection", "geometries": [inner, {"type": "Point", "coordinates": [9, 9]}]}
    nested = {"type": "GeometryCollection", "geometries": [collection, far]}
    areas = polygons.read(write(tmp_path / "areas.geojson", nested))
    assert areas.geometry.area == shapely.Polygon(SQUARE).area * 2
    assert "features 1 of '" in caplog.text
    assert "hold points, lines or nothing, which are passed over" in caplog.text


def test_open_rings_are_closed(tmp_path):
    areas = polygons.read(write(tmp_path / "open.geojson", {"type": "Polygon", "coordinates": [SQUARE[:-1]]}))
    assert areas.geometry.area == 12


def test_a_ring_of_two_points_is_refused_with_its_feature(tmp_path):
    good, bad = ({"type": "Polygon", "coordinates": [ring]} for ring in (SQUARE, [[0, 0], [1, 1]]))
    with pytest.raises(
        DatasetError, match=r"feature 2 of '.*bad\.geojson' has a ring of fewer than three points; mend"
    ):
        polygons.read(write(tmp_path / "bad.geojson", good, bad))


@pytest.mark.parametrize("number", [np.inf, np.nan])
def test_a_coordinate_that_is_no_number_is_refused_with_its_feature(tmp_path, number):
    path = tmp_path / "bad.gpkg"
    shapes = [shapely.Polygon(SQUARE), shapely.Polygon([[0, 0], [number, 0], [4, 3], [0, 0]])]
    raw.write(path, shapely.to_wkb(np.array(shapes)), [], [], crs="EPSG:32633", geometry_type="Polygon")
    with pytest.raises(DatasetError, match=r"feature 2 of '.*bad\.gpkg' has a coordinate that is infinite or no"):
        polygons.read(path)


def test_whatever_has_no_area_is_named(tmp_path, caplog):
    good = {"type": "Polygon", "coordinates": [SQUARE]}
    line = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 2], [0, 0]]]}
    empty, point = {"type": "Polygon", "coordinates": []}, {"type": "Point", "coordinates": [1, 1]}
    areas = polygons.read(write(tmp_path / "some.geojson", point, good, line, empty, None))
    assert areas.features == ("2",)
    assert "features 1, 5 of" in caplog.text
    assert "features 3, 4 of" in caplog.text


def test_a_tile_that_cannot_be_placed_may_touch_and_does_not_lie_within(tmp_path):
    areas = polygons.read(write(tmp_path / "areas.geojson", {"type": "Polygon", "coordinates": [SQUARE]}))
    beyond_the_pole = Affine(0.01, 0, 15, 0, -0.01, 200)
    profile = Profile(64, 64, 1, "uint8", crs=CRS.from_epsg(4326), transform=beyond_the_pole)
    windows = [Window(0, 0, 16, 16)]
    assert areas.touching(profile, windows).tolist() == [True]
    assert areas.covering(profile, windows).tolist() == [False]


def test_areas_that_touch_nothing_are_named(make_raster, tmp_path, caplog):
    path = write(tmp_path / "far.geojson", {"type": "Polygon", "coordinates": [SQUARE]})
    job.plan([make_raster(texture(1, 64, 64))], Options(size=16, exclude=path, validation=0))
    assert f"1 of 1 areas of --exclude touch no scene (features 1 of '{path}'); is their CRS another" in caplog.text


def test_swapped_axes_are_suspected_aloud(make_raster, tmp_path, caplog):
    scene = make_raster(texture(1, 64, 64), transform=Affine(10, 0, 400_000, 0, -10, 5_000_000))
    [near, swapped] = (
        {"type": "Polygon", "coordinates": [[[x, y][::turn] for x, y in ring]]}
        for turn in (1, -1)
        for ring in [[(400_000, 5_000_000), (400_640, 5_000_000), (400_640, 4_999_000), (400_000, 4_999_000)]]
    )
    path = write(tmp_path / "areas.geojson", near, swapped)
    job.plan([scene], Options(size=16, aoi=path, validation=0))
    assert "1 of 2 areas of --aoi touch no scene (features 2 of" in caplog.text
    assert "with x and y swapped they would: mend the file" in caplog.text


def test_options_take_what_python_has(tmp_path, make_raster):
    options = Options(aoi=tmp_path / "a.gpkg", bands=(np.int64(1),))
    assert json.dumps(options.settings)
    assert options.aoi == str(tmp_path / "a.gpkg")


def test_more_scenes_than_files_can_be_open_are_planned(make_raster):
    scenes = three_places(make_raster) * 20
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 30, hard))
    try:
        plan = job.plan(scenes, Options(size=16, validation=0))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(plan.scenes) == 60


def test_a_path_of_gdal_s_own_says_what_gdal_says(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read: ") as error:
        polygons.read(f"/vsizip/{tmp_path}/none.zip/areas.gpkg")
    assert "no such file" not in str(error.value).split("cannot be read")[0]
