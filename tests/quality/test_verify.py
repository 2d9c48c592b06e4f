import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner

from geosr.cli.main import main
from geosr.errors import RasterError
from geosr.quality.verify import verify_output
from geosr.superresolve.job import super_resolve
from geosr.superresolve.options import Options
from tests.conftest import texture

BICUBIC = Options(model="bicubic", scale=2)


def off(report):
    return [check.name for check in report.checks if not check.ok]


@pytest.fixture
def pair(make_raster, tmp_path):
    """A scene with a hole and its enlargement."""
    array = texture(2, 300, 280, dtype="uint16", low=100, high=3000)
    array[:, 100:140, 50:90] = 0
    source = make_raster(array, nodata=0)
    with rasterio.open(source, "r+") as out:
        out.update_tags(MISSION="one")
        out.descriptions = ("red", "nir")
    super_resolve(source, tmp_path / "out.tif", BICUBIC)
    return source, tmp_path / "out.tif"


def rewritten(path, change=lambda block: block, **profile):
    """The raster with other pixels, or another profile, and the same tags."""
    with rasterio.open(path) as was:
        block, kept, tags = was.read(), was.profile | profile, was.tags()
        descriptions = was.descriptions
    with rasterio.open(path, "w", **kept) as out:
        out.write(change(block))
        out.update_tags(**tags)
        out.descriptions = descriptions


def test_what_was_made_is_what_it_claims(pair):
    report = verify_output(*pair)
    assert report.ok
    assert report.recomputed == 0
    assert report.bounds_error < 1e-9
    assert max(map(abs, report.shift)) <= 0.02
    assert report.invalid_before == pytest.approx(report.invalid_after, abs=0.005)


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({"bands": (2, 1)}, {}),
        ({"window": (20, 30, 200, 150)}, {}),
        ({"dtype": "float32"}, {}),
        ({"range": (0, 500)}, {}),
        ({"format": "COG"}, {}),
        ({"creation": {"COMPRESS": "ZSTD"}}, {}),
        ({"scale": 3}, {}),
        ({"consistent": "area"}, {}),
        ({"consistent": "sensor", "window": (20, 30, 200, 150)}, {}),
        ({}, {"dtype": "float32", "nodata": np.nan}),
        ({}, {"alpha": "YES", "photometric": "RGB"}),
    ],
)
def test_outputs_of_any_options_are_what_they_claim(make_raster, random_idn, tmp_path, options, more):
    dtype = more.get("dtype", "uint8")
    array = texture(4, 260, 240, dtype=dtype, low=10, high=240)
    if "alpha" in more:
        array[3] = np.where(np.tri(260, 240, -50), 0, 255)
    source = make_raster(array, **{"nodata": None, **{k: v for k, v in more.items() if k != "dtype"}})
    super_resolve(source, tmp_path / "out.tif", Options(**{"model": "bicubic", "scale": 2, **options}))
    report = verify_output(source, tmp_path / "out.tif", windows=4)
    assert report.ok, report.checks
    assert report.recomputed is not None


@pytest.mark.parametrize("ending", ["nc", "png", "jp2"])
def test_what_a_format_cannot_keep_is_not_missed_and_what_it_can_is(make_raster, tmp_path, ending):
    source, output = make_raster(texture(3, 200, 200, low=10, high=240), photometric="RGB"), tmp_path / f"out.{ending}"
    super_resolve(source, output, BICUBIC)
    assert verify_output(source, output).ok
    if ending == "png":
        output.with_name("out.png.aux.xml").unlink()
        assert "metadata" in off(verify_output(source, output))


def test_radiometry_that_was_not_kept_is_found(make_raster, tmp_path):
    source, output = make_raster(texture(2, 200, 200, low=10, high=240)), tmp_path / "out.tif"
    super_resolve(source, output, Options(model="bicubic", scale=2, consistent="area"))
    report = verify_output(source, output)
    assert report.ok
    assert report.unlike <= 0.5
    rewritten(output, lambda block: block + (np.arange(400) == 199).astype("uint8") * 3)
    report = verify_output(source, output)
    assert "radiometry" in off(report)
    assert report.unlike == pytest.approx(1.5, abs=0.5)


def test_a_network_of_one_s_own_is_computed_again_when_it_is_given(make_raster, random_idn, tmp_path):
    source, model = make_raster(texture(1, 150, 150)), str(random_idn())
    super_resolve(source, tmp_path / "out.tif", Options(model=model))
    assert verify_output(source, tmp_path / "out.tif").recomputed is None
    assert verify_output(source, tmp_path / "out.tif", model=model).recomputed <= 1


