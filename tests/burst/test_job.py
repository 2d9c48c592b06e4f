import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image, ImageCms

from geosr import pools
from geosr.burst import exif, hugin, job
from geosr.burst.options import Options
from geosr.errors import BurstError, HuginError, OptionError, OutputError
from geosr.rasters.source import RasterSource
from tests.photographs import SIZE, distance, fake_tool, frames, moves, need_hugin, save_burst

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NONE = Options(align="none", sharpen=0.0)


def stacked(folder, out, options=NONE, **more):
    return job.stack([folder], out, options, **more)


def load(path):
    with rasterio.open(path) as image:
        return image.read()


def left(folder):
    return sorted(path.name for path in folder.rglob("*"))


@pytest.fixture
def still(tmp_path):
    """Six frames that did not move."""
    return save_burst(tmp_path / "in", frames([np.eye(3)] * 6, size=(90, 70)))


@pytest.mark.slow
def test_a_burst_that_moved_is_aligned_with_hugin(tmp_path):
    need_hugin()
    matrices = moves(5, seed=7)
    folder = save_burst(tmp_path / "in", frames(matrices))
    with pools.threads(2) as pool:
        said = stacked(folder, tmp_path / "out", Options(reference="2.tif"), pool=pool)
    assert said["kept"] == 5
    for i, frame in enumerate(said["frames"]):
        true = matrices[i] @ np.linalg.inv(matrices[1])
        assert distance(np.array(frame["matrix"]).reshape(3, 3), true) < 0.05
    assert left(tmp_path / "out") == sorted(
        ["mean.tif", "median.tif", "robust.tif", "report.json", "report.html", "report.png", "hugin.log"]
    )
    made = load(tmp_path / "out" / "mean.tif")
    assert made.shape[1] == pytest.approx(2 * SIZE[1], abs=40)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["kept"] == 5
    with Image.open(tmp_path / "out" / "report.png") as picture:
        picture.load()


@pytest.mark.slow
def test_frames_that_do_not_belong_are_left_out_and_named(tmp_path):
    need_hugin()
    matrices = moves(4, seed=8)
    images = frames(matrices)
    other, blurred = frames([np.eye(3)], seed=5)[0], cv2.blur(images[2], (17, 1))
    good = save_burst(tmp_path / "good", images)
    bad = save_burst(tmp_path / "bad", [*images, other, blurred])
    with_bad = stacked(bad, tmp_path / "out_bad", Options(reference="2.tif"))
    stacked(good, tmp_path / "out_good", Options(reference="2.tif"))
    reasons = {frame["name"]: frame["reason"] for frame in with_bad["frames"] if not frame["kept"]}
    assert set(reasons) == {"5.tif", "6.tif"}
    assert "control points" in reasons["5.tif"]
    assert "blurred" in reasons["6.tif"]
    np.testing.assert_array_equal(load(tmp_path / "out_bad" / "robust.tif"), load(tmp_path / "out_good" / "robust.tif"))
    assert stacked(bad, tmp_path / "out_all", Options(reference="2.tif", keep_all=True))["kept"] == 5


@pytest.mark.parametrize(("dtype", "depth", "expected"), [("uint8", None, "uint8"), ("uint16", None, "uint16"),
                                                          ("uint8", 16, "uint16"), ("uint16", 8, "uint8")])  # fmt: skip
def test_mean_and_median_are_numpy_s_in_every_depth(tmp_path, dtype, depth, expected):
    images = frames([np.eye(3)] * 4, size=(60, 50), dtype=dtype)
    folder = save_burst(tmp_path / "in", images, ending=".png")
    options = Options(align="none", sharpen=0, scale=1, depth=depth, match=False, methods=("mean", "median"))
    stacked(folder, tmp_path / "out", options)
    factor = {("uint8", 16): 257, ("uint16", 8): 1 / 257}.get((dtype, depth), 1)
    for name, reduced in (("mean", images.astype(float).mean(axis=0)), ("median", np.median(images, axis=0))):
        made = load(tmp_path / "out" / f"{name}.tif")
        assert made.dtype == expected
        np.testing.assert_allclose(np.moveaxis(made, 0, -1).astype(float), reduced * factor, atol=0.51)


