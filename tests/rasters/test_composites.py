"""Bands that are shown in colours, for the orders in which sensors and programs write them."""

import numpy as np
import pytest
from rasterio.enums import ColorInterp

from geosr.errors import OptionError
from geosr.rasters.composites import composites
from geosr.rasters.profile import Profile
from geosr.rasters.source import RasterSource

R, G, B, GRAY, ALPHA, NONE = (
    ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.gray, ColorInterp.alpha, ColorInterp.undefined,
)  # fmt: skip


def shown(names, labels=(), **more):
    profile = Profile(9, 9, len(names), "uint16", descriptions=tuple(names), colorinterp=tuple(labels), **more)
    return [(composite.name, composite.positions) for composite in composites(profile)]


@pytest.mark.parametrize(
    ("names", "labels", "colours"),
    [
        (["B02", "B03", "B04", "B08"], [GRAY, NONE, NONE, NONE], (2, 1, 0)),
        (["B2 blue", "B3 green", "B4 red", "B5 nir"], (), (2, 1, 0)),
        ([None, None, None], [B, G, R], (2, 1, 0)),
        ([None, None, None], [R, G, B], (0, 1, 2)),
        (["red", "green", "blue"], (), (0, 1, 2)),
        (["Near Infrared", "Red edge", "Red", "Green", "Blue"], (), (2, 3, 4)),
        (["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12"], (), (3, 2, 1)),
        (["SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"], (), (2, 1, 0)),
        (["SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7"], (), (2, 1, 0)),
        (["SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"], (), (3, 2, 1)),
        (["B0", "B1", "B2", "B3"], (), (2, 1, 0)),
        (["Band 4", "Band 3", "Band 2"], (), (0, 1, 2)),
        (["B2", "B3", "B5", "B7"], (), (2, 1, 0)),
        # GDAL calls the first bands of 8 bits so, whatever they hold.
        (["B02", "B03", "B04"], [R, G, B], (2, 1, 0)),
        (["Band_1", "Band_2", "Band_3"], [R, G, B], (0, 1, 2)),
    ],
)
def test_true_colour_is_what_the_bands_are_called(names, labels, colours):
    assert shown(names, labels)[0] == ("true colour", colours)


@pytest.mark.parametrize(
    ("names", "labels", "expected"),
    [
        ([None] * 4, [GRAY, NONE, NONE, NONE], ("bands 1, 2, 3", (0, 1, 2))),
        (["Band 1", "Band 2", "Band 3", "Band 4"], (), ("bands 1, 2, 3", (0, 1, 2))),
        (["nir", "red", "yellow"], [R, G, B], ("bands 1, 2, 3", (0, 1, 2))),
        (["nir", "red", "green"], [R, G, B], ("near infrared", (0, 1, 2))),
        (["height"], (), ("band 1", (0,))),
        (["vv", "vh"], (), ("band 1", (0,))),
    ],
)
def test_bands_of_no_known_colour_go_by_their_numbers(names, labels, expected):
    assert shown(names, labels)[0] == expected


def test_near_infrared_is_a_choice_where_there_is_one():
    assert ("near infrared", (3, 2, 1)) in shown(["B02", "B03", "B04", "B08"])
    assert ("near infrared", (0, 1, 2)) in shown(["nir", "red", "green"])
    assert shown(["B02", "B03", "B04"]) == [("true colour", (2, 1, 0))]


def test_transparency_is_no_colour(make_raster):
    block = np.full((4, 8, 8), 255, "uint8")
    source = RasterSource(make_raster(block, photometric="RGB", alpha="YES"))
    assert [composite.positions for composite in composites(source.profile)] == [(0, 1, 2)]
    assert shown([None, None, None, None], [ALPHA, NONE, NONE, NONE], alpha=0)[0] == ("bands 2, 3, 4", (1, 2, 3))


def test_bands_are_chosen_by_name_or_number():
    profile = Profile(9, 9, 4, "uint16", descriptions=("B02", "B03", "B04", "B08"))
    first, *others = composites(profile, ("B8", 3, "b03"))
    assert (first.name, first.positions) == ("bands 4, 3, 2", (3, 2, 1))
    assert [other.name for other in others] == ["true colour", "near infrared"]
    assert composites(profile, ("B8",))[0].channels == (3, 3, 3)
    with pytest.raises(OptionError, match="one band or three, got 2"):
        composites(profile, (1, 2))
    with pytest.raises(OptionError, match="no band 'B9'"):
        composites(profile, ("B9",))