def test_a_picture_that_moved_by_a_tenth_of_a_pixel_is_found(make_raster, tmp_path):
    """The true shift is that of a Fourier phase ramp."""
    array = texture(1, 256, 256, dtype="float32")
    source = make_raster(array)
    super_resolve(source, tmp_path / "out.tif", BICUBIC)
    rows = np.fft.fftfreq(512)[:, None]

    def move(block):
        return np.fft.ifft2(np.fft.fft2(block) * np.exp(-2j * np.pi * rows * 0.2)).real.astype("float32")

    rewritten(tmp_path / "out.tif", move)
    report = verify_output(source, tmp_path / "out.tif")
    assert report.shift[0] == pytest.approx(0.1, abs=0.03)
    assert report.shift[1] == pytest.approx(0, abs=0.02)
    assert {"shift", "computed again"} <= set(off(report))


@pytest.mark.parametrize(
    ("change", "profile", "found"),
    [
        (None, {"transform": Affine(5, 0, 400_001, 0, -5, 5_000_000)}, "bounds"),
        (None, {"crs": "EPSG:32634"}, "metadata"),
        (lambda block: np.roll(block, 1, axis=2), {}, "shift"),
        (lambda block: block + (block > 0).astype("uint16") * 90, {}, "consistency"),
        (lambda block: np.where(np.indices(block.shape)[1] < 300, block, block * 0 + 700), {}, "computed again"),
        (lambda block: np.maximum(block, 1), {}, "invalid pixels"),
    ],
)
def test_what_is_off_is_found(pair, change, profile, found):
    source, output = pair
    rewritten(output, change or (lambda block: block), **profile)
    assert found in off(verify_output(source, output))


def test_tags_that_were_dropped_are_found(pair):
    source, output = pair
    with rasterio.open(output, "r+") as out:
        out.update_tags(MISSION="other")
        out.descriptions = ("", "nir")
    assert verify_output(source, output).missing == ["some tags", "the descriptions of the bands"]


def test_an_enlargement_by_another_program_is_compared(make_raster, tmp_path):
    source = make_raster(texture(1, 200, 200))
    with rasterio.open(source) as scene:
        large = scene.read(out_shape=(1, 400, 400), resampling=rasterio.enums.Resampling.cubic)
        profile = scene.profile | {
            "width": 400, "height": 400, "transform": scene.transform @ Affine.scale(0.5)
        }  # fmt: skip
    with rasterio.open(tmp_path / "other.tif", "w", **profile) as out:
        out.write(large)
    report = verify_output(source, tmp_path / "other.tif")
    assert report.ok, report.checks
    assert (report.model, report.recomputed) == (None, None)
    assert {check.name: check.ok for check in report.checks}["computed again"] is None
    done = CliRunner().invoke(main, ["verify", str(source), str(tmp_path / "other.tif")])
    assert "skipped computed again  the model is not at hand" in done.output
    assert done.exit_code == 0


def test_rasters_that_do_not_belong_together_are_told(make_raster):
    with pytest.raises(RasterError, match="has 60 x 50 pixels, which is no multiple of the 59 x 50 of"):
        verify_output(make_raster(texture(1, 50, 59), "a.tif"), make_raster(texture(1, 50, 60), "b.tif"))


def test_a_raster_is_not_the_super_resolution_of_itself(make_raster):
    path = make_raster(texture(1, 50, 59), "a.tif")
    with pytest.raises(RasterError, match="is no larger than"):
        verify_output(path, path)


def test_invalid_pixels_are_counted_in_the_part_that_was_super_resolved(make_raster, tmp_path):
    block = texture(1, 80, 80)
    block[:, :, :40] = 0
    source = make_raster(block, "half.tif", nodata=0)
    super_resolve(source, tmp_path / "part.tif", Options(model="bicubic", window=(40, 0, 40, 80)))
    report = verify_output(source, tmp_path / "part.tif")
    assert (report.invalid_before, report.invalid_after) == (0, 0)


def test_the_command_says_it_and_returns_1_when_something_is_off(pair):
    source, output = map(str, pair)
    done = CliRunner().invoke(main, ["verify", source, output])
    assert done.exit_code == 0
    assert "ok      shift" in done.output
    rewritten(output, lambda block: np.roll(block, 2, axis=1))
    done = CliRunner().invoke(main, ["verify", source, output, "--json"])
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["ok"] is False
    assert told["shift"][0] == pytest.approx(1, abs=0.1)


