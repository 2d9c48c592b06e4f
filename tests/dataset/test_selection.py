import json

import numpy as np
import pytest
import shapely
from affine import Affine

from geosr.dataset import job, storage
from geosr.dataset.options import Options
from geosr.errors import DatasetError, OptionError
from geosr.grid import Grid
from geosr.rasters.nodata import filled_block
from geosr.rasters.source import RasterSource
from tests.conftest import texture
from tests.dataset.helpers import at, holed, samples, three_places, training


def test_splits_never_share_a_scene(make_raster, tmp_path):
    made = job.build(three_places(make_raster), tmp_path / "out", Options(size=32, validation=0.3, test=0.3))
    by_split = {split: {s.scene for s in found} for split, found in samples(tmp_path / "out" / "x2").items()}
    assert sum(map(len, by_split.values())) == len(set.union(*by_split.values())) == 3
    assert made.tiles == {"Training": 9, "Validation": 9, "Test": 9}


def test_a_small_single_scene_keeps_a_tile_for_validation_or_is_refused(make_raster, tmp_path):
    made = job.build([make_raster(texture(1, 250, 100))], tmp_path / "a", Options(size=32))
    assert made.tiles["Validation"]
    with pytest.raises(
        DatasetError, match=r"no tile is left for validation: the 9 .* too few places; .*--validation 0$"
    ):
        job.build([make_raster(texture(1, 100, 100))], tmp_path / "b", Options(size=32))
    assert not (tmp_path / "b").exists()


