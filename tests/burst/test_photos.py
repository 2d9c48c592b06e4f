import cv2
import numpy as np
import pytest
import rasterio
from PIL import Image, ImageCms

from geosr.burst import photos
from geosr.errors import BurstError, RasterError, UnsupportedRaster
from geosr.grid import Window
from tests.photographs import frames, save, save_burst, scene


@pytest.fixture
def picture():
    return scene(70, 50, seed=3).round().astype("uint8")


def turned(picture, orientation):
    """The picture as a camera that was held so stores it."""
    ways = {1: (), 2: (np.fliplr,), 3: (np.flipud, np.fliplr), 4: (np.flipud,), 5: (transposed,),
            6: (np.rot90,), 7: (np.rot90, np.rot90, transposed), 8: (np.rot90, np.rot90, np.rot90)}  # fmt: skip
    for way in ways[orientation]:
        picture = way(picture)
    return np.ascontiguousarray(picture)


def transposed(picture):
    return picture.transpose(1, 0, 2)


def stored(path, picture, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(turned(picture, orientation)).save(path, exif=exif)
    return path


def whole(frame):
    return np.moveaxis(frame.source.read(frame.source.profile.window).block, 0, -1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_every_orientation_comes_out_upright(tmp_path, picture, orientation, ending):
    for name in "ab":
        stored(tmp_path / f"{name}{ending}", picture, orientation)
    photo = photos.scan([tmp_path])[0]
    assert (photo.profile.width, photo.profile.height) == (70, 50)
    assert photos.stored_size(photo) == ((70, 50) if orientation < 5 else (50, 70))
    frame = photos.prepare(photo, tmp_path / "room")
    np.testing.assert_array_equal(whole(frame), picture)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_points_of_the_upright_photo_are_found_in_the_stored_one(tmp_path, picture, orientation):
    for name in "ab":
        stored(tmp_path / f"{name}.png", picture, orientation)
    photo = photos.scan([tmp_path])[0]
    for col, row in ((5, 8), (60, 40), (33, 2)):
        [[x, y]] = photos.stored_points(np.array([[col, row]]), photo).astype(int)
        assert (turned(picture, orientation)[y, x] == picture[row, col]).all()


def test_pillow_turns_them_the_same_way(tmp_path, picture):
    from PIL import ImageOps

    for orientation in range(1, 9):
        with Image.open(stored(tmp_path / f"{orientation}.png", picture, orientation)) as image:
            np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(image)), picture)


@pytest.mark.parametrize(
    ("ending", "dtype", "bands", "more"),
    [
        (".jpg", "uint8", 3, {}), (".jpg", "uint8", 1, {}), (".png", "uint8", 4, {}), (".png", "uint16", 3, {}),
        (".tif", "uint8", 3, {}), (".tif", "uint16", 3, {"tiled": True, "blockxsize": 64, "blockysize": 64}),
        (".tif", "uint16", 1, {"compress": "lzw"}), (".tif", "uint16", 4, {"BIGTIFF": "YES"}),
        (".tif", "float32", 1, {}),
    ],
)  # fmt: skip
def test_kinds_of_files_are_read_as_they_are(tmp_path, ending, dtype, bands, more):
    images = frames([np.eye(3)] * 2, size=(80, 60), bands=bands, dtype=dtype)
    if bands == 4:
        images[..., 3] = np.iinfo(dtype).max
    save_burst(tmp_path / "in", images, ending=ending, **more)
    found = photos.scan([tmp_path / "in"])
    assert [photo.name for photo in found] == [f"1{ending}", f"2{ending}"]
    frame = photos.prepare(found[0], tmp_path / "room")
    assert frame.source.profile.dtype == dtype
    with rasterio.open(tmp_path / "in" / f"1{ending}") as original:
        np.testing.assert_array_equal(whole(frame), np.moveaxis(original.read(), 0, -1))


def test_the_order_is_that_of_the_times_or_else_of_natural_names(tmp_path, picture):
    for name in ("10", "9", "2"):
        save(tmp_path / f"{name}.png", picture)
    assert [photo.name for photo in photos.scan([tmp_path])] == ["2.png", "9.png", "10.png"]
    for name, second in (("10", "01"), ("9", "03"), ("2", "02")):
        exif = Image.Exif()
        exif[271] = "Maker"
        exif.get_ifd(0x8769)[36867] = f"2024:01:01 00:00:{second}"
        Image.fromarray(picture).save(tmp_path / f"{name}.png", exif=exif)
    assert [photo.name for photo in photos.scan([tmp_path])] == ["10.png", "2.png", "9.png"]