def test_tags_that_geosr_does_not_write_are_told(pair):
    source, output = pair
    with rasterio.open(output, "r+") as out:
        out.update_tags(GEOSR_RANGE="everything")
    with pytest.raises(RasterError, match=r"the GEOSR_ tags of .* are not those that geosr writes"):
        verify_output(source, output)


def test_a_nodata_value_that_nobody_chose_is_found(make_raster, tmp_path):
    source = make_raster(texture(1, 100, 100))
    super_resolve(source, tmp_path / "out.tif", BICUBIC)
    with rasterio.open(tmp_path / "out.tif", "r+") as out:
        out.nodata = 255
    assert verify_output(source, tmp_path / "out.tif").missing == ["the nodata value"]
    super_resolve(source, tmp_path / "chosen.tif", Options(model="bicubic", nodata=255, dtype="uint16"))
    assert verify_output(source, tmp_path / "chosen.tif").ok


def test_outputs_with_skipped_blocks_are_what_they_claim(make_raster, tmp_path):
    source = make_raster(texture(1, 200, 200), nodata=0, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    with rasterio.open(source) as written:
        offset = int(written.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    data = bytearray(source.read_bytes())
    data[offset : offset + 60] = b"\xff" * 60
    source.write_bytes(data)
    super_resolve(source, tmp_path / "out.tif", Options(model="bicubic", skip_errors=True))
    assert verify_output(source, tmp_path / "out.tif").ok


@pytest.mark.slow
def test_compression_with_loss_has_its_tolerance_and_lossless_none(make_raster, tmp_path):
    source = make_raster(texture(3, 300, 300), photometric="RGB")
    super_resolve(source, tmp_path / "lossy.tif", Options(model="bicubic", creation={"COMPRESS": "JPEG"}))
    assert verify_output(source, tmp_path / "lossy.tif").ok
    super_resolve(source, tmp_path / "lerc.tif", Options(model="bicubic", creation={"COMPRESS": "LERC"}))
    assert verify_output(source, tmp_path / "lerc.tif").ok
    rewritten(tmp_path / "lerc.tif", lambda block: np.where(np.indices(block.shape)[1] < 300, block, 0))
    assert "computed again" in off(verify_output(source, tmp_path / "lerc.tif"))


@pytest.mark.parametrize("dtype", ["uint32", "int8", "float64"])
def test_wide_noise_is_what_it_claims(make_raster, random_idn, tmp_path, dtype):
    low, high = (0, 2e9) if dtype == "uint32" else (-128, 127) if dtype == "int8" else (-1.7e308, 1.7e308)
    array = np.where(np.random.default_rng(0).random((1, 150, 150)) < 0.5, low, high).astype(dtype)
    source = make_raster(array)
    super_resolve(source, tmp_path / "out.tif", BICUBIC)
    assert verify_output(source, tmp_path / "out.tif").ok


def test_json_has_no_infinity(make_raster, tmp_path):
    source = make_raster(texture(1, 100, 100, dtype="float32"))
    super_resolve(source, tmp_path / "out.tif", BICUBIC)
    rewritten(tmp_path / "out.tif", lambda block: np.where(block > 100, np.nan, block).astype("float32"))
    done = CliRunner().invoke(main, ["verify", str(source), str(tmp_path / "out.tif"), "--json"])
    assert json.loads(done.stdout, parse_constant=pytest.fail)["recomputed"] is None


def test_masks_are_looked_at_with_gdal_s_eyes(make_raster, tmp_path):
    """A pixel of the output just beside nodata, which GDAL takes for it, and one that is infinite."""
    source = make_raster(texture(1, 60, 50, dtype="float32", low=1, high=200), nodata=-9999)
    super_resolve(source, tmp_path / "out.tif", BICUBIC)
    assert verify_output(source, tmp_path / "out.tif").ok
    for value in (np.nextafter(np.float32(-9999), np.float32(0)), np.inf, np.nan):
        super_resolve(source, tmp_path / "out.tif", BICUBIC, overwrite=True)
        with rasterio.open(tmp_path / "out.tif", "r+") as out:
            out.write(np.full((1, 1, 1), value, "float32"), window=((40, 41), (30, 31)))
        assert "invalid pixels" in off(verify_output(source, tmp_path / "out.tif"))
