from dataclasses import replace

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from hypothesis import given, settings
from hypothesis import strategies as st

from geosr.grid import Grid
from geosr.rasters.profile import Profile
from geosr.rasters.radiometry import fixed
from geosr.rasters.resample import enlarge
from geosr.rasters.source import ArraySource
from geosr.superresolve.tiles import enlarged_tiles
from geosr.superresolve.upscalers import Bicubic, load_upscaler
from tests.conftest import texture
from tests.superresolve.helpers import BICUBIC, result


def assembled(array, upscaler, *, size, halo=None, nodata=None):
    """The whole output before rounding, from tiles of an array."""
    source = ArraySource(
        array, Profile(array.shape[2], array.shape[1], array.shape[0], str(array.dtype), nodata=nodata)
    )
    grid = Grid(array.shape[2], array.shape[1], size, upscaler.halo if halo is None else halo)
    values = fixed(0, 255, len(array))
    k = upscaler.scale
    out = np.zeros((len(array), array.shape[1] * k, array.shape[2] * k))
    for tile in grid:
        read = source.read(tile.outer)
        [made] = enlarged_tiles([tile], [read], source=source, upscaler=upscaler, values=values)
        core = tile.core.scale(k)
        out[:, core.row_off : core.row_off + core.height, core.col_off : core.col_off + core.width] = made
    return out


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(2, 4), st.integers(2, 9))
def test_tiled_bicubic_is_the_bicubic_of_the_whole(width, height, size, k, halo):
    array = texture(2, height, width, seed=width)
    assert np.allclose(assembled(array, Bicubic(k), size=size, halo=halo), enlarge(array, k), atol=1e-3)


@pytest.mark.slow
@settings(max_examples=6)
@given(st.integers(20, 70), st.integers(20, 70), st.integers(16, 50), st.sampled_from([2, 4]))
def test_a_tiled_network_is_the_network_on_the_whole(random_idn, width, height, size, k):
    upscaler = load_upscaler(str(random_idn(k)))
    array = texture(1, height, width, seed=size)
    whole = assembled(array, upscaler, size=max(width, height))
    assert np.abs(whole - enlarge(array, k)).max() > 3
    assert np.abs(assembled(array, upscaler, size=size) - whole).max() < 1e-2
    assert np.abs(assembled(array, upscaler, size=size, halo=upscaler.halo + 5) - whole).max() < 1e-2


def test_half_the_halo_is_not_enough(random_idn):
    upscaler = load_upscaler(str(random_idn()))
    array = texture(1, 90, 90)
    whole = assembled(array, upscaler, size=90)
    assert np.abs(assembled(array, upscaler, size=30, halo=upscaler.halo // 2) - whole).max() > 0.01


def test_the_file_is_the_bicubic_of_the_whole(make_raster, tmp_path):
    array = texture(3, 70, 90)
    with rasterio.open(result(make_raster(array), tmp_path, replace(BICUBIC, tile=32))) as out:
        expected = np.clip(np.rint(enlarge(array, 2)), 0, 255)
        assert (out.read() == expected).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_the_dtype_is_the_input_s_and_values_outside_the_range_survive(make_raster, tmp_path, dtype):
    array = texture(1, 40, 40, dtype=dtype, low=10, high=100)
    array[0, 20, 20] = 120 if dtype == "uint8" else 5000
    with rasterio.open(result(make_raster(array), tmp_path)) as out:
        assert out.dtypes == (dtype,)
        assert out.read().max() > (100 if dtype == "uint8" else 3000)


@settings(max_examples=8)
@given(st.integers(20, 60), st.integers(20, 60), st.integers(8, 30), st.integers(0, 1000))
def test_tiled_equals_whole_beside_holes(width, height, size, seed):
    array = texture(1, height, width, seed=seed, dtype="float32")
    rng = np.random.default_rng(seed)
    bad = rng.random(array.shape) < rng.choice([0.02, 0.5, 0.95])
    bad[0, 0, 0] = False
    array[bad] = -1
    good = ~bad.repeat(2, 1).repeat(2, 2)
    tiled = assembled(array, Bicubic(2), size=size, nodata=-1)
    whole = assembled(array, Bicubic(2), size=60, nodata=-1)
    assert np.allclose(tiled[good], whole[good], atol=1e-3)


class Unwilling(Bicubic):
    """An upscaler that must not be called."""

    def __call__(self, blocks, values, /):
        raise AssertionError("a tile without a valid pixel is not computed")


def test_tiles_without_a_valid_pixel_skip_the_network():
    made = assembled(np.full((2, 40, 40), 7, "uint16"), Unwilling(2), size=16, nodata=7)
    assert (made == 7).all()
