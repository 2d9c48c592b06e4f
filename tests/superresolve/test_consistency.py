"""Results that keep the input's radiometry, beside numpy's least squares, means of polygons and an index."""

import numpy as np
import pytest
import rasterio
from rasterio.features import geometry_mask
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter, maximum_filter
from shapely.geometry import box

from geosr.rasters.degrading import blur_taps, gaussian_taps, transfer
from geosr.rasters.resample import shrinking_taps
from geosr.superresolve import Options, super_resolve
from geosr.superresolve.consistency import Projection, with_means


def matrix(side, k, taps):
    """The blur and its sampling along one axis as a matrix (side, side * k), mirrored past the ends."""
    reach = (len(taps) - k) // 2
    result = np.zeros((side, side * k))
    mirror = np.pad(np.arange(side * k), reach, mode="symmetric")
    for row in range(side):
        for tap, weight in enumerate(taps):
            result[row, mirror[row * k + tap]] += weight
    return result


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("blur", ["bicubic", 0.26, 0.5])
def test_it_is_the_least_change_that_makes_the_sensor_see_the_input(scale, blur):
    taps = shrinking_taps(scale) if blur == "bicubic" else gaussian_taps(blur, scale)
    rng = np.random.default_rng(0)
    low, high = rng.random((40, 30)), rng.random((40 * scale, 30 * scale))
    down, across = matrix(40, scale, taps), matrix(30, scale, taps)
    result = Projection(scale, taps)(high, low)
    np.testing.assert_allclose(down @ result @ across.T, low, atol=5e-4)
    least = high + np.linalg.pinv(down) @ (low - down @ high @ across.T) @ np.linalg.pinv(across).T
    inner = slice(12 * scale, -12 * scale)
    np.testing.assert_allclose(result[inner], least[inner], atol=2e-3)


def test_a_projection_twice_is_the_projection():
    rng = np.random.default_rng(0)
    project = Projection(2, gaussian_taps(0.26, 2))
    low, high = rng.random((40, 40)), rng.random((80, 80))
    once = project(high, low)
    np.testing.assert_allclose(project(once, low), once, atol=2e-3)


def test_means_are_exact_at_the_ends_of_the_data_type():
    rng = np.random.default_rng(0)
    low = rng.choice([0.0, 1.0, 120.0, 254.0, 255.0], (30, 30))
    result = with_means(rng.uniform(-200, 400, (90, 90)), low, 3, (0, 255))
    np.testing.assert_allclose(result.reshape(30, 3, 30, 3).mean((1, 3)), low, atol=1e-9)
    assert result.min() >= 0 and result.max() <= 255
    np.testing.assert_allclose(with_means(result, low, 3, (0, 255)), result, atol=1e-9)


@pytest.mark.parametrize("half, nyquist", [(0.9, 0.46), (0.936, 0.486), (0.26**0.25, 0.26), (0.8, 0.3)])
def test_a_blur_has_the_transfers_of_its_setting(half, nyquist):
    taps = blur_taps(half, nyquist, 2)
    assert transfer(taps, 0.25) == pytest.approx(half, abs=0.02)
    assert transfer(taps, 0.5) == pytest.approx(nyquist, abs=0.02)


@pytest.fixture
def scene(make_raster):
    """Red and near infrared with edges, dark and saturated pixels."""
    rng = np.random.default_rng(3)
    fields = gaussian_filter(rng.normal(size=(2, 90, 80)), (0, 2, 2)) * 900 + 120
    return make_raster(np.clip(fields, 0, 255).astype("uint8"), nodata=None)


@pytest.mark.parametrize("model", ["bicubic", "span"])
def test_an_index_and_the_means_of_fields_are_the_input_s(scene, tmp_path, model):
    output = tmp_path / "out.tif"
    super_resolve(scene, output, Options(model=model, consistent="area", dtype="float32"))
    with rasterio.open(scene) as low, rasterio.open(output) as high:
        before, after = low.read().astype(float), high.read().astype(float)
        means = after.reshape(2, 90, 2, 80, 2).mean((2, 4))
        np.testing.assert_allclose(means, before, atol=1e-3)
        red, nir = before
        index, again = ((n - r) / np.maximum(n + r, 1) for r, n in ((red, nir), means))
        np.testing.assert_allclose(again, index, atol=1e-3)
        field = box(*rasterio.windows.bounds(Window(11, 7, 33, 41), low.transform))
        zonal = [
            pixels[:, ~geometry_mask([field], file.shape, file.transform)].mean(1)
            for file, pixels in ((low, before), (high, after))
        ]
    np.testing.assert_allclose(zonal[1], zonal[0], atol=1e-3)


@pytest.mark.parametrize("kind", ["sensor", "area"])
def test_integers_are_kept_to_half_a_step_and_tiles_are_the_whole(scene, tmp_path, kind):
    for tile in (32, 512):
        super_resolve(scene, tmp_path / f"{tile}.tif", Options(model="span", consistent=kind, tile=tile))
    with rasterio.open(scene) as low, rasterio.open(tmp_path / "512.tif") as high:
        before, after = low.read().astype(float), high.read()
    with rasterio.open(tmp_path / "32.tif") as tiled:
        np.testing.assert_array_equal(tiled.read(), after)
    taps = blur_taps(0.9, 0.46, 2) if kind == "sensor" else np.full(2, 0.5)
    seen = np.stack([matrix(90, 2, taps) @ band @ matrix(80, 2, taps).T for band in after.astype(float)])
    counted = np.ones(before.shape, bool)
    if kind == "sensor":
        ends = ((after == 0) | (after == 255)).reshape(2, 90, 2, 80, 2).any((2, 4))
        counted = ~maximum_filter(ends, (1, 5, 5))
        counted[:, [0, 1, -2, -1]] = counted[:, :, [0, 1, -2, -1]] = False
    assert counted.mean() > 0.1
    assert np.abs(seen - before)[counted].max() <= 0.6
