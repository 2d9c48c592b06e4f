"""Helpers that several tests of this folder share."""

import numpy as np
import rasterio
import rasterio.shutil

from geosr.superresolve.job import super_resolve
from geosr.superresolve.options import Options

BICUBIC = Options(model="bicubic", scale=2)


def result(source, tmp_path, options=BICUBIC, **kwargs):
    output = tmp_path / "out" / "result.tif"
    output.parent.mkdir(exist_ok=True)
    super_resolve(source, output, options, overwrite=True, **kwargs)
    return output


def holes(array, nodata, seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.random(array.shape[1:]) < 0.1
    mask[10:20, 5:25] = True
    return np.where(mask, np.asarray(nodata, array.dtype), array), mask


def damaged(path, block_row, block_col):
    """The raster with one block of rubbish."""
    with rasterio.open(path) as written:
        offset = int(written.get_tag_item(f"BLOCK_OFFSET_{block_col}_{block_row}", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[offset : offset + 100] = b"\xff" * 100
    path.write_bytes(data)
    return path


TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
