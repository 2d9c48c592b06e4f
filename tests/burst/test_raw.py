import io
import sys

import numpy as np
import pytest
import rasterio
from PIL import Image, ImageCms

from geosr.burst import exif, job, photos, raw
from geosr.burst.options import Options
from geosr.errors import BurstError, OptionError, RasterError
from tests.photographs import save_dng, scene

NEUTRAL = 0.5, 1.0, 0.7


@pytest.fixture
def light():
    """Linear light (rows, cols, 3) of 0 to 1."""
    return scene(300, 200, seed=1) / 255


@pytest.fixture
def rawpy():
    return pytest.importorskip("rawpy", reason="pip install 'geosr[raw]'")


def test_the_light_that_the_camera_saw_is_decoded(tmp_path, rawpy, light):
    path = save_dng(tmp_path / "a.dng", light, neutral=NEUTRAL)
    profile, orientation, balance = raw.inspect(path)
    assert (profile.width, profile.height, profile.count, profile.dtype) == (300, 200, 3, "uint16")
    assert orientation == 1
    np.testing.assert_allclose(balance[:3], 1 / np.array(NEUTRAL), rtol=1e-4)
    found = raw.decode(path, balance) / 65535
    off = np.abs(np.moveaxis(found, 0, -1) - light)[8:-8, 8:-8]
    assert np.median(off) < 0.003
    np.testing.assert_allclose(found.mean(axis=(1, 2)), light.mean(axis=(0, 1)), atol=1e-3)


def test_one_white_balance_is_taken_for_all(tmp_path, rawpy, light):
    """The camera chose another for the second; without its own the photos differ in exposure alone."""
    first, second = (save_dng(tmp_path / f"{i}.dng", light, neutral=n) for i, n in enumerate([NEUTRAL, (0.4, 1, 0.8)]))
    balance = raw.inspect(first)[2]
    one, other = (raw.decode(path, balance).mean(axis=(1, 2)) for path in (first, second))
    np.testing.assert_allclose(other / one, np.array([0.4, 1, 0.8]) / NEUTRAL, rtol=0.01)


@pytest.mark.parametrize(("orientation", "size"), [(3, (300, 200)), (6, (200, 300)), (8, (200, 300))])
def test_a_photo_on_its_side_comes_out_upright(tmp_path, rawpy, light, orientation, size):
    for name in "ab":
        save_dng(tmp_path / f"{name}.dng", light, orientation=orientation)
    photo = photos.scan([tmp_path])[0]
    assert (photo.profile.width, photo.profile.height) == size
    frame = photos.prepare(photo, tmp_path / "room")
    made = np.moveaxis(frame.source.read(frame.source.profile.window).block, 0, -1) / 65535
    turned = np.rot90(light, {3: 2, 6: 3, 8: 1}[orientation])
    assert np.median(np.abs(made - turned)) < 0.003


def test_the_colour_profile_is_that_of_linear_light():
    profile = ImageCms.ImageCmsProfile(io.BytesIO(raw.colour_profile()))
    to_srgb = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), "RGB", "RGB")
    for value in (0, 20, 55, 128, 200, 255):
        light = value / 255
        curve = 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055  # IEC 61966-2-1
        [level, *_] = ImageCms.applyTransform(Image.new("RGB", (1, 1), (value,) * 3), to_srgb).getpixel((0, 0))
        assert level == pytest.approx(255 * curve, abs=1.01)


def test_a_burst_of_raw_photos_is_stacked_in_linear_light(tmp_path, rawpy, light):
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for i in range(4):
        noisy = light + rng.normal(0, 0.02, light.shape)
        save_dng(tmp_path / "in" / f"{i}.dng", (1, 0.8, 1, 0.9)[i] * noisy, neutral=NEUTRAL)
    options = Options(align="none", scale=1, sharpen=0, reference="0.dng", methods=("mean",))
    assert job.stack([tmp_path / "in"], tmp_path / "out", options)["kept"] == 4
    with rasterio.open(tmp_path / "out" / "mean.tif") as image:
        assert image.dtypes == ("uint16",) * 3
        made = np.moveaxis(image.read(), 0, -1) / 65535
    assert np.abs(made - light).mean() < 0.015
    found = exif.read(tmp_path / "out" / "mean.tif")
    assert found.icc == raw.colour_profile()
    assert found.orientation == 1


def test_projects_of_raw_photos_are_refused(tmp_path, rawpy, light):
    for name in "ab":
        save_dng(tmp_path / f"{name}.dng", light)
    with pytest.raises(OptionError, match="RAW"):
        job.make_plan([tmp_path], tmp_path / "out", Options(align="none", keep_project=True))


def test_without_rawpy_the_line_to_type_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    for name in "ab":
        (tmp_path / f"{name}.nef").write_bytes(b"II*\0")
    with pytest.raises(BurstError, match=r"a\.nef.*pip install 'geosr\[raw\]'"):
        photos.scan([tmp_path])


def test_what_is_no_raw_photo_is_said(tmp_path, rawpy, light):
    path = tmp_path / "a.cr2"
    path.write_bytes(b"nothing")
    with pytest.raises(RasterError, match=r"a\.cr2' is not a RAW photo"):
        raw.inspect(path)
