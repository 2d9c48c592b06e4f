"""What a network is told of a scene: by name, by number, or measured; and what does not fit."""

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from geosr import models, super_resolve
from geosr.errors import OptionError
from geosr.quality.verify import verify_output
from geosr.rasters.radiometry import fixed
from geosr.rasters.sensors import NATURAL_BLUR
from geosr.rasters.source import RasterSource
from geosr.superresolve.options import Options
from geosr.superresolve.plan import make_plan
from geosr.superresolve.provenance import Identity
from geosr.superresolve.settings import CALM, USUAL_NOISE, measured_noise, rounded_noise, scene_settings

RANGE = fixed(0, 1000, 3)


@pytest.fixture
def scene(tmp_path):
    """Three bands with noise of 3, 10 and 30 on a slope, called as Sentinel-2's."""
    rng = np.random.default_rng(0)
    slope = np.add.outer(np.arange(300), np.arange(320)) + 100
    block = np.stack([slope + sigma * rng.standard_normal(slope.shape) for sigma in (3, 10, 30)])
    path = tmp_path / "scene.tif"
    profile = {"driver": "GTiff", "width": 320, "height": 300, "count": 3, "dtype": "float32"}
    with rasterio.open(path, "w", **profile, crs="EPSG:32650", transform=from_origin(0, 0, 10, 10)) as file:
        file.write(block.astype("float32"))
        file.descriptions = ("B4", "B3", "B8")
    return path


def test_noise_is_measured_in_parts_of_the_range(scene):
    assert measured_noise(RasterSource(scene), RANGE) == pytest.approx([0.003, 0.01, 0.03], rel=0.1)


def test_natural_is_told_by_default(scene):
    settings = scene_settings(RasterSource(scene), RANGE, Options())
    assert [(s.half, s.nyquist) for s in settings] == [NATURAL_BLUR] * 3
    assert [s.noise for s in settings] == [rounded_noise(level) for level in (0.003, 0.01, 0.03)]


def test_a_sensor_is_told_by_the_names_of_bands_and_calmly(scene):
    settings = scene_settings(RasterSource(scene), RANGE, Options(sensor="sentinel2-10m"))
    assert [s.nyquist for s in settings] == [0.24, 0.28, 0.26]
    assert settings[0].noise == rounded_noise(CALM * 0.003)


def test_numbers_are_taken_as_they_are(scene):
    settings = scene_settings(RasterSource(scene), RANGE, Options(mtf=(0.3,), noise=0.0123))
    assert {(s.nyquist, s.noise) for s in settings} == {(0.3, 0.0123)}
    with pytest.raises(OptionError, match="mtf has 2 values and the raster 3 bands"):
        scene_settings(RasterSource(scene), RANGE, Options(mtf=(0.3, 0.2)))


def test_a_scene_too_small_to_measure_takes_the_usual_noise(tmp_path, caplog):
    path = tmp_path / "small.tif"
    with rasterio.open(path, "w", driver="GTiff", width=5, height=5, count=1, dtype="uint8") as file:
        file.write(np.arange(25, dtype="uint8").reshape(1, 5, 5))
    assert measured_noise(RasterSource(path), fixed(0, 255, 1)) == [USUAL_NOISE]
    assert "too few whole blocks to measure noise" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sensor": "hubble"}, "sensor must be one of natural"),
        ({"mtf": (0.95,)}, "mtf must be from"),
        ({"mtf": (0.3,), "sensor": "landsat8"}, "not by both"),
        ({"noise": 1.5}, "noise must be auto, or from 0"),
        ({"noise": "much"}, "noise must be auto"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Options(**options)


@pytest.mark.parametrize("options", [{"mtf": (0.3,)}, {"sensor": "sentinel2-10m"}, {"noise": 0.01}, {"limit": True}])
def test_a_model_that_knows_no_sensors_refuses_one(scene, options):
    with pytest.raises(OptionError, match=f"--{next(iter(options))} needs a network that knows sensors"):
        make_plan(scene, Options(model="bicubic", **options))


def test_the_output_says_what_was_told_and_verifies(scene, tmp_path):
    network, output = tmp_path / "network.keras", tmp_path / "out.tif"
    models.save(models.fold(models.build("span_for_sensors", 2)), network)
    super_resolve(scene, output, Options(model=str(network), sensor="sentinel2-10m", limit=True))
    with rasterio.open(output) as file:
        text = file.tags()["GEOSR_MODEL"]
    assert " sensor 0.6999,0.24," in text
    assert text.endswith(" limited")
    assert str(Identity.parse(text)) == text
    report = verify_output(scene, output, model=str(network))
    assert all(check.ok for check in report.checks)
    assert report.recomputed == pytest.approx(0, abs=1e-3)
