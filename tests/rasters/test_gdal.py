import logging
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import rasterio
import rasterio.env
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from geosr.rasters import gdal
from tests.conftest import texture


def test_the_cache_has_one_size_on_every_machine():
    with gdal.environment():
        assert rasterio.env.getenv()["GDAL_CACHEMAX"] == gdal.CACHE


def test_variables_of_another_proj_do_not_reach_the_one_that_rasterio_brings():
    foreign = {"PROJ_LIB": "/nowhere", "PROJ_DATA": "/nowhere", "GDAL_DATA": "/nowhere"}
    code = (
        "import geosr.rasters.source, os; from rasterio.crs import CRS\n"
        f"print(CRS.from_epsg(32633), [name for name in {[*foreign]} if name in os.environ])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | foreign, capture_output=True, text=True)
    assert done.stdout.strip() == "EPSG:32633 []", done.stderr


def test_images_without_georeferencing_are_opened_without_a_warning(tmp_path):
    Image.fromarray(texture(1, 20, 20)[0]).save(path := tmp_path / "a.png")
    with pytest.warns(NotGeoreferencedWarning):
        rasterio.open(path).close()
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        with gdal.quiet():
            rasterio.open(path).close()
    assert not raised


def test_an_error_is_one_line(tmp_path):
    (tmp_path / "a.tif").write_text("nothing\nof the kind")
    with pytest.raises(gdal.ERRORS) as error:
        rasterio.open(tmp_path / "a.tif")
    assert "a.tif" in gdal.reason(error.value)
    assert "\n" not in gdal.reason(error.value)


def test_warnings_are_collected_and_go_nowhere_else(tmp_path, caplog):
    with gdal.environment(), gdal.collected() as lines:
        rasterio.open(
            tmp_path / "a.tif", "w", driver="GTiff", width=9, height=9, count=1, dtype="uint8", NOSUCH="1"
        ).close()
    assert any("NOSUCH" in line for line in lines)
    assert not caplog.records
    assert logging.getLogger("rasterio").propagate


@pytest.mark.parametrize("size", [108, 124])
def test_bitmaps_with_newer_headers_are_read(tmp_path, size):
    array = texture(3, 20, 30)
    Image.fromarray(np.moveaxis(array, 0, -1)).save(tmp_path / "a.bmp")
    content = bytearray((tmp_path / "a.bmp").read_bytes())
    start = int.from_bytes(content[10:14], "little") + size - 40
    newer = content[:14] + size.to_bytes(4, "little") + content[18:54] + bytes(size - 40) + content[54:]
    newer[10:14] = start.to_bytes(4, "little")
    (tmp_path / "b.bmp").write_bytes(newer)
    with gdal.plain_bitmap(os.fspath(tmp_path / "b.bmp")) as memory, gdal.quiet(), memory.open() as bitmap:
        assert (bitmap.read() == array).all()
    assert gdal.plain_bitmap(os.fspath(tmp_path / "a.bmp")) is None
    assert gdal.plain_bitmap(os.fspath(tmp_path / "none.bmp")) is None