def test_sixteen_bits_stay_sixteen_from_end_to_end(tmp_path):
    """Steps of less than an eighth bit survive the whole road."""
    ramp = np.tile(np.arange(30000, 30000 + 120, dtype="uint16"), (80, 1))[..., None].repeat(3, -1)
    folder = save_burst(tmp_path / "in", [ramp, ramp, ramp])
    stacked(folder, tmp_path / "out", Options(align="none", scale=1, sharpen=0, match=False))
    for name in Options().methods:
        np.testing.assert_array_equal(np.moveaxis(load(tmp_path / "out" / f"{name}.tif"), 0, -1), ramp)


def test_exposure_is_brought_to_the_reference_s(tmp_path):
    images = frames([np.eye(3)] * 5, size=(90, 70), noise=1.0).astype(float)
    gains = (1.0, 0.7, 1.0, 0.85, 1.05)
    folder = save_burst(
        tmp_path / "in",
        [(image * gain).clip(0, 255).astype("uint8") for image, gain in zip(images, gains, strict=True)],
    )
    said = stacked(folder, tmp_path / "out", Options(align="none", sharpen=0, scale=1, reference="1.tif"))
    for frame, gain in zip(said["frames"], gains, strict=True):
        assert frame["gain"] == pytest.approx((1 / gain,) * len(frame["gain"]), rel=0.02)
    made = np.moveaxis(load(tmp_path / "out" / "robust.tif"), 0, -1).astype(float)
    assert np.abs(made - images[0]).mean() < 1.2
    plain = stacked(folder, tmp_path / "plain", Options(align="none", sharpen=0, scale=1, match=False))
    assert all(frame["gain"] == (1,) for frame in plain["frames"])


def test_white_balance_is_brought_to_the_reference_s(tmp_path):
    """Automatic white balance between frames: the result has the reference's colours."""
    images = frames([np.eye(3)] * 5, size=(90, 70), noise=1.0).astype(float)
    balances = ((1, 1, 1), (1.1, 1, 0.86), (0.92, 1, 1.08), (1.05, 0.97, 0.9), (1.1, 1, 0.86))
    taken = [(image * gains).clip(0, 255).astype("uint8") for image, gains in zip(images, balances, strict=True)]
    folder = save_burst(tmp_path / "in", taken)
    stacked(folder, tmp_path / "out", Options(align="none", sharpen=0, scale=1, reference="1.tif"))
    for name in Options().methods:
        made = np.moveaxis(load(tmp_path / "out" / f"{name}.tif"), 0, -1).astype(float)
        np.testing.assert_allclose(made.mean(axis=(0, 1)), taken[0].mean(axis=(0, 1)), atol=0.5)
        assert np.abs(made - images[0]).mean() < 1.2


def test_a_thing_that_moves_leaves_no_ghost(tmp_path):
    images = frames([np.eye(3)] * 7, size=(90, 70), noise=2.0)
    clean = images.mean(axis=0)
    for i, image in enumerate(images):
        cv2.circle(image, (12 + 10 * i, 35), 5, (255, 30, 30), -1)
    folder = save_burst(tmp_path / "in", images)
    stacked(folder, tmp_path / "out", Options(align="none", sharpen=0, scale=1))
    error = {
        m: np.abs(np.moveaxis(load(tmp_path / "out" / f"{m}.tif"), 0, -1)[30:41] - clean[30:41]).mean()
        for m in Options().methods
    }
    assert error["robust"] < 0.4 * error["mean"]
    assert error["median"] < 0.4 * error["mean"]


def test_geotiffs_keep_their_place(tmp_path):
    place = Affine(0.5, 0, 400_000, 0, -0.5, 5_000_000)
    image = frames([np.eye(3)], size=(90, 70))[0]
    (tmp_path / "in").mkdir()
    for i in range(3):
        moved = place @ Affine.translation(4 * i, 0)
        with rasterio.open(
            tmp_path / "in" / f"{i}.tif", "w", driver="GTiff", width=90, height=70, count=3, dtype="uint8",
            crs="EPSG:32633", transform=moved, photometric="RGB",
        ) as out:  # fmt: skip
            out.write(np.moveaxis(np.roll(image, -4 * i, axis=1), -1, 0))
    stacked(tmp_path / "in", tmp_path / "out", Options(align="none", sharpen=0, reference="0.tif"))
    with rasterio.open(tmp_path / "out" / "robust.tif") as out:
        assert out.crs.to_epsg() == 32633
        assert out.transform == place @ Affine.translation(8, 0) @ Affine.scale(0.5)
        assert (out.width, out.height) == (2 * (90 - 8), 140)
        spread = np.abs(out.read(1)[4:-4:2, 4:-4:2].astype(float) - image[2:-2, 10:-2, 0])
    assert np.median(spread) < 12


