"""Bands are found by what GDAL's files call them; settings survive being written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosr.errors import OptionError
from geosr.rasters.sensors import SENSORS, Setting, band_keys, gaussian, mean_setting, transfers


@pytest.mark.parametrize(
    ("names", "gains"),
    [
        (["B2", "B3", "B4", "B8"], (0.26, 0.28, 0.24, 0.26)),
        (["B08", "B04", "B03"], (0.26, 0.24, 0.28)),
        (["red", "green", "blue"], (0.24, 0.28, 0.26)),
        (["Band 4 (red)", "Near infrared"], (0.24, 0.26)),
        ([None, None, None, None], (0.26, 0.28, 0.24, 0.26)),
    ],
)
def test_bands_have_their_own_transfer(names, gains):
    assert transfers("sentinel2-10m", names) == gains


def test_panchromatic_bands_and_those_counted_from_0_are_found():
    assert transfers("landsat8-pan", ["B8"]) == transfers("landsat9-pan", ["Panchromatic (pan)"]) == (0.40,)
    assert transfers("worldview3-pan", [None]) == (0.14,)
    assert transfers("pleiades", ["B2", "B1", "B0"]) == (0.30,) * 3


def test_bands_that_a_sensor_lacks_are_named():
    with pytest.raises(OptionError, match=r"has the bands b2 blue, .*; the raster has B11, a band without a name"):
        transfers("sentinel2-10m", ["B11", None])
    with pytest.raises(OptionError, match="the raster has a band without a name"):
        transfers("sentinel2-10m", [None])
    with pytest.raises(OptionError, match="sensor must be one of natural, sentinel2-10m"):
        transfers("hubble", ["red"])


def test_a_red_edge_is_not_red_and_band_8a_not_band_8():
    assert band_keys("Red Edge") == ["rededge"]
    assert band_keys("B8A") == ["b8a"]
    assert band_keys("SR_B10") == ["b10"]
    assert band_keys("rubble") == []


@given(st.floats(0.05, 0.9), st.floats(0, 1))
def test_a_setting_is_read_as_it_was_written(mtf, noise):
    setting = gaussian(mtf, noise)
    assert str(Setting.parse(str(setting))) == str(setting)


@pytest.mark.parametrize("mtf", [0.049, 0.91, float("nan")])
def test_a_transfer_out_of_bounds_is_refused(mtf):
    with pytest.raises(OptionError, match=r"mtf must be from 0\.05 to 0\.9"):
        gaussian(mtf)


def test_the_mean_of_settings_is_that_of_their_numbers():
    assert mean_setting((Setting(0.8, 0.2, 0.0), Setting(0.6, 0.4, 0.02))) == Setting(0.7, 0.30000000000000004, 0.01)
    assert mean_setting(()) is None


def test_all_transfers_are_those_of_sensors():
    assert all(0.05 <= gain <= 0.9 for bands in SENSORS.values() for gain in bands.values())
