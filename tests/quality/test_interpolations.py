import numpy as np
import pytest
from PIL import Image
from rasterio.enums import Resampling
from scipy.ndimage import zoom

from geosr.quality.interpolations import INTERPOLATIONS, REACH, warped
from tests.conftest import texture

INSIDE = np.s_[:, 16:-16, 16:-16]


@pytest.fixture
def block():
    return texture(2, 40, 50, dtype="float64")


@pytest.mark.parametrize("k", [2, 3, 4])
def test_each_is_what_another_library_makes_of_it(block, k):
    pil = [
        np.asarray(Image.fromarray(band.astype("float32")).resize((50 * k, 40 * k), Image.Resampling.LANCZOS))
        for band in block
    ]
    wanted = {
        "nearest": np.kron(block, np.ones((1, k, k))),
        "bilinear": zoom(block, (1, k, k), order=1, grid_mode=True, mode="grid-constant"),
        "bicubic": warped(block, k, how=Resampling.cubic),
        "lanczos": np.array(pil),
    }
    assert set(wanted) == set(INTERPOLATIONS)
    for name, interpolated in INTERPOLATIONS.items():
        assert interpolated(block, k)[INSIDE] == pytest.approx(wanted[name][INSIDE], abs=1e-3), name


@pytest.mark.parametrize("k", [2, 3, 4, 5])
@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_none_depends_on_more_than_its_reach(block, k, name):
    part = np.s_[:, 10:30, 10:30]
    inner = np.s_[:, REACH * k : -REACH * k, REACH * k : -REACH * k]
    whole = INTERPOLATIONS[name](block, k)[:, 10 * k : 30 * k, 10 * k : 30 * k]
    assert INTERPOLATIONS[name](block[part], k)[inner] == pytest.approx(whole[inner], abs=1e-9)


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "lanczos"])
def test_none_moves_the_picture(name):
    """A ramp over pixel areas stays that ramp; Lanczos' weights make it a little uneven."""
    ramp = np.arange(40.0)[None, None] + np.zeros((1, 40, 40))
    wanted = (np.arange(80) + 0.5) / 2 - 0.5
    assert INTERPOLATIONS[name](ramp, 2)[0, 40, 16:-16] == pytest.approx(wanted[16:-16], abs=0.03)