def test_nodata_stays_nodata_where_no_frame_has_a_value(tmp_path):
    images = frames([np.eye(3)] * 3, size=(60, 50), bands=1, dtype="uint16")
    images = np.maximum(images, 500)
    images[:, 10:20, 10:20] = 0
    images[0, 30:40, 30:40] = 0
    folder = save_burst(tmp_path / "in", images, nodata=0, crs="EPSG:32633", transform=Affine(1, 0, 0, 0, -1, 0))
    stacked(folder, tmp_path / "out", Options(align="none", sharpen=1.0, scale=1))
    made = load(tmp_path / "out" / "median.tif")[0]
    assert (made[12:18, 12:18] == 0).all()
    assert (made[30:40, 30:40] > 400).all()
    assert made[made > 0].min() > 200


def test_union_has_a_mask_and_common_has_none(tmp_path):
    (tmp_path / "in").mkdir()
    image = frames([np.eye(3)], size=(90, 70))[0]
    for i, shift in enumerate((0, 10)):
        with rasterio.open(
            tmp_path / "in" / f"{i}.tif", "w", driver="GTiff", width=90, height=70, count=3, dtype="uint8",
            crs="EPSG:32633", transform=Affine(1, 0, shift, 0, -1, 0), photometric="RGB",
        ) as out:  # fmt: skip
            out.write(np.moveaxis(image, -1, 0))
    for crop, width in (("union", 100), ("common", 80)):
        stacked(
            tmp_path / "in", tmp_path / crop, Options(align="none", crop=crop, scale=1, coverage=True, deviation=True)
        )
        with rasterio.open(tmp_path / crop / "mean.tif") as out:
            assert out.width == width
            assert out.dataset_mask().min() == 255
        counts = load(tmp_path / crop / "coverage.tif")
        assert counts.dtype == "uint16"
        assert (counts[0, 20, 50], counts[0, 20, 2]) == ((2, 1) if crop == "union" else (2, 2))
        assert load(tmp_path / crop / "deviation.tif").dtype == "float32"


def test_transparency_becomes_a_mask(tmp_path):
    images = frames([np.eye(3)] * 3, size=(60, 50), bands=4)
    images[..., 3] = 255
    images[:, :10, :10, 3] = 0
    folder = save_burst(tmp_path / "in", images, ending=".png")
    stacked(folder, tmp_path / "out", Options(align="none", scale=1))
    with rasterio.open(tmp_path / "out" / "mean.tif") as out:
        assert out.count == 3
        assert (out.dataset_mask()[:8, :8] == 0).all()
        assert (out.dataset_mask()[14:, 14:] == 255).all()


def test_what_the_reference_says_is_carried_over(tmp_path):
    (tmp_path / "in").mkdir()
    for i, image in enumerate(frames([np.eye(3)] * 3, size=(90, 70))):
        said = Image.Exif()
        said[271], said[274] = f"Maker {i}", 6
        said.get_ifd(0x8769).update({36867: f"2024:01:01 00:00:0{i}", 33434: 0.004})
        said.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 30.5)})
        Image.fromarray(image).save(tmp_path / "in" / f"{i}.jpg", exif=said, quality=95, icc_profile=SRGB)
    stacked(tmp_path / "in", tmp_path / "out", Options(align="none", reference="2.jpg"))
    found = exif.read(tmp_path / "out" / "robust.tif")
    assert found.main[271].data == b"Maker 2\0"
    assert found.orientation == 1
    assert found.icc == SRGB
    assert found.gps[1].data.startswith(b"N")
    assert found.main[exif.SOFTWARE].data.startswith(b"geosr")
    with rasterio.open(tmp_path / "out" / "robust.tif") as out:
        assert (out.width, out.height) == (140, 180)


