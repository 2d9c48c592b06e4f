import json
import os
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from conftest import texture

from geosr import dataset, pools, records
from geosr.errors import DatasetError, OptionError, OutputError
from geosr.grid import Window
from geosr.raster import RasterSource
from geosr.resample import enlarge, shrink


def at(x, y):
    return Affine(10, 0, x, 0, -10, y)


def three_places(make_raster):
    return [
        make_raster(texture(2, 100, 100, seed=i), f"s{i}.tif", transform=at(400_000 + 5000 * i, 5_000_000))
        for i in range(3)
    ]


def samples(folder):
    return {split: list(records.read(folder / split)) for split in records.SPLITS}


def test_a_sample_is_the_scene_its_degradation_and_that_enlarged(make_raster, tmp_path):
    image = texture(2, 100, 100, seed=5, dtype="uint16", high=4000)
    dataset.build([make_raster(image)], tmp_path / "out", scale=2, size=24, validation=0)
    low = np.rint(np.clip(shrink(image, 2), 0, 65535))
    up = np.rint(np.clip(enlarge(low, 2), 0, 65535))
    made = list(records.read(tmp_path / "out" / "x2" / "Training"))
    assert len(made) == 16
    for one in made:
        rows, cols = one.window.slices(within=Window(0, 0, 100, 100))
        half = slice(rows.start // 2, rows.stop // 2), slice(cols.start // 2, cols.stop // 2)
        assert (one.gt == image[:, rows, cols]).all()
        assert (one.down == low[(slice(None), *half)]).all()
        assert (one.bic_up == up[:, rows, cols]).all()


def test_splits_never_share_a_scene(make_raster, tmp_path):
    made = dataset.build(three_places(make_raster), tmp_path / "out", size=32, validation=0.3)
    by_split = {split: {s.scene for s in found} for split, found in samples(tmp_path / "out" / "x2").items()}
    assert by_split["Training"]
    assert by_split["Validation"]
    assert not by_split["Training"] & by_split["Validation"]
    assert (made.training, made.validation) == (18, 9)


def test_scenes_that_overlap_on_the_ground_stay_on_one_side(make_raster, tmp_path):
    """Two dates of one place in different projections, and another place."""
    first = make_raster(texture(1, 100, 100), "a2016.tif", transform=at(400_000, 5_000_000))
    lon, lat = 13.7385, 45.1474
    degree = Affine(10 / 78_600, 0, lon - 0.004, 0, -10 / 111_100, lat + 0.002)
    second = make_raster(texture(1, 100, 100), "a2020.tif", crs="EPSG:4326", transform=degree)
    other = make_raster(texture(1, 100, 100), "b.tif", transform=at(450_000, 5_000_000))
    sources = [RasterSource(path) for path in (first, second, other)]
    for seed in range(6):
        scenes = dataset.split_by_place(sources, size=32, validation=0.3, seed=seed)
        assert scenes[0].split == scenes[1].split
        assert {scene.split for scene in scenes} == {"Training", "Validation"}


def test_two_dates_of_one_place_are_cut_along_one_line(make_raster, tmp_path):
    """In UTM and in degrees: no ground is in both splits."""
    first = make_raster(texture(1, 200, 100), "a2016.tif", transform=at(400_000, 5_000_000))
    degree = Affine(10 / 78_600, 0, 13.7275, 0, -10 / 111_100, 45.1465)
    second = make_raster(texture(1, 200, 100), "a2020.tif", crs="EPSG:4326", transform=degree)
    scenes = dataset.split_by_place([RasterSource(first), RasterSource(second)], size=16, validation=0.3, seed=0)
    assert len({scene.cut for scene in scenes}) == 1
    assert 45.12 < scenes[0].cut < 45.15
    dataset.build([first, second], tmp_path / "out", size=16, validation=0.3)
    found = samples(tmp_path / "out" / "x2")
    assert {s.scene for s in found["Validation"]} == {s.scene for s in found["Training"]} == {"a2016.tif", "a2020.tif"}


def test_a_small_single_scene_keeps_a_tile_for_validation_or_says_that_it_cannot(make_raster, tmp_path, caplog):
    made = dataset.build([make_raster(texture(1, 250, 100))], tmp_path / "a", size=32)
    assert made.validation
    made = dataset.build([make_raster(texture(1, 100, 100))], tmp_path / "b", size=32)
    assert (made.training, made.validation, made.guard) == (9, 0, 0)
    assert "too small to keep a part of it for validation" in caplog.text


def test_another_folder_is_never_replaced(make_raster, tmp_path):
    (tmp_path / "runs" / "x2" / "ckpts").mkdir(parents=True)
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="holds other files than a training set"):
            dataset.build([make_raster()], tmp_path / "runs", size=16, overwrite=overwrite)
    assert (tmp_path / "runs" / "x2" / "ckpts").is_dir()


