import numpy as np
import pytest

from geosr.rasters.nodata import off_nodata, stamp
from geosr.rasters.profile import Profile


def test_no_valid_pixel_takes_the_nodata_value():
    for dtype, nodata in (("uint8", 0), ("uint8", 255), ("uint8", 100), ("int16", 0), ("float32", 0.0)):
        made = np.linspace(-2, 258, 64).reshape(1, 8, 8) if nodata else np.linspace(-2, 2, 64).reshape(1, 8, 8)
        made[0, 0, :4] = [nodata, nodata - 0.3, nodata + 0.3, nodata]
        profile = Profile(8, 8, 1, dtype, nodata=nodata)
        out = stamp(made, np.ones((1, 4, 4), dtype), np.ones((1, 4, 4), bool), profile)
        assert not (out == nodata).any()
        assert np.abs(out.astype(float) - np.clip(made, *((0, 255) if dtype == "uint8" else (-9, 9)))).max() <= 1.5


@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", 0), ("uint8", 255), ("int16", -32768), ("float32", 5.0)])
def test_no_valid_value_is_nodata(dtype, nodata):
    block = np.array([0, 255, 5, -32768, 7]).astype(dtype)
    out = off_nodata(block.astype(float), block, nodata)
    assert not (out == np.asarray(nodata, dtype)).any()
    assert np.abs(out.astype(float) - block.astype(float)).max() <= 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_off_a_nodata_at_the_end_of_the_range_are_finite(dtype):
    ends = np.array([np.finfo(dtype).min, np.finfo(dtype).max])
    for nodata in ends:
        out = off_nodata(ends, ends.astype(dtype), nodata)
        assert np.isfinite(out).all()
        assert not (out == nodata).any()