def test_a_colour_profile_of_other_bands_is_not_carried_over(tmp_path):
    (tmp_path / "in").mkdir()
    cmyk = SRGB[:16] + b"CMYK" + SRGB[20:]
    for name in "ab":
        image = Image.fromarray(frames([np.eye(3)], size=(90, 70))[0]).convert("CMYK")
        image.save(tmp_path / "in" / f"{name}.jpg", quality=95, icc_profile=cmyk)
    stacked(tmp_path / "in", tmp_path / "out")
    with Image.open(tmp_path / "out" / "mean.tif") as image:
        assert image.mode == "RGB"
        assert "icc_profile" not in image.info


def test_overwriting_leaves_no_image_of_the_older_report(tmp_path, still):
    stacked(still, tmp_path / "out", replace(NONE, coverage=True))
    (tmp_path / "out" / "trimmed.tif").write_text("mine")
    stacked(still, tmp_path / "out", replace(NONE, methods=("median",)), overwrite=True)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tif")) == ["median.tif", "trimmed.tif"]
    assert (tmp_path / "out" / "trimmed.tif").read_text() == "mine"


def test_too_little_memory_is_said_as_such(still, tmp_path):
    with pytest.raises(OptionError, match=r"--memory 10.* too little; give --memory 320MiB"):
        stacked(still, tmp_path / "out", replace(NONE, memory=10_000_000))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (40, 1)])
def test_the_smallest_photos_are_stacked(tmp_path, size):
    images = [np.full((size[1], size[0], 3), 100 + 10 * i, "uint8") for i in range(3)]
    folder = save_burst(tmp_path / "in", images, ending=".png")
    stacked(folder, tmp_path / "out", Options(align="none", match=False))
    for name in Options().methods:
        np.testing.assert_array_equal(
            load(tmp_path / "out" / f"{name}.tif"), np.full((3, 2 * size[1], 2 * size[0]), 110)
        )


@pytest.mark.parametrize("holes", ["one", "all"])
def test_invalid_pixels_count_in_nothing(tmp_path, holes):
    images = frames([np.eye(3)] * 4, size=(60, 50), bands=1, dtype="float32")
    expected = images.astype(float)
    spoiled = images.copy()
    spoiled[0, 10:14, 20:24] = np.nan
    if holes == "all":
        spoiled[:, 30, 30] = np.nan
    folder = save_burst(tmp_path / "in", spoiled)
    options = Options(align="none", scale=1, sharpen=0, match=False, methods=("mean",))
    assert stacked(folder, tmp_path / "out", options)["kept"] == 4
    made = load(tmp_path / "out" / "mean.tif")[0]
    np.testing.assert_allclose(made[11:13, 21:23], expected[1:, 11:13, 21:23, 0].mean(axis=0), rtol=1e-5)
    far = np.ones(made.shape, bool)
    far[6:18, 16:28] = far[26:35, 26:35] = False
    np.testing.assert_allclose(made[far], expected.mean(axis=0)[..., 0][far], rtol=1e-5)
    assert np.isnan(made[30, 30]) == (holes == "all")