def test_the_proxy_is_the_mean_and_knows_what_is_clipped(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "PROXY_PIXELS", 2000)
    image = scene(123, 97, seed=1).round().astype("uint8")
    image[30:45, 60:75] = 255
    save_burst(tmp_path / "in", [image, image])
    photo = photos.scan([tmp_path / "in"])[0]
    k = photos.factor(photo.profile)
    colours, usable = photos.load_proxy(photos.prepare(photo, tmp_path / "room").proxy)
    assert colours.shape == (3, 97 // k, 123 // k)
    expected = image[: 97 // k * k, : 123 // k * k].reshape(97 // k, k, 123 // k, k, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(colours, np.moveaxis(expected, -1, 0), atol=1e-3)
    assert not usable[30 // k : 45 // k, 60 // k + 1 : 75 // k].any()
    assert usable[:20, :20].all()


def test_blur_is_seen_through_exposure_and_noise(tmp_path):
    sharp = frames([np.eye(3)], size=(300, 200), noise=2.0)[0]
    dark = (sharp * 0.4).astype("uint8")
    blurred = cv2.blur(sharp, (13, 1))
    save_burst(tmp_path / "in", [sharp, dark, blurred])
    found = [photos.prepare(p, tmp_path / f"room{i}").sharpness for i, p in enumerate(photos.scan([tmp_path / "in"]))]
    assert found[1] > 0.8 * found[0]
    assert found[2] < 0.35 * found[0]


@pytest.mark.parametrize("holes", [0, 1, 400])
def test_invalid_pixels_count_neither_in_brightness_nor_in_sharpness(tmp_path, holes):
    image = frames([np.eye(3)], size=(120, 90), bands=1, dtype="float32")[0]
    spoiled = image.copy()
    rows, cols = np.unravel_index(np.arange(holes), (20, 20))
    spoiled[30 + rows, 40 + cols] = np.nan
    save_burst(tmp_path / "in", [spoiled, image])
    frame, whole = (photos.prepare(p, tmp_path / p.name[:-4]) for p in photos.scan([tmp_path / "in"]))
    colours, usable = photos.load_proxy(frame.proxy)
    assert frame.brightness == pytest.approx(np.nanmean(spoiled), rel=1e-5)
    assert frame.sharpness == pytest.approx(whole.sharpness, rel=0.1)
    assert np.isfinite(colours).all()
    np.testing.assert_array_equal(usable, np.isfinite(spoiled[..., 0]))


def test_the_image_for_hugin_is_plain_gray_of_eight_bits(tmp_path):
    save_burst(tmp_path / "in", frames([np.eye(3)] * 2, size=(80, 60), dtype="uint16"))
    photo = photos.scan([tmp_path / "in"])[0]
    frame = photos.prepare(photo, tmp_path / "room")
    with rasterio.open(frame.plain) as plain:
        assert (plain.count, plain.dtypes[0], plain.profile["tiled"]) == (1, "uint8", False)
        assert plain.width == 80 * photos.plain_factor(photo.profile) >= 600
        assert plain.read().max() > 240


def test_windows_are_read_without_the_whole(tmp_path):
    save_burst(tmp_path / "in", frames([np.eye(3)] * 2, size=(80, 60)), ending=".jpg")
    frame = photos.prepare(photos.scan([tmp_path / "in"])[0], tmp_path / "room")
    assert frame.source.path.endswith("pixels.tif")
    np.testing.assert_array_equal(
        frame.source.read(Window(10, 20, 30, 5)).block, np.moveaxis(whole(frame), -1, 0)[:, 20:25, 10:40]
    )
    save_burst(tmp_path / "tif", frames([np.eye(3)] * 2, size=(80, 60)))
    direct = photos.prepare(photos.scan([tmp_path / "tif"])[0], tmp_path / "room2")
    assert direct.source.path == str(tmp_path / "tif" / "1.tif")


def bad_bursts(tmp_path, picture):
    save(tmp_path / "a.png", picture)
    (tmp_path / "empty").mkdir()
    (tmp_path / "one").mkdir()
    save(tmp_path / "one" / "a.jpg", picture)
    save(tmp_path / "small.png", picture[:40])
    save(tmp_path / "deep.png", picture.astype("uint16") * 257)
    save(tmp_path / "gray.png", picture[..., :1])
    (tmp_path / "text.jpg").write_text("not a photo")
    save(tmp_path / "b.jpg", picture)
    data = (tmp_path / "b.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    data = (tmp_path / "small.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    save(tmp_path / "here.tif", picture, crs="EPSG:32633")
    save(tmp_path / "there.tif", picture, crs="EPSG:32634")
    return {
        "an empty folder": (["empty"], BurstError, "no photos"),
        "one photo": (["one"], BurstError, "one photo"),
        "sizes that differ": (["a.png", "small.png"], BurstError, "70 x 40, 3 bands of uint8 but"),
        "depths that differ": (["a.png", "deep.png"], BurstError, "uint16 but"),
        "bands that differ": (["a.png", "gray.png"], BurstError, "1 bands"),
        "a text": (["b.jpg", "text.jpg"], RasterError, "text.jpg"),
        "a cut photo": (["b.jpg", "cut.jpg"], RasterError, "cut off"),
        "a cut PNG": (["a.png", "cut.png"], RasterError, "cut off"),
        "a file that is not there": (["a.png", "no.png"], BurstError, "no.png"),
        "the same twice": (["a.png", "a.png"], BurstError, "twice"),
        "places that differ": (["here.tif", "there.tif"], BurstError, "in EPSG:32634 but"),
    }


@pytest.mark.parametrize("kind", [
    "an empty folder", "one photo", "sizes that differ", "depths that differ", "bands that differ", "a text",
    "a cut photo", "a cut PNG", "a file that is not there", "the same twice", "places that differ",
])  # fmt: skip
def test_what_is_no_burst_is_said(tmp_path, picture, kind):
    names, error, said = bad_bursts(tmp_path, picture)[kind]
    with pytest.raises(error, match=said):
        photos.of_one_kind(photos.scan([tmp_path / name for name in names]))


def test_a_palette_is_refused_with_the_command_that_helps(tmp_path, picture):
    for name in "ab":
        Image.fromarray(picture).convert("P").save(tmp_path / f"{name}.png")
    with pytest.raises(UnsupportedRaster, match="-expand rgb"):
        photos.scan([tmp_path])


def test_what_does_not_exist_is_said_before_photos_are_counted(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png")
    for given in ([tmp_path / "none"], [tmp_path / "a.png", tmp_path / "none"]):
        with pytest.raises(BurstError, match=r"^there is no file or folder '.*none'; name the photos"):
            photos.scan(given)
    with pytest.raises(BurstError, match=r"a\.png' has one photo"):
        photos.scan([tmp_path / "a.png"])


def test_photos_of_different_colour_profiles_are_refused_with_the_command_that_helps(tmp_path, picture):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    later = srgb[:24] + bytes(12) + srgb[36:]
    other = srgb[:-8] + bytes(8)
    for name, profile in (("a", srgb), ("b", later), ("c", b"")):
        Image.fromarray(picture).save(tmp_path / f"{name}.png", icc_profile=profile)
    assert len(photos.of_one_kind(photos.scan([tmp_path]))[0]) == 3
    Image.fromarray(picture).save(tmp_path / "d.png", icc_profile=other)
    with pytest.raises(BurstError, match=r"'d\.png' and 'a\.png' have different colour profiles.*magick"):
        photos.of_one_kind(photos.scan([tmp_path]))


def test_photos_of_the_kind_that_most_have_are_kept(tmp_path, picture):
    for name, orientation in (("1", 6), ("2", 1), ("3", 1), ("4", 8), ("5", 1)):
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(picture).save(tmp_path / f"{name}.png", exif=exif)
    kept, left_out = photos.of_one_kind(photos.scan([tmp_path]))
    assert [photo.name for photo in kept] == ["2.png", "3.png", "5.png"]
    assert [name for name, _ in left_out] == ["1.png", "4.png"]
    assert all("50 x 70" in reason and "most photos are 70 x 50" in reason for _, reason in left_out)
    (tmp_path / "5.png").unlink()
    kept, _ = photos.of_one_kind(photos.scan([tmp_path]))
    assert [photo.name for photo in kept] == ["1.png", "4.png"], "of equal kinds that of the first"
