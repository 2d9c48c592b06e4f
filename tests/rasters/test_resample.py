import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio.enums import Resampling
from rasterio.warp import reproject

from geosr.rasters.resample import enlarge, shrink
from tests.conftest import texture

INSIDE = slice(12, -12)
scales = pytest.mark.parametrize("k", [2, 3, 4])


def by_pil(band, cols, rows):
    return np.asarray(Image.fromarray(band.astype("float32")).resize((cols, rows), Image.Resampling.BICUBIC))


def by_gdal(band, k):
    """gdalwarp -r cubic to a grid `k` times as fine (or 1 / k as coarse) on the same ground."""
    rows, cols = (round(side * k) for side in band.shape)
    out = np.zeros((rows, cols), "float32")
    transform = Affine(1, 0, 500_000, 0, -1, 4_000_000)
    crs = rasterio.crs.CRS.from_epsg(32633)
    reproject(
        band.astype("float32"),
        out,
        src_transform=transform,
        dst_transform=transform @ Affine.scale(1 / k),
        src_crs=crs,
        dst_crs=crs,
        resampling=Resampling.cubic,
        tolerance=0,
    )
    return out


@scales
def test_enlarging_is_pil_s_bicubic(k):
    band = texture(1, 40, 50)[0]
    assert np.abs(enlarge(band, k) - by_pil(band, 50 * k, 40 * k))[INSIDE, INSIDE].max() < 1e-3


@scales
def test_shrinking_is_pil_s_bicubic(k):
    band = texture(1, 48 * k, 60 * k)[0]
    assert np.abs(shrink(band, k) - by_pil(band, 60, 48))[INSIDE, INSIDE].max() < 1e-3


@scales
def test_enlarging_is_gdalwarp_s_cubic(k):
    band = texture(1, 40, 50)[0]
    assert np.abs(enlarge(band, k) - by_gdal(band, k))[INSIDE, INSIDE].max() < 0.02


@scales
def test_shrinking_is_gdalwarp_s_cubic(k):
    band = texture(1, 48 * k, 60 * k)[0]
    assert np.abs(shrink(band, k) - by_gdal(band, 1 / k))[INSIDE, INSIDE].max() < 0.02


@scales
def test_shrinking_and_enlarging_never_shift_a_scene(k):
    rows, cols = np.mgrid[: 40 * k, : 40 * k]
    blob = np.exp(-((rows - 19.3 * k) ** 2 + (cols - 20.6 * k) ** 2) / (2 * (3 * k) ** 2))

    def centre(image, pixel):
        at = (np.arange(image.shape[0]) + 0.5) * pixel
        return np.array([(image.sum(1) * at).sum(), (image.sum(0) * at).sum()]) / image.sum()

    small = shrink(blob, k)
    assert np.abs(centre(small, k) - centre(blob, 1)).max() < 1e-3 * k
    assert np.abs(centre(enlarge(small, k), 1) - centre(blob, 1)).max() < 1e-3 * k


@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 12), st.floats(-1e4, 1e4))
def test_a_constant_stays_that_constant_to_the_edge(k, rows, cols, value):
    flat = np.full((1, rows, cols), value)
    assert np.allclose(enlarge(flat, k), value, rtol=1e-12)
    assert np.allclose(shrink(enlarge(flat, k), k), value, rtol=1e-12)


def test_edges_are_mirrored_as_matlab_s_imresize_does():
    line = np.array([[10.0, 20.0, 40.0]])
    whole = np.pad(line, ((0, 0), (3, 3)), mode="symmetric")
    assert np.allclose(enlarge(line, 2), enlarge(whole, 2)[:, 6:-6])


def test_values_outside_the_dtype_are_not_clipped():
    edge = np.zeros((1, 8, 8), "uint8")
    edge[:, :, 4:] = 255
    made = enlarge(edge, 2)
    assert made.min() < -5
    assert made.max() > 260


def test_shrinking_needs_whole_pixels():
    with pytest.raises(ValueError, match="multiples of 2"):
        shrink(np.zeros((1, 5, 4)), 2)


def test_precision_follows_the_dtype():
    assert enlarge(np.zeros((1, 4, 4), "uint16"), 2).dtype == "float32"
    assert enlarge(np.zeros((1, 4, 4), "int32"), 2).dtype == "float64"
    assert enlarge(np.zeros((1, 4, 4), "float64"), 2).dtype == "float64"
