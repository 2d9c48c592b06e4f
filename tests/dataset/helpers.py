"""Helpers that several tests of this folder share."""

from affine import Affine

from geosr.dataset import records, storage
from tests.conftest import texture


def at(x, y):
    return Affine(10, 0, x, 0, -10, y)


def three_places(make_raster, **more):
    return [
        make_raster(texture(2, 100, 100, seed=i), f"s{i}.tif", transform=at(400_000 + 5000 * i, 5_000_000), **more)
        for i in range(3)
    ]


def samples(folder):
    return {
        split: list(records.read(folder / split))
        for split in storage.TFDS_SPLITS
        if any((folder / split).glob("*-of-*"))
    }


def training(folder):
    return list(records.read(folder / "x2" / "Training"))


def holed(dtype="uint16"):
    image = texture(1, 96, 96, dtype=dtype, low=1)
    image[0, 50:60, 50:60] = 0
    image[0, 2, 2] = 0
    return image
