import numpy as np
import pytest

from geosr.errors import RasterError
from geosr.grid import Window
from geosr.rasters.damage import Salvage

WHOLE = Window(0, 0, 50, 40)
BLOCKS = [(16, 16), (16, 16), (40, 10)]
IMAGE = np.arange(3 * 40 * 50).reshape(3, 40, 50)


def reader(*spoilt):
    """A reader of IMAGE that fails where a read touches one of these pixels (band, row, column)."""

    def read(indexes, window):
        rows, cols = window.slices(within=WHOLE)
        for band, row, col in spoilt:
            if band in indexes and rows.start <= row < rows.stop and cols.start <= col < cols.stop:
                raise RasterError("spoilt")
        return IMAGE[[i - 1 for i in indexes], rows, cols]

    return read


@pytest.fixture(autouse=True)
def _errors(monkeypatch):
    monkeypatch.setattr("geosr.rasters.gdal.ERRORS", (RasterError,))


def test_all_but_the_spoilt_blocks_is_read_and_these_are_remembered():
    salvage = Salvage(WHOLE, BLOCKS)
    window = Window(5, 5, 40, 30)
    block = salvage.block(window, [1, 3], reader((1, 20, 20), (3, 3, 44)), fill=-1, dtype="int64")
    expected = IMAGE.copy()
    expected[0, 16:32, 16:32] = -1
    rows, cols = window.slices(within=WHOLE)
    bad = expected[[0, 2], rows, cols] == -1
    assert (block == expected[[0, 2], rows, cols]).all()
    assert salvage.damage(WHOLE) == [(1, Window(16, 16, 16, 16))]
    assert (salvage.unreadable(window, [1, 3]) == bad).all()
    assert salvage.damage(Window(0, 0, 16, 16)) == []


def test_blocks_at_the_edges_end_with_the_raster():
    salvage = Salvage(WHOLE, BLOCKS)
    salvage.block(WHOLE, [2], reader((2, 39, 49)), fill=0, dtype="int64")
    assert salvage.damage(WHOLE) == [(2, Window(48, 32, 2, 8))]


def test_a_mask_that_cannot_be_read_hides_its_block():
    salvage = Salvage(WHOLE, BLOCKS)

    def read(window):
        return reader((1, 0, 0))([1], window)[0] >= 0

    mask = salvage.mask(WHOLE, read)
    assert not mask[0, :16, :16].any()
    assert mask[0, 16:].all()
    assert mask[0, :, 16:].all()
    assert salvage.damage(WHOLE) == [(0, Window(0, 0, 16, 16))]


def test_an_error_names_the_first_block_and_the_remedy():
    salvage = Salvage(WHOLE, BLOCKS)
    error = salvage.error("a.tif", RasterError("whole"), WHOLE, [1, 2], reader((2, 17, 3)))
    assert "'a.tif', band 2, rows 16 to 32, columns 0 to 16: spoilt; superresolve --skip-errors" in str(error)
    assert str(salvage.error("a.tif", RasterError("whole"), WHOLE, [1], reader())) == "cannot read 'a.tif': whole"
