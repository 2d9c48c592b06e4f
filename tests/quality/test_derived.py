import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosr.grid import Window
from geosr.quality import derived
from geosr.quality.derived import Cropped, Degraded, Luma
from geosr.quality.metrics import luma
from geosr.rasters.degradation import Degradation
from geosr.rasters.profile import Profile
from geosr.rasters.radiometry import fixed, to_dtype
from geosr.rasters.resample import shrink
from geosr.rasters.source import ArraySource
from tests.conftest import texture

VALUES = fixed(0, 4000, 2)
CHAINS = ["bicubic", "mtf", "mtf+noise", "bicubic+noise+quantise"]


def degraded(source, scale, dtype, chain="bicubic"):
    how = Degradation(tuple(chain.split("+")))
    return Degraded(source, scale, dtype, VALUES.bands([0] * source.profile.count), how)


offsets, sides = st.integers(-20, 40), st.integers(1, 40)


def whole_window(array, window):
    """The window's block of an array that goes on mirrored on all sides."""
    padded = np.pad(array, ((0, 0), (100, 100), (100, 100)), mode="symmetric")
    row, col = window.row_off + 100, window.col_off + 100
    return padded[:, row : row + window.height, col : col + window.width]


def windows_of(profile):
    """Windows that lie inside by half at least, as those of tiles and their halos do where it matters."""

    def fits(window):
        inside = window.intersection(profile.window)
        return (
            min(inside.width, inside.height) > 0
            and 2 * inside.width >= window.width
            and (2 * inside.height >= window.height)
        )

    return st.builds(Window, offsets, offsets, sides, sides).filter(fits)


@given(st.data())
def test_a_cropped_source_is_mirrored_at_its_own_edges(data):
    array = texture(2, 50, 60)
    source = Cropped(ArraySource(array), 45, 33)
    window = data.draw(windows_of(source.profile))
    assert (source.read(window).block == whole_window(array[:, :33, :45], window)).all()
    assert (source.profile.width, source.profile.height) == (45, 33)


@given(st.data(), st.sampled_from([2, 3, 4]))
def test_any_window_of_a_shrunk_source_is_that_of_the_whole(data, scale):
    array = texture(2, 25 * scale, 30 * scale, dtype="uint16", high=4000)
    source = degraded(ArraySource(array), scale, "uint16")
    window = data.draw(windows_of(source.profile))
    wanted = whole_window(to_dtype(shrink(array, scale), "uint16"), window)
    assert (source.read(window).block == wanted).all()
    assert source.read(window).valid.all()


@pytest.mark.parametrize("chain", CHAINS)
@given(st.data())
def test_any_window_of_a_degraded_source_is_that_of_the_whole(chain, data):
    array = texture(2, 60, 70, dtype="uint16", high=4000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(derived, "CELL", 16)  # so that windows hold parts of several
        source = degraded(ArraySource(array), 2, "uint16", chain)
        window = data.draw(windows_of(source.profile))
        whole = source.read(source.profile.window).block
        assert (source.read(window).block == whole_window(whole, window)).all()
    if "noise" in chain:
        plain = degraded(ArraySource(array), 2, "uint16", chain.replace("+noise", "")).read(source.profile.window).block
        assert (plain != whole).mean() > 0.5


def test_holes_do_not_bleed_when_a_source_is_shrunk():
    array = texture(1, 60, 60, dtype="int16", low=100, high=1000)
    array[:, 21:25, 30:33] = -9999
    read = [
        degraded(ArraySource(block, Profile(60, 60, 1, "int16", nodata=nodata)), 2, "int16")
        .read(Window(0, 0, 30, 30))
        .block
        for block, nodata in ((array, -9999), (np.where(array == -9999, 32000, array), 32000))
    ]
    assert (read[0] == read[1]).all()
    assert read[0].min() > 50


def test_a_shrunk_pixel_is_valid_if_all_that_it_covers_are():
    array = np.ones((1, 12, 12), "float32")
    array[0, 5, 7] = np.nan
    source = degraded(ArraySource(array), 3, "float32")
    window = Window(0, 0, 4, 4)
    assert np.argwhere(~source.read(window).valid).tolist() == [[0, 1, 2]]


def test_no_valid_pixel_becomes_nodata_when_it_is_rounded():
    array = np.full((1, 8, 8), 1, "uint8")
    array[0, :, 4:] = 3
    source = degraded(ArraySource(array, Profile(8, 8, 1, "uint8", nodata=2)), 8, "uint8")
    assert source.read(Window(0, 0, 1, 1)).block.item() in (1, 3)


def test_luma_is_that_of_the_pixels_and_valid_where_all_colours_are():
    array = texture(3, 20, 20)
    array[1, 4, 5] = 0
    source = Luma(ArraySource(array, Profile(20, 20, 3, "uint8", nodata=0)))
    window = Window(0, 0, 20, 20)
    pixels = source.read(window)
    block = pixels.block
    assert (block == luma(array)).all()
    assert np.argwhere(~pixels.valid).tolist() == np.argwhere((array == 0).any(axis=0)[None]).tolist()
    assert source.profile == Profile(20, 20, 1, "uint8")


@pytest.mark.parametrize("kind", [Cropped, Degraded, Luma])
def test_sources_show_no_mask_of_their_own(kind):
    source = ArraySource(texture(3, 20, 20))
    made = {Cropped: lambda: Cropped(source, 10, 10), Degraded: lambda: degraded(source, 2, "uint8")}.get(
        kind, lambda: Luma(source)
    )()
    assert made.read(Window(-2, -2, 8, 8)).mask is None