def halves(make_raster, *, valid):
    """Eight scenes far from each other, of which the first are valid and the others nodata."""
    pixels = [texture(1, 64, 64, seed=i) * (i < valid) for i in range(8)]
    return [
        make_raster(block, f"s{i}.tif", transform=at(400_000 + 5000 * i, 5e6), nodata=0)
        for i, block in enumerate(pixels)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_a_scene_of_nodata_never_takes_the_place_of_one_that_validates(make_raster, tmp_path, caplog, seed):
    scenes = halves(make_raster, valid=4)
    made = job.build(scenes, tmp_path / "out", Options(size=32, validation=0.25, test=0.25, seed=seed))
    assert made.tiles == {"Training": 8, "Validation": 4, "Test": 4}
    assert made.left_out == {"nodata": 16}
    assert f"4 scenes have no tile that passes the filters and are passed over: {scenes[4]}, " in caplog.text


def test_flat_tiles_of_each_band_count_once_and_shares_are_of_the_others(make_raster, tmp_path):
    scenes = [
        make_raster(texture(2, 64, 64, seed=i) // (1 if i < 2 else 255), f"s{i}.tif", transform=at(4e5 + 5000 * i, 5e6))
        for i in range(4)
    ]
    made = job.build(scenes, tmp_path / "out", Options(size=32, validation=0.5, each_band=True, min_variance=1e-4))
    assert made.tiles == {"Training": 8, "Validation": 8}
    assert made.left_out == {"flat": 16}


@pytest.mark.parametrize("more", [{}, {"split": "block"}])
def test_a_split_that_would_be_empty_is_refused(make_raster, tmp_path, more):
    scenes = halves(make_raster, valid=2)
    with pytest.raises(DatasetError, match=r"no tile is left for validation: .*--split block .*--validation 0$"):
        job.build(scenes, tmp_path / "out", Options(size=32, validation=0.3, test=0.3, **more))
    assert not (tmp_path / "out").exists()
    with pytest.raises(OptionError, match="max_tiles must hold a tile of each split, 3 or more, got 2"):
        Options(max_tiles=2, validation=0.1, test=0.1)


@pytest.mark.parametrize("crs", ["EPSG:32633", None])
def test_a_single_place_is_cut_with_a_guard_between(make_raster, tmp_path, crs):
    where = {"transform": at(400_000, 5_000_000)} if crs else {"transform": Affine.identity()}
    path = make_raster(texture(1, 240, 100), crs=crs, **where)
    made = job.build([path], tmp_path / "out", Options(size=20, validation=0.3))
    rows = {split: {s.window.row_off for s in found} for split, found in samples(tmp_path / "out" / "x2").items()}
    assert min(rows["Validation"]) - max(rows["Training"]) >= 2 * 20 + 8
    assert made.left_out["guard"] > 0
    assert sum(made.tiles.values()) + made.left_out["guard"] == 60


def test_tiles_with_too_little_valid_are_left_out_and_the_others_filled_as_superresolve_does(make_raster, tmp_path):
    path = make_raster(holed(), nodata=0)
    made = job.build([path], tmp_path / "out", Options(size=24, validation=0))
    assert made.left_out == {"nodata": 1}
    source = RasterSource(path)
    [tile, *_] = Grid(96, 96, 24, halo=8)
    wanted = tile.trim(filled_block(source, tile, source.read(tile.outer), halo=8))
    [first] = [s for s in training(tmp_path / "out") if s.window == tile.core]
    assert (first.gt == wanted).all()
    assert all((s.gt > 0).all() for s in training(tmp_path / "out"))
    whole = job.build([path], tmp_path / "whole", Options(size=24, validation=0, min_valid=1))
    assert whole.left_out == {"nodata": 2}


def test_flat_tiles_are_left_out_by_the_variance_over_the_range(make_raster, tmp_path):
    image = texture(2, 96, 96)
    image[:, :24, :] = 100
    image[:, :24, 1:24:2] = 104  # standard deviation 2 of 255: a variance of 6e-5
    path = make_raster(image)
    kept = [
        job.build([path], tmp_path / str(least), Options(size=24, validation=0, min_variance=least)).left_out
        for least in (5e-5, 7e-5)
    ]
    assert kept == [{"flat": 3}, {"flat": 4}]


def geojson(path, *polygons, crs=None):
    """Polygons of map coordinates in a GeoJSON file; of degrees, unless told."""
    features = [{"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(one)} for one in polygons]
    named = {"crs": {"type": "name", "properties": {"name": crs}}} if crs else {}
    path.write_text(json.dumps({"type": "FeatureCollection", **named, "features": features}))
    return path


@pytest.mark.parametrize("degrees", [False, True])
@pytest.mark.parametrize("turn", [0, 30])
def test_only_tiles_inside_the_areas_are_taken(make_raster, tmp_path, degrees, turn):
    transform = at(400_000, 5_000_000) @ Affine.rotation(turn)
    path = make_raster(texture(1, 160, 160), transform=transform)
    middle = transform @ (80, 80)
    area = shapely.Point(middle).buffer(600, quad_segs=64).difference(shapely.Point(middle).buffer(100))
    if degrees:
        from rasterio.warp import transform_geom

        shape = transform_geom("EPSG:32633", "EPSG:4326", shapely.geometry.mapping(area), precision=12)
        file = geojson(tmp_path / "area.geojson", shapely.geometry.shape(shape))
    else:
        file = geojson(tmp_path / "area.geojson", area, crs="EPSG:32633")
    tiles = {
        tile.core: shapely.Polygon([transform @ corner for corner in corners(tile.core)]) for tile in Grid(160, 160, 16)
    }
    job.build([path], tmp_path / "in", Options(size=16, validation=0, aoi=str(file)))
    inside = {one.window for one in training(tmp_path / "in")}
    assert inside == {core for core, tile in tiles.items() if area.buffer(0.01).contains(tile)}
    made = job.build([path], tmp_path / "out", Options(size=16, validation=0, exclude=str(file)))
    outside = {one.window for one in training(tmp_path / "out")}
    assert outside == {core for core, tile in tiles.items() if not area.intersects(tile)}
    assert made.left_out == {"exclude": 100 - len(outside)}
    assert 0 < len(inside) < len(outside) < 100


def corners(window):
    (top, bottom), (left, right) = window.toranges()
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def test_areas_may_be_of_any_vector_format(make_raster, tmp_path):
    from pyogrio.raw import write

    area = shapely.box(400_000, 4_999_500, 400_500, 5_000_000)
    for name in ("area.gpkg", "area.shp"):
        write(tmp_path / name, shapely.to_wkb(np.array([area])), [], [], crs="EPSG:32633", geometry_type="Polygon")
        made = job.build(
            [make_raster(texture(1, 96, 96))],
            tmp_path / name[-3:],
            Options(size=16, validation=0, aoi=str(tmp_path / name)),
        )
        assert made.tiles["Training"] == 9


def test_areas_that_are_none_are_said(make_raster, tmp_path):
    scene = make_raster()
    points = geojson(tmp_path / "points.geojson", shapely.Point(1, 2))
    (tmp_path / "text.geojson").write_text("no file of areas")
    for name, told in [
        (points, "holds no polygons"),
        (tmp_path / "text.geojson", r"geojson' cannot be read: not recognized as being in a supported file format$"),
        (tmp_path / "none.gpkg", "there is no such file"),
    ]:
        with pytest.raises(DatasetError, match=told):
            job.build([scene], tmp_path / "out", Options(size=16, aoi=str(name)))
    lost = make_raster(name="lost.tif", crs=None, transform=Affine.identity())
    far = geojson(tmp_path / "far.geojson", shapely.box(0, 0, 1, 1))
    with pytest.raises(OptionError, match="has no CRS"):
        job.build([lost], tmp_path / "out", Options(size=16, aoi=str(far)))
    with pytest.raises(DatasetError, match=r"no training tile of 16 x 16 .* left out: 9 outside the areas of --aoi"):
        job.build([scene], tmp_path / "out", Options(size=16, aoi=str(far)))
    assert not (tmp_path / "out").exists()


def test_so_many_tiles_are_taken_by_chance_and_shared_out(make_raster, tmp_path):
    scenes = three_places(make_raster)
    whole = job.build(scenes, tmp_path / "whole", Options(size=16, validation=0.3))
    made = job.build(scenes, tmp_path / "some", Options(size=16, validation=0.3, max_tiles=40))
    assert sum(whole.tiles.values()) == 108
    assert made.tiles == {"Training": 27, "Validation": 13}
    every = {(s.scene, s.window) for found in samples(tmp_path / "whole" / "x2").values() for s in found}
    assert {(s.scene, s.window) for found in samples(tmp_path / "some" / "x2").values() for s in found} < every


def test_so_many_tiles_are_no_more_and_of_all_scenes(make_raster, tmp_path):
    scenes = three_places(make_raster)
    for most, tiles in ((3, [1, 1, 1]), (5, [3, 1, 1])):
        made = job.build(scenes, tmp_path / f"{most}", Options(size=16, validation=0.3, test=0.3, max_tiles=most))
        assert [made.tiles.get(split, 0) for split in storage.TFDS_SPLITS] == tiles
    job.build(scenes, tmp_path / "some", Options(size=16, validation=0, max_tiles=30))
    found = training(tmp_path / "some")
    assert len({one.scene for one in found}) == 3
    # Not those of one corner.
    assert len({one.window.row_off for one in found}) == len({one.window.col_off for one in found}) == 6


@pytest.mark.parametrize("most", range(3, 12))
def test_every_split_gets_a_tile_before_one_gets_two(make_raster, tmp_path, most):
    places = [make_raster(texture(1, 16, 16), f"s{i}.tif", transform=at(400_000 + 5000 * i, 5e6)) for i in range(10)]
    made = job.build(places, tmp_path / "out", Options(size=16, validation=0.1, test=0.8, max_tiles=most))
    assert made.tiles["Training"] == 1
    assert sum(made.tiles.values()) == min(most, 10)


def test_tiles_of_a_part_are_taken_by_chance_too(make_raster, tmp_path):
    scene = make_raster(texture(1, 320, 320))
    job.build([scene], tmp_path / "out", Options(size=16, validation=0, max_tiles=150))
    # Parts are of two tiles: those beside each other would fill every second column alike.
    found = {(one.window.col_off // 16, one.window.row_off // 16) for one in training(tmp_path / "out")}
    assert len(found) == 150
    assert sum((col ^ 1, row) not in found for col, row in found) > 30


def test_no_tiles_are_made_for_a_split_that_is_full(make_raster, tmp_path, monkeypatch):
    pixels = texture(1, 160, 160)
    full, empty = make_raster(pixels, "a.tif"), pixels.copy()
    empty[:, 16:] = 0
    poor = make_raster(empty, "b.tif", transform=at(900_000, 5e6), nodata=0)
    made = []
    encoded_part = job.encoded_part
    monkeypatch.setattr(job, "encoded_part", lambda task, **how: made.append(task) or encoded_part(task, **how))
    found = job.build([full, poor], tmp_path / "out", Options(size=16, validation=0.5, max_tiles=40, min_valid=0.5))
    # Of 100 and 10 tiles that pass; those of nodata are never looked at again.
    assert sorted(found.tiles.values()) == [4, 36]
    assert len(made) == 40