def test_files_of_many_scenes_are_not_open_at_once(make_raster, tmp_path):
    scenes = [make_raster(texture(1, 40, 40, seed=i), f"s{i}.tif", crs=None) for i in range(30)]

    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("needs /proc to count open files")

    def opened(done, total):
        files = [os.path.realpath(path) for path in descriptors.iterdir()]
        assert sum(name.endswith(".tif") for name in files) < 10

    with pools.threads(2) as pool:
        dataset.build(scenes, tmp_path / "out", size=16, pool=pool, progress=opened)


@pytest.mark.parametrize("crs", ["EPSG:32633", None])
def test_a_single_place_is_cut_with_a_guard_between(make_raster, tmp_path, crs):
    where = {"transform": at(400_000, 5_000_000)} if crs else {"transform": Affine.identity()}
    path = make_raster(texture(1, 200, 100), crs=crs, **where)
    made = dataset.build([path], tmp_path / "out", size=20, validation=0.3)
    rows = {split: {s.window.row_off for s in found} for split, found in samples(tmp_path / "out" / "x2").items()}
    assert min(rows["Validation"]) - max(rows["Training"]) >= 2 * 20
    assert made.guard > 0
    assert made.training + made.validation + made.guard == 50


def test_tiles_with_nodata_are_left_out(make_raster, tmp_path):
    image = texture(1, 96, 96, dtype="uint16", low=1)
    image[0, 50:60, 50:60] = 0
    made = dataset.build([make_raster(image, nodata=0)], tmp_path / "out", size=24, validation=0)
    assert made.invalid >= 1
    assert all((s.gt > 0).all() for s in records.read(tmp_path / "out" / "x2" / "Training"))
    assert made.training + made.invalid == 16


def test_the_same_seed_gives_the_same_bytes_whatever_the_pool(make_raster, tmp_path):
    scenes = three_places(make_raster)
    dataset.build(scenes, tmp_path / "a", size=32)
    with pools.threads(3) as pool:
        dataset.build(scenes, tmp_path / "b", size=32, pool=pool)
    files = [p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert len(files) == 4
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_means_of_the_images_are_beside_them(make_raster, tmp_path):
    dataset.build(three_places(make_raster), tmp_path / "out", size=32)
    means = json.loads((tmp_path / "out" / "x2" / "mean_values.json").read_text())
    every = [s for found in samples(tmp_path / "out" / "x2").values() for s in found]
    for name in records.IMAGES:
        assert means[name] == pytest.approx(np.mean([getattr(s, name) for s in every]) / 255, abs=1e-5)


def test_what_can_be_known_is_refused_before_the_work(make_raster, tmp_path):
    scene = make_raster()
    with pytest.raises(OptionError, match="multiple of the scale 2, got 33"):
        dataset.build([scene], tmp_path / "out", size=33)
    with pytest.raises(DatasetError, match=r"no training tile of 96 x 96 pixels in 1 scenes"):
        dataset.build([scene], tmp_path / "out", size=96)
    dataset.build([scene], tmp_path / "out", size=16)
    with pytest.raises(OutputError, match="holds a training set"):
        dataset.build([scene], tmp_path / "out", size=16)
    dataset.build([scene], tmp_path / "out", size=16, overwrite=True)


def test_a_build_that_fails_leaves_the_older_set_and_nothing_else(make_raster, tmp_path):
    dataset.build([make_raster()], tmp_path / "out", size=16)
    before = (tmp_path / "out" / "x2" / "dataset.json").read_text()

    def stop(done, total):
        if done == 3:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        dataset.build([make_raster()], tmp_path / "out", size=24, overwrite=True, progress=stop)
    assert (tmp_path / "out" / "x2" / "dataset.json").read_text() == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x2"]
