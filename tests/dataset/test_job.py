import errno
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from geosr import pools
from geosr.dataset import job, records
from geosr.dataset.options import Options
from geosr.errors import DatasetError, OptionError, OutputError
from geosr.grid import Window
from geosr.rasters.degradation import Degradation
from geosr.rasters.resample import enlarge, shrink
from tests.conftest import texture
from tests.dataset.helpers import at, holed, samples, three_places, training


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_sample_is_the_scene_its_degradation_and_that_enlarged(make_raster, tmp_path):
    image = texture(2, 100, 100, seed=5, dtype="uint16", high=4000)
    path = make_raster(image)
    job.build([path], tmp_path / "out", Options(scale=2, size=24, validation=0))
    low = np.rint(np.clip(shrink(image, 2), 0, 65535))
    up = np.rint(np.clip(enlarge(low, 2), 0, 65535))
    made = training(tmp_path / "out")
    assert len(made) == 16
    with rasterio.open(path) as data:
        for one in made:
            rows, cols = one.window.slices(within=Window(0, 0, 100, 100))
            half = slice(rows.start // 2, rows.stop // 2), slice(cols.start // 2, cols.stop // 2)
            assert (one.gt == image[:, rows, cols]).all()
            assert (one.down == low[(slice(None), *half)]).all()
            assert (one.bic_up == up[:, rows, cols]).all()
            assert one.bands == (1, 2)
            where = Affine(*one.transform)
            assert where @ (0, 0) == data.transform @ (one.window.col_off, one.window.row_off)
            assert CRS.from_wkt(one.crs) == data.crs


@pytest.mark.parametrize("way", ["mtf+noise+quantise", "mtf", "bicubic+noise"])
def test_the_degradation_is_that_of_the_whole_scene_but_for_noise(make_raster, tmp_path, way):
    image = texture(1, 96, 96, seed=5, dtype="uint16", high=4000)
    how = Degradation(tuple(way.split("+")), mtf=(0.2,), bits=6)
    job.build([make_raster(image)], tmp_path / "out", Options(size=24, validation=0, degradation=how, seed=3))
    quiet = Degradation(tuple(step for step in how.steps if step != "noise"), mtf=(0.2,), bits=6)
    made = training(tmp_path / "out")
    whole = np.rint(quiet(image, 2, values=made[0].range))
    far = []
    for one in made:
        rows, cols = (slice(start // 2, end // 2) for start, end in one.window.toranges())
        far.append(one.down.astype(float) - whole[:, rows, cols])
    if "noise" not in how.steps:
        assert not np.any(far)
    else:
        span = made[0].range.high[0] - made[0].range.low[0]
        assert 0.003 < np.std(far) / span < 0.02
        assert len({one.tobytes() for one in far}) == len(far)


def test_noise_does_not_depend_on_order_or_jobs(make_raster, tmp_path):
    scenes = three_places(make_raster)
    how = Degradation(("mtf", "noise"))
    job.build(scenes, tmp_path / "a", Options(size=32, degradation=how))
    with pools.threads(3) as pool:
        job.build(scenes[::-1], tmp_path / "b", Options(size=32, degradation=how), pool=pool)
    one, other = (
        {(s.scene, s.window): s for found in samples(tmp_path / n / "x2").values() for s in found} for n in "ab"
    )
    assert set(one) == set(other)
    assert all((one[key].down == other[key].down).all() for key in one)


def test_another_folder_is_never_replaced(make_raster, tmp_path):
    (tmp_path / "runs" / "x2" / "ckpts").mkdir(parents=True)
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="holds other files than a training set"):
            job.build([make_raster()], tmp_path / "runs", Options(size=16), overwrite=overwrite)
    assert (tmp_path / "runs" / "x2" / "ckpts").is_dir()


def test_a_set_that_holds_a_file_of_the_user_s_is_never_replaced(make_raster, tmp_path):
    scene = make_raster(texture(1, 80, 80))
    job.build([scene], tmp_path / "out", Options(size=16, validation=0))
    note = tmp_path / "out" / "x2" / "Training" / "NOTES.txt"
    note.write_text("mine")
    with pytest.raises(OutputError, match="holds other files than a training set"):
        job.build([scene], tmp_path / "out", Options(size=16), overwrite=True)
    note.unlink()
    job.build([scene], tmp_path / "out", Options(size=16, validation=0), overwrite=True)


def test_files_of_many_scenes_are_not_open_at_once(make_raster, tmp_path):
    scenes = [make_raster(texture(1, 40, 40, seed=i), f"s{i}.tif", crs=None) for i in range(30)]
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("needs /proc to count open files")

    def opened(done, total):
        files = []
        for path in descriptors.iterdir():
            with suppress(FileNotFoundError):  # another thread has closed it
                files.append(path.readlink())
        assert sum(path.suffix == ".tif" for path in files) < 10

    with pools.threads(2) as pool:
        job.build(scenes, tmp_path / "out", Options(size=16), pool=pool, progress=opened)


def test_an_invalid_pixel_never_bleeds_into_a_sample(make_raster, tmp_path):
    """Whatever stands in the hole, the samples are the same."""
    for name, value in (("a", 0), ("b", 60000)):
        path = make_raster(np.where(holed() == 0, value, holed()).astype("uint16"), f"{name}.tif", nodata=value)
        job.build([path], tmp_path / name, Options(size=24, validation=0))
    one, other = ({s.window: s for s in training(tmp_path / name)} for name in "ab")
    for key in one:
        for image in records.IMAGES:
            assert (getattr(one[key], image) == getattr(other[key], image)).all()


@pytest.mark.parametrize(
    "options", [{}, {"degradation": Degradation(("mtf", "noise")), "each_band": True}, {"gzip": True}]
)
def test_the_same_seed_gives_the_same_bytes_whatever_the_pool(make_raster, tmp_path, options):
    scenes = three_places(make_raster)
    job.build(scenes, tmp_path / "a", Options(size=32, **options))
    with pools.threads(3) as pool:
        job.build(scenes, tmp_path / "b", Options(size=32, **options), pool=pool)
    found = content(tmp_path / "a")
    assert len(found) >= 4
    assert found == content(tmp_path / "b")


def test_the_order_is_by_chance_and_that_of_the_seed(make_raster, tmp_path):
    path = make_raster(texture(1, 200, 200))
    orders = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        job.build([path], tmp_path / name, Options(size=16, validation=0, seed=seed))
        orders.append([s.window for s in training(tmp_path / name)])
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != sorted(orders[0], key=str)


def test_the_means_of_the_images_are_beside_them(make_raster, tmp_path):
    job.build(three_places(make_raster), tmp_path / "out", Options(size=32))
    means = json.loads((tmp_path / "out" / "x2" / "mean_values.json").read_text())
    every = [s for found in samples(tmp_path / "out" / "x2").values() for s in found]
    for name in records.IMAGES:
        assert means[name] == pytest.approx(np.mean([getattr(s, name) for s in every]) / 255, abs=1e-5)


def test_the_enlarged_image_can_be_made_while_reading(make_raster, tmp_path):
    path = make_raster(texture(1, 96, 96))
    job.build([path], tmp_path / "a", Options(size=48, validation=0))
    job.build([path], tmp_path / "b", Options(size=48, validation=0, bic_up=False))
    for one, other in zip(training(tmp_path / "a"), training(tmp_path / "b"), strict=True):
        assert other.bic_up is None
        inner = np.s_[:, 8:-8, 8:-8]
        assert np.abs(one.bic_up.astype(float)[inner] - other.enlarged()[inner]).max() <= 0.5


def test_every_band_by_itself_makes_one_set_of_many_sensors(make_raster, tmp_path):
    scenes = [
        make_raster(texture(4, 48, 48), "rgbn.tif", transform=at(400_000, 5_000_000), photometric="MINISBLACK"),
        make_raster(texture(1, 48, 48, seed=1, dtype="uint16", high=9000), "pan.tif", transform=at(500_000, 5_000_000)),
    ]
    with pytest.raises(OptionError, match=r"rgbn\.tif' has 4, '.*pan\.tif' has 1; .*--bands 1,2,3, .*--each-band"):
        job.build(scenes, tmp_path / "out", Options(size=24))
    with pytest.raises(OptionError, match=r"rgbn\.tif' is uint8, '.*pan\.tif' is uint16; .*--dtype uint16"):
        job.build(scenes, tmp_path / "out", Options(size=24, each_band=True))
    made = job.build(scenes, tmp_path / "out", Options(size=24, each_band=True, dtype="uint16", validation=0))
    found = training(tmp_path / "out")
    assert made.tiles["Training"] == len(found) == 4 * (4 + 1)
    assert {(s.scene, s.bands) for s in found} == {("rgbn.tif", (b,)) for b in (1, 2, 3, 4)} | {("pan.tif", (1,))}
    for one in found:
        with rasterio.open(tmp_path / one.scene) as data:
            window = ((one.window.row_off, one.window.row_off + 24), (one.window.col_off, one.window.col_off + 24))
            assert (one.gt[0] == data.read(one.bands[0], window=window)).all()
        assert one.gt.dtype == one.down.dtype == one.bic_up.dtype == np.uint16
        assert one.range.high == ((255.0,) if one.scene == "rgbn.tif" else one.range.high)
    assert {scene["bands"] for scene in records.read_card(tmp_path / "out" / "x2")["scenes"]} == {1}


def test_one_band_of_many_is_the_band_of_the_whole_set(make_raster, tmp_path):
    path = make_raster(texture(3, 48, 48))
    job.build([path], tmp_path / "each", Options(size=24, validation=0, each_band=True))
    job.build([path], tmp_path / "all", Options(size=24, validation=0))
    whole = {s.window: s for s in training(tmp_path / "all")}
    for one in training(tmp_path / "each"):
        for name in records.IMAGES:
            assert (getattr(one, name)[0] == getattr(whole[one.window], name)[one.bands[0] - 1]).all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16"])
def test_a_dtype_that_loses_values_is_refused(make_raster, tmp_path, dtype):
    with pytest.raises(
        OptionError, match=r"is uint16, whose values .* does not hold; take --dtype uint16|dtype must be one of"
    ):
        job.build([make_raster(texture(1, 48, 48, dtype="uint16"))], tmp_path / "out", Options(size=24, dtype=dtype))


def test_chosen_bands_are_the_samples(make_raster, tmp_path):
    image = texture(3, 48, 48)
    job.build([make_raster(image)], tmp_path / "out", Options(size=48, validation=0, bands=(3, 1)))
    [one] = training(tmp_path / "out")
    assert (one.gt == image[[2, 0]]).all()
    assert one.bands == (3, 1)


def test_scenes_of_one_name_in_two_folders_are_told_apart(make_raster, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    scenes = [
        make_raster(texture(1, 48, 48, seed=i), f"{name}/scene.tif", transform=at(4e5 + 5000 * i, 5e6))
        for i, name in enumerate("ab")
    ]
    job.build(scenes, tmp_path / "out", Options(size=24, validation=0))
    assert {s.scene for s in training(tmp_path / "out")} == {"a/scene.tif", "b/scene.tif"}


def test_a_scene_of_ground_control_points_has_its_tiles_on_the_map(make_raster, tmp_path):
    truth = at(400_000, 5_000_000)
    points = [GroundControlPoint(r, c, *(truth @ (c, r)), 0.0) for r in (0, 48) for c in (0, 48)]
    path = make_raster(texture(1, 48, 48), crs=CRS.from_epsg(32633), transform=Affine.identity(), gcps=points)
    job.build([path], tmp_path / "out", Options(size=24, validation=0))
    for one in training(tmp_path / "out"):
        assert np.allclose(one.transform, tuple(truth @ Affine.translation(one.window.col_off, one.window.row_off))[:6])
        assert CRS.from_wkt(one.crs).to_epsg() == 32633


def test_other_pixels_make_a_set_with_another_digest(make_raster, tmp_path):
    digests = []
    for seed in (0, 1, 1):
        scene = make_raster(texture(1, 64, 64, seed=seed), "a.tif")
        job.build([scene], tmp_path / "out", Options(size=16, validation=0, gzip=len(digests) == 2), overwrite=True)
        digests.append(records.read_card(tmp_path / "out" / "x2")["sha256"])
    assert digests[0] != digests[1] == digests[2]


def test_each_band_may_have_its_own_modulation_transfer(make_raster, tmp_path):
    scene = make_raster(texture(2, 100, 100))
    way = Degradation(("mtf",), mtf=(0.1, 0.5))
    job.build([scene], tmp_path / "each", Options(size=32, validation=0, each_band=True, degradation=way))
    job.build([scene], tmp_path / "whole", Options(size=32, validation=0, degradation=way))
    each = {(one.window, one.bands[0]): one.down[0] for one in training(tmp_path / "each")}
    for one in training(tmp_path / "whole"):
        for band in (1, 2):
            assert (each[one.window, band] == one.down[band - 1]).all()


def test_a_scene_of_nowhere_is_named_when_it_is_asked_where_its_tiles_lie(make_raster, tmp_path):
    placed, lost = make_raster(texture(1, 64, 64), "a.tif"), make_raster(texture(1, 64, 64), "lost.tif", crs=None)
    area = tmp_path / "area.geojson"
    area.write_text(json.dumps({"type": "Polygon", "coordinates": [[[0, 0], [20, 0], [20, 60], [0, 60], [0, 0]]]}))
    with pytest.raises(OptionError, match=r"lost\.tif': it has no CRS, .* which tiles lie in .*area\.geojson"):
        job.build([placed, lost], tmp_path / "out", Options(size=16, aoi=area))


def test_what_can_be_known_is_refused_before_the_work(make_raster, tmp_path):
    scene = make_raster()
    with pytest.raises(OptionError, match="multiple of the scale 2, got 33"):
        job.build([scene], tmp_path / "out", Options(size=33))
    with pytest.raises(DatasetError, match=r"no training tile of 96 x 96 pixels .* 'scene.tif' has|has 60 x 50 pixels"):
        job.build([scene], tmp_path / "out", Options(size=96))
    with pytest.raises(OptionError, match="given for 2 bands, and the scenes have 3"):
        job.build([scene], tmp_path / "out", Options(size=16, degradation=Degradation(("mtf",), mtf=(0.2, 0.3))))
    assert not (tmp_path / "out").exists()
    job.build([scene], tmp_path / "out", Options(size=16, validation=0))
    with pytest.raises(OutputError, match="holds a training set"):
        job.build([scene], tmp_path / "out", Options(size=16))
    job.build([scene], tmp_path / "out", Options(size=16, validation=0), overwrite=True)


def test_scenes_smaller_than_a_tile_are_passed_over_and_told(make_raster, tmp_path, caplog):
    scenes = [make_raster(texture(1, 60, 60)), make_raster(texture(1, 10, 10), "small.tif", transform=at(5e5, 5e6))]
    assert job.build(scenes, tmp_path / "out", Options(size=32, validation=0)).tiles["Training"] == 1
    assert f"1 scenes are smaller than a tile and are passed over: {scenes[1]}" in caplog.text


def test_an_empty_result_says_which_filter_removed_how_many(make_raster, tmp_path):
    image = np.full((1, 96, 96), 7, np.uint8)
    image[:, :24] = 0
    with pytest.raises(DatasetError, match=r"left out: 4 with too little valid \(--min-valid\), 12 too flat"):
        job.build([make_raster(image, nodata=0)], tmp_path / "out", Options(size=24, min_variance=1e-6))
    assert not (tmp_path / "out").exists()


def test_no_space_is_said_before_the_work(make_raster, tmp_path, monkeypatch):
    scene = make_raster()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(OutputError, match=r"may need .* where .* are free; .*--max-tiles, --no-bic-up"):
        job.build([scene], tmp_path / "out", Options(size=16, validation=0))
    assert not (tmp_path / "out").exists()


def test_no_space_at_the_end_leaves_no_set(make_raster, tmp_path):
    """The file system is full while the shards are written; the same command goes on when there is room."""
    scene = make_raster()

    def full(example):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "framed", full)
        with pytest.raises(OutputError, match=r"no space left in .*; free some and run the same command again"):
            job.build([scene], tmp_path / "out", Options(size=16, validation=0))
    assert not (tmp_path / "out" / "x2").exists()
    assert job.build([scene], tmp_path / "out", Options(size=16, validation=0)).tiles["Training"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x2"]


def test_a_build_that_fails_leaves_the_older_set_and_goes_on_to_the_same_bytes(make_raster, tmp_path):
    scenes = three_places(make_raster)
    job.build(scenes, tmp_path / "out", Options(size=16))
    before = content(tmp_path / "out")
    wanted = content(tmp_path / "other") if job.build(scenes, tmp_path / "other", Options(size=8)) else None

    def stop(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.build(scenes, tmp_path / "out", Options(size=8), overwrite=True, progress=stop)
    assert content(tmp_path / "out" / "x2") == {k.relative_to("x2"): v for k, v in before.items()}
    steps = []
    with pytest.raises(OutputError, match=r"parts of another job: size .* --restart"):
        job.build(scenes, tmp_path / "out", Options(size=12), overwrite=True)
    with pools.threads(2) as pool:
        job.build(
            scenes, tmp_path / "out", Options(size=8), overwrite=True, pool=pool, progress=lambda *s: steps.append(s)
        )
    assert content(tmp_path / "out") == wanted
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x2"]


@pytest.mark.slow
def test_a_build_that_is_killed_again_and_again_ends_with_the_same_bytes(make_raster, tmp_path):
    scenes = [
        make_raster(texture(3, 200, 200, seed=i), f"s{i}.tif", transform=at(400_000 + 5000 * i, 5_000_000))
        for i in range(6)
    ]
    options = {"size": 16, "degradation": Degradation(("mtf", "noise"))}
    job.build(scenes, tmp_path / "whole", Options(**options))
    code = (
        "import sys; from geosr import pools; from geosr.dataset import job as dataset\n"
        "from geosr.dataset.options import Options; from geosr.rasters.degradation import Degradation\n"
        "with pools.threads(2) as pool:\n"
        "    options = Options(size=16, degradation=Degradation(('mtf', 'noise')))\n"
        "    dataset.build(sys.argv[2:], sys.argv[1], options, pool=pool)"
    )
    command = [sys.executable, "-c", code, tmp_path / "out", *scenes]
    chance, kills = random.Random(0), 0
    for attempt in range(40):
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        end = time.monotonic() + 120
        before = len(list((tmp_path / "out").glob(".x2.geosr/*.part")))
        # Killed when another part or two are there, wherever it is then.
        while process.poll() is None and time.monotonic() < end:
            if attempt < 8 and len(list((tmp_path / "out").glob(".x2.geosr/*.part"))) > before + chance.randint(0, 3):
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.001)
        if process.wait() == 0:
            break
    assert kills >= 3
    assert content(tmp_path / "out" / "x2") == content(tmp_path / "whole" / "x2")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x2"]