@pytest.mark.parametrize("jobs", [0, 1, 3])
def test_the_same_burst_gives_the_same_bytes_whatever_the_pool(tmp_path, still, jobs):
    stacked(still, tmp_path / "one")
    if not jobs:
        stacked(still, tmp_path / "other", Options(align="none", sharpen=0.0, memory=900 * 2**20))
        np.testing.assert_allclose(load(tmp_path / "one" / "mean.tif"), load(tmp_path / "other" / "mean.tif"))
        return
    with pools.threads(jobs) as pool:
        stacked(still, tmp_path / "other", pool=pool)
    for name in ("mean.tif", "median.tif", "robust.tif"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_an_interrupted_job_goes_on_from_its_alignment_and_parts(tmp_path, still, monkeypatch):
    monkeypatch.setattr("geosr.burst.stacking.TILES", (32,))

    def stop_in_the_middle(stage, done, total):
        if stage == "stack" and done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stacked(still, tmp_path / "out", progress=stop_in_the_middle)
    parts = tmp_path / "out" / ".report.json.geosr"
    assert len(list(parts.glob("*.part"))) == 1 + 7 * 4
    assert not (parts / "scratch").exists()
    assert not list((tmp_path / "out").glob("*.tif"))
    stages = []
    # With other threads and more memory, whose tiles would be larger: those that are there are taken up.
    monkeypatch.undo()
    with pools.threads(3) as pool:
        more = replace(NONE, memory=4 * 2**30)
        stacked(still, tmp_path / "out", more, pool=pool, progress=lambda *step: stages.append(step))
    assert ("stack", 7, 30) in stages
    assert not [step for step in stages if step[0] == "align"]
    stacked(still, tmp_path / "straight")
    for name in ("mean.tif", "robust.tif"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    assert not [name for name in left(tmp_path / "out") if name.startswith(".")]


@pytest.mark.parametrize("stage", ["read", "align"])
def test_a_job_that_ends_early_leaves_nothing(tmp_path, still, stage):
    def stop(at, done, total):
        if at == stage:
            raise KeyboardInterrupt

    before = {path: path.read_bytes() for path in still.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        stacked(still, tmp_path / "out", progress=stop)
    assert not (tmp_path / "out").exists()
    assert {path: path.read_bytes() for path in still.iterdir()} == before


def test_the_reference_is_neither_the_blurred_nor_the_dark(tmp_path):
    images = list(frames([np.eye(3)] * 5, size=(200, 160), noise=1.0))
    images[2] = cv2.GaussianBlur(images[2], (0, 0), 1.2)
    said = stacked(save_burst(tmp_path / "a", images), tmp_path / "out_a", Options(align="none", keep_all=True))
    assert next(f["name"] for f in said["frames"] if f["reference"]) != "3.tif"
    images[2] = (frames([np.eye(3)], size=(200, 160))[0] * 0.3).astype("uint8")
    said = stacked(save_burst(tmp_path / "b", images), tmp_path / "out_b", Options(align="none"))
    assert next(f["name"] for f in said["frames"] if f["reference"]) != "3.tif"


@pytest.mark.slow
def test_a_project_that_was_kept_gives_the_burst_again(tmp_path):
    need_hugin()
    matrices = moves(3, seed=9)
    folder = save_burst(tmp_path / "in", frames(matrices, noise=1.0))
    stacked(folder, tmp_path / "first", Options(keep_project=True, reference="1.tif", sharpen=0))
    project = tmp_path / "first" / "project.pto"
    assert [Path(image.path).name for image in hugin.read_images(project)] == ["1.tif", "2.tif", "3.tif"]
    said = stacked(folder, tmp_path / "again", Options(project=str(project), sharpen=0))
    assert said["kept"] == 3
    told = json.loads((tmp_path / "again" / "report.json").read_text())["frames"]
    assert all(frame["still"] is None and frame["shift"] is None for frame in told), "nothing of it was measured"
    with rasterio.open(tmp_path / "again" / "mean.tif") as out:
        assert out.count == 3
        assert out.width == pytest.approx(2 * SIZE[0], abs=60)
    one, other = (RasterSource(tmp_path / name / "mean.tif") for name in ("first", "again"))
    assert one.read(one.profile.window).block.mean() == pytest.approx(
        other.read(other.profile.window).block.mean(), rel=0.05
    )
    assert said["deviation"] < 12


def refused(tmp_path, still):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "bad.pto").write_text("nothing")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mean.tif").write_text("mine")
    return {
        "the folder of the photos": (still, NONE, OutputError, "choose another folder"),
        "a file": (tmp_path / "file", NONE, OutputError, "is a file"),
        "a folder with results": (tmp_path / "full", NONE, OutputError, "--overwrite"),
        "a reference that is none": (tmp_path / "o", Options(align="none", reference="9.tif"), OptionError, "9.tif"),
        "too little memory": (tmp_path / "o", Options(align="none", memory=10**8), OptionError, "--memory"),
        "a project that is none": (tmp_path / "o", Options(project=str(tmp_path / "bad.pto")), HuginError, "bad.pto"),
    }


@pytest.mark.parametrize("kind", [
    "the folder of the photos", "a file", "a folder with results", "a reference that is none", "too little memory",
    "a project that is none",
])  # fmt: skip
def test_what_cannot_be_is_said_before_the_work(tmp_path, still, kind):
    folder, options, error, said = refused(tmp_path, still)[kind]
    before = left(tmp_path)
    with pytest.raises(error, match=said):
        job.make_plan([still], folder, options)
    assert left(tmp_path) == before


def test_a_progressive_photo_too_large_for_the_memory_is_said(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for name in "ab":
        Image.new("RGB", (400, 300)).save(tmp_path / "in" / f"{name}.jpg", progressive=True)
    monkeypatch.setattr("geosr.burst.photos.decoder_bytes", lambda photo: 2 * 10**9)
    with pytest.raises(OptionError, match="progressive JPEG"):
        job.make_plan([tmp_path / "in"], tmp_path / "out", NONE)


def test_a_disk_that_is_too_small_is_said_before_the_work(tmp_path, still, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    with pytest.raises(OutputError, match="are needed"):
        stacked(still, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong", [{"align": "magic"}, {"methods": ()}, {"methods": ("best",)}, {"crop": "all"}, {"depth": 12}, {"scale": 0}]
)
def test_options_that_are_impossible_are_refused(wrong):
    with pytest.raises(OptionError):
        Options(**wrong)


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")
@pytest.mark.parametrize(
    ("script", "why"), [("sleep 60", "did not end"), ("kill -9 $$", "signal 9"), ("exit 0", "control points")]
)
def test_hugin_that_fails_is_one_clear_error_and_nothing_is_left(tmp_path, still, monkeypatch, script, why):
    for tool in hugin.TOOLS:
        fake_tool(tmp_path / "bin", tool, script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(BurstError, match=why), pools.threads(2) as pool:
        stacked(still, tmp_path / "out", Options(time_limit=0.3), pool=pool)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_real_bursts_align(shared, tmp_path):
    need_hugin()
    with pools.threads(2) as pool:
        said = stacked(shared / "bursts" / "dji_drone", tmp_path / "drone", Options(methods=("robust",)), pool=pool)
        assert [frame["name"] for frame in said["frames"] if not frame["partial"]] == ["22.jpg", "23.jpg", "24.jpg"]
        assert all(0.4 <= frame["local"] < 0.8 for frame in said["frames"] if frame["partial"])
        sharpened = Options(methods=("robust",), sharpen=1.0)
        said = stacked(shared / "bursts" / "maitek", tmp_path / "maitek", sharpened, pool=pool)
    assert said["kept"] == 8
    assert said["spectrum"]["detail near Nyquist, dB"] > 1
    assert said["spectrum"]["detail to noise near Nyquist, dB"] > 4


@pytest.mark.slow
def test_known_shifts_are_found(shared, tmp_path):
    """Ten float32 frames of 150 x 108 with published shifts."""
    need_hugin()
    folder = shared / "bursts" / "linsr"
    shifts = np.loadtxt(folder / "shifts_fig1.txt")
    (tmp_path / "in").mkdir()
    for i in range(10):
        with rasterio.open(f"GTIFF_DIR:{i + 1}:{folder / 'bridge_sequence_fig1.tif'}") as page:
            block, profile = page.read(), {**page.profile, "driver": "GTiff"}
        with rasterio.open(tmp_path / "in" / f"{i:02d}.tif", "w", **profile) as out:
            out.write(block)
    said = stacked(tmp_path / "in", tmp_path / "out", Options(reference="00.tif", keep_all=True))
    assert said["kept"] == 10
    found = np.array([frame["shift"] for frame in said["frames"]])
    assert np.abs(found - (shifts - shifts[0])).max() < 0.1 or np.abs(found + (shifts - shifts[0])).max() < 0.1


def test_a_world_file_beside_an_image_goes_with_an_older_one_or_is_a_reason_to_refuse(still, tmp_path):
    (tmp_path / "out").mkdir()
    beside = tmp_path / "out" / "mean.wld"
    beside.write_text("1\n0\n0\n-1\n100\n200\n")
    with pytest.raises(OutputError, match=r"mean\.wld' would be taken for a part of the output"):
        stacked(still, tmp_path / "out", NONE)
    beside.unlink()
    stacked(still, tmp_path / "out", NONE)
    beside.write_text("1\n0\n0\n-1\n100\n200\n")
    stacked(still, tmp_path / "out", NONE, overwrite=True)
    with rasterio.open(tmp_path / "out" / "mean.tif") as image:
        assert image.transform.is_identity
