import re
import subprocess
from dataclasses import asdict, astuple, replace

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from click.testing import CliRunner
from rasterio.enums import ColorInterp, MaskFlags

from geosr.cli.main import main
from geosr.dataset import Options as SetOptions
from geosr.dataset import build
from geosr.errors import OptionError, RasterError
from geosr.grid import Window
from geosr.quality.evaluate import evaluate_model
from geosr.quality.options import Options as ScoreOptions
from geosr.quality.verify import verify_output
from geosr.rasters.resample import enlarge
from geosr.rasters.source import RasterSource, measured
from geosr.superresolve.job import super_resolve, write
from geosr.superresolve.plan import make_plan
from tests.conftest import texture
from tests.superresolve.helpers import BICUBIC, TILED, damaged, holes, result


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint8", 0), ("uint16", 65535), ("int16", -9999), ("float32", -3.4e38), ("float32", np.nan)]
)
def test_nodata_in_is_nodata_out_exactly(make_raster, tmp_path, dtype, nodata):
    array, mask = holes(texture(2, 60, 50, dtype=dtype, low=1, high=200), nodata)
    source = make_raster(array, nodata=nodata)
    with rasterio.open(source) as before, rasterio.open(result(source, tmp_path, replace(BICUBIC, tile=16))) as out:
        assert out.nodata == before.nodata or np.isnan(nodata)
        bad = ~measured(out.read(), nodata)
        assert (bad == mask.repeat(2, 0).repeat(2, 1)).all()


def test_invalid_pixels_never_reach_valid_ones(make_raster, tmp_path):
    """What stands in the holes does not change a valid pixel, tiled or whole."""
    array, mask = holes(texture(1, 60, 50, dtype="float32", low=1, high=200), -9999)
    other = np.where(mask, np.float32(np.nan), array)
    kept = ~mask.repeat(2, 0).repeat(2, 1)
    made = []
    for i, (pixels, nodata) in enumerate([(array, -9999), (other, np.nan)]):
        for tile in (16, 64):
            source = make_raster(pixels, nodata=nodata, name=f"{i}.tif")
            with rasterio.open(result(source, tmp_path, replace(BICUBIC, tile=tile))) as out:
                made.append(out.read(1)[kept])
    for block in made[1:]:
        assert np.allclose(block, made[0], atol=1e-3)
    assert made[0].min() > -50
    assert made[0].max() < 250


def test_a_mask_band_is_carried_over(make_raster, tmp_path):
    source = make_raster(texture(3, 60, 50))
    mask = np.full((60, 50), 255, "uint8")
    mask[20:40, :10] = 0
    with rasterio.open(source, "r+") as out:
        out.write_mask(mask)
    with rasterio.open(result(source, tmp_path, replace(BICUBIC, tile=16))) as out:
        assert MaskFlags.per_dataset in out.mask_flag_enums[0]
        assert (out.dataset_mask() == mask.repeat(2, 0).repeat(2, 1)).all()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["result.tif"]


def test_transparency_is_repeated_and_hides_what_is_under_it(make_raster, tmp_path):
    array = texture(4, 40, 40)
    array[3] = 255
    array[3, 10:20, 10:20] = 0
    clean = array.copy()
    array[:3, 10:20, 10:20] = 0
    clean[:3, 10:20, 10:20] = 255
    outs = []
    for i, pixels in enumerate((array, clean)):
        with rasterio.open(result(make_raster(pixels, f"{i}.tif", photometric="RGB", alpha="YES"), tmp_path)) as out:
            assert out.colorinterp[3] is ColorInterp.alpha
            outs.append(out.read())
    seen = array[3].repeat(2, 0).repeat(2, 1) == 255
    assert (outs[0][3] == np.where(seen, 255, 0)).all()
    assert (outs[0][:, seen] == outs[1][:, seen]).all()


def test_near_infrared_that_is_called_alpha_is_a_band(make_raster, tmp_path, caplog):
    array = texture(4, 40, 40, low=20, high=230)
    source = make_raster(array, photometric="RGB", alpha="YES")
    with rasterio.open(result(source, tmp_path)) as out:
        assert (out.read(4) == np.clip(np.rint(enlarge(array[3], 2)), 0, 255)).all()
        assert ColorInterp.alpha not in out.colorinterp
    assert "band 4 is called alpha but holds an image" in caplog.text
    with rasterio.open(result(source, tmp_path, replace(BICUBIC, alpha="mask"))) as out:
        assert (out.read(4) == array[3].repeat(2, 0).repeat(2, 1)).all()


def test_another_dtype_keeps_nodata_or_is_refused(make_raster, tmp_path):
    source = make_raster(texture(1, 30, 30, dtype="int16", low=1, high=3000), nodata=-1)
    with pytest.raises(OptionError, match="nodata -1 does not fit in uint16; give one that does with --nodata"):
        make_plan(source, replace(BICUBIC, dtype="uint16"))
    with rasterio.open(result(source, tmp_path, replace(BICUBIC, dtype="uint16", nodata=65535))) as out:
        assert (out.nodata, out.dtypes) == (65535, ("uint16",))


def test_another_nodata_value_is_written_into_the_holes(make_raster, tmp_path):
    array, mask = holes(texture(1, 40, 40, dtype="int16", low=1, high=99), -9999)
    with rasterio.open(result(make_raster(array, nodata=-9999), tmp_path, replace(BICUBIC, nodata=0))) as out:
        assert out.nodata == 0
        assert ((out.read(1) == 0) == mask.repeat(2, 0).repeat(2, 1)).all()


def test_numbers_that_are_not_need_a_value_in_integers(make_raster, tmp_path):
    array = texture(1, 20, 20, dtype="float32", low=1, high=200)
    array[0, 5, 5] = np.nan
    source = make_raster(array)
    with pytest.raises(OptionError, match=r"uint8 has no value for pixels that are not a number; .*--nodata"):
        make_plan(source, replace(BICUBIC, dtype="uint8"))
    with rasterio.open(result(source, tmp_path, replace(BICUBIC, dtype="uint8", nodata=0))) as out:
        assert np.argwhere(out.read(1) == 0).tolist() == [[10, 10], [10, 11], [11, 10], [11, 11]]


def test_transparency_hides_pixels_beside_a_nodata_value_too(make_raster, tmp_path):
    array = texture(4, 40, 40, low=1, high=109)
    array[3] = 255
    array[3, 10:20, 10:20] = 0
    array[:3, 10:20, 10:20] = 255
    source = make_raster(array, photometric="RGB", alpha="YES", nodata=0)
    with rasterio.open(result(source, tmp_path)) as out:
        seen = out.read(4) > 0
        assert out.read([1, 2, 3])[:, seen].max() < 115


def test_another_dtype_is_refused_beside_transparency(make_raster):
    array = texture(4, 20, 20)
    array[3] = 255
    source = make_raster(array, photometric="RGB", alpha="YES")
    with pytest.raises(OptionError, match="leave it out with --bands"):
        make_plan(source, replace(BICUBIC, dtype="uint16"))


def test_transparency_that_is_left_out_becomes_a_mask(make_raster, tmp_path):
    array = texture(4, 40, 40)
    array[3] = 255
    array[3, 10:20, 10:20] = 0
    source = make_raster(array, photometric="RGB", alpha="YES")
    with rasterio.open(result(source, tmp_path, replace(BICUBIC, bands=(1, 2, 3)))) as out:
        assert (out.dataset_mask() == array[3].repeat(2, 0).repeat(2, 1)).all()


def test_masks_do_not_depend_on_gdal_s_environment(make_raster, tmp_path, monkeypatch):
    monkeypatch.setenv("GDAL_TIFF_INTERNAL_MASK", "NO")
    source = make_raster(texture(1, 30, 30))
    mask = np.full((30, 30), 255, "uint8")
    mask[:9] = 0
    with rasterio.open(source, "r+") as out:
        out.write_mask(mask)
    output = result(source, tmp_path)
    assert [path.name for path in output.parent.iterdir()] == ["result.tif"]
    with rasterio.open(output) as out:
        assert (out.dataset_mask() == mask.repeat(2, 0).repeat(2, 1)).all()


def test_blocks_that_cannot_be_read_become_nodata_and_are_told(make_raster, tmp_path):
    array = texture(2, 200, 200, low=1, high=200)
    source = damaged(make_raster(array, nodata=0, interleave="band", **TILED), 1, 2)
    job = make_plan(source, replace(BICUBIC, skip_errors=True, tile=50))
    found = write(job, tmp_path / "out.tif")
    assert [(band, astuple(window)) for band, window in found] == [(1, (128, 64, 64, 64))]
    with rasterio.open(tmp_path / "out.tif") as out:
        holes_found = out.read() == 0
        wanted = np.zeros((2, 400, 400), bool)
        wanted[0, 128:256, 256:384] = True
        assert (holes_found == wanted).all()
    # What lies beside the block is as if it were a hole.
    filled = array.copy()
    filled[0, 64:128, 128:192] = 0
    clean = result(make_raster(filled, "clean.tif", nodata=0), tmp_path, replace(BICUBIC, tile=50))
    with rasterio.open(clean) as wanted, rasterio.open(tmp_path / "out.tif") as out:
        assert (wanted.read() == out.read()).all()


def test_each_copy_of_a_band_is_invalid_where_it_cannot_be_read(make_raster):
    source = damaged(make_raster(texture(2, 200, 200), interleave="band", **TILED), 1, 2)
    pixels = RasterSource(source, [1, 2, 1], skip_errors=True).read(Window(0, 0, 200, 200))
    assert not pixels.valid[[0, 2], 64:128, 128:192].any()
    assert pixels.valid.sum() == pixels.valid.size - 2 * 64 * 64


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_valid_pixels_at_the_end_of_the_range_stay_valid(make_raster, tmp_path, dtype):
    top = np.finfo(dtype).max
    array = np.where(np.random.default_rng(0).random((1, 30, 30)) < 0.5, -top, top).astype(dtype)
    with rasterio.open(result(make_raster(array), tmp_path)) as out:
        assert np.isfinite(out.read()).all()


def test_the_mask_is_that_of_the_input_alone(make_raster, tmp_path):
    array = texture(4, 40, 40, low=1)
    array[3] = np.where(np.tri(40, 40, -20), 0, 255)
    array[:3, :5] = 0
    source = make_raster(array, photometric="RGB", alpha="YES", nodata=0)
    mask = np.full((40, 40), 255, "uint8")
    mask[30:] = 0
    with rasterio.open(source, "r+") as out:
        out.write_mask(mask)
    with rasterio.open(source) as before, rasterio.open(result(source, tmp_path)) as after:
        for i in before.indexes:
            assert (after.read_masks(i) == before.read_masks(i).repeat(2, 0).repeat(2, 1)).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_mask_that_cannot_be_read_hides_what_it_may(make_raster, tmp_path, dtype):
    source = make_raster(texture(1, 200, 200, dtype=dtype), **TILED)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(source, "r+") as out:
        out.write_mask(np.random.default_rng(0).random((200, 200)) < 0.5)
    beside = source.with_name("scene.tif.msk")
    with rasterio.open(beside) as written:
        offset = int(written.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    data = bytearray(beside.read_bytes())
    data[offset : offset + 40] = b"\xff" * 40
    beside.write_bytes(data)
    with pytest.raises(RasterError, match=r"cannot read the mask of .*--skip-errors"):
        super_resolve(source, tmp_path / "o.tif", BICUBIC)
    assert write(make_plan(source, replace(BICUBIC, skip_errors=True)), tmp_path / "o.tif")
    with rasterio.open(tmp_path / "o.tif") as out:
        assert not out.dataset_mask()[:128, :128].any()


def test_holes_that_nobody_declared_are_told_of(make_raster, tmp_path, caplog):
    array = texture(1, 60, 60, low=1)
    array[:, :20] = 0
    result(make_raster(array), tmp_path, replace(BICUBIC, nodata=0))
    assert "33.3 % of the valid pixels are 0 and will be moved off it" in caplog.text


def with_nodata(path, text):
    """The raster with a nodata value of this spelling, written by GDAL from a VRT."""
    vrt = path.with_suffix(".vrt")
    rasterio.shutil.copy(path, vrt, driver="VRT")
    head, tag, tail = vrt.read_text().partition("<ColorInterp>")
    vrt.write_text(f"{head}<NoDataValue>{text}</NoDataValue>{tag}{tail}")
    rasterio.shutil.copy(vrt, path.with_name("nodata.tif"), driver="GTiff")
    return path.with_name("nodata.tif")


def gdal_nodata(path):
    """The nodata value as GDAL writes it into a VRT."""
    with rasterio.MemoryFile(ext=".vrt") as memory:
        rasterio.shutil.copy(path, memory.name, driver="VRT")
        return re.search("<NoDataValue>(.*)</NoDataValue>", memory.read().decode())[1]


@pytest.mark.parametrize("format", ["GTiff", "COG"])
@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint64", 2**64 - 1), ("int64", -(2**63) + 2), ("int64", -(2**63)), ("int64", 2**53 + 1)]
)
def test_nodata_of_64_bits_is_exact_from_tag_to_tag(make_raster, tmp_path, dtype, nodata, format):
    array, mask = holes(texture(1, 60, 50, dtype=dtype, low=1, high=200), 0)
    array[0, mask] = nodata
    source = with_nodata(make_raster(array), nodata)
    output = result(source, tmp_path, replace(BICUBIC, tile=16, format=format))
    assert gdal_nodata(output) == str(nodata)
    with rasterio.open(output) as out:
        assert ((out.read_masks(1) == 0) == mask.repeat(2, 0).repeat(2, 1)).all()
        assert (out.read(1)[out.read_masks(1) == 0] == np.array(nodata, dtype)).all()
        assert 0 <= out.read(1)[out.read_masks(1) > 0].max() <= 220
    assert verify_output(source, output).ok


def test_nodata_of_64_bits_can_be_chosen(make_raster, tmp_path):
    output = tmp_path / "out.tif"
    arguments = [str(make_raster(texture(1, 20, 20, dtype="uint64"))), str(output), "--model", "bicubic"]
    done = CliRunner().invoke(main, ["superresolve", *arguments, "--nodata", str(2**64 - 1)])
    assert done.exit_code == 0, done.output
    assert gdal_nodata(output) == str(2**64 - 1)
    assert verify_output(arguments[0], output).ok
    done = CliRunner().invoke(main, ["superresolve", *arguments, "--overwrite", "--nodata", str(2**64)])
    assert "nodata 18446744073709551616 does not fit in uint64" in done.output


def test_floats_beside_a_rounded_tag_are_nodata(make_raster, tmp_path):
    array, mask = holes(texture(1, 60, 50, dtype="float32", low=1, high=200), np.finfo("float32").min)
    source = with_nodata(make_raster(array), "-3.402823e38")
    with rasterio.open(source) as before, rasterio.open(result(source, tmp_path)) as out:
        assert ((before.read_masks(1) == 0) == mask).all()
        assert ((out.read_masks(1) == 0) == mask.repeat(2, 0).repeat(2, 1)).all()
        assert out.read(1)[out.read_masks(1) > 0].min() > -50


@pytest.mark.parametrize(("dtype", "text"), [("uint8", "-9999"), ("uint8", "255.5"), ("int16", "100000")])
def test_a_nodata_value_that_the_type_does_not_hold_is_named(make_raster, tmp_path, caplog, dtype, text):
    result(with_nodata(make_raster(texture(1, 20, 20, dtype=dtype)), text), tmp_path)
    assert f"the nodata value {text}, which {dtype} does not hold, cannot be carried" in caplog.text


# Nodata that the input does not declare: --nodata-in

TOLD = replace(BICUBIC, tile=16, nodata_in=0)


@pytest.fixture
def pair(make_raster, tmp_path):
    """A raster with holes of zeros that it does not declare, and a copy that declares them, by GDAL's own command."""
    array, mask = holes(texture(2, 60, 50, dtype="uint16", low=500, high=4000), 0)
    silent, declared = make_raster(array), tmp_path / "declared.tif"
    subprocess.run(["gdal_translate", "-q", "-a_nodata", "0", silent, declared], check=True)
    return silent, declared, mask


def read(path):
    with rasterio.open(path) as raster:
        return raster.read(), raster.read_masks() > 0, raster.nodata


def test_holes_that_are_told_of_are_as_if_they_were_declared(pair, tmp_path):
    silent, declared, mask = pair
    super_resolve(silent, tmp_path / "a.tif", TOLD)
    super_resolve(declared, tmp_path / "b.tif", replace(TOLD, nodata_in=None))
    (block, shown, nodata), (other, *_) = read(tmp_path / "a.tif"), read(tmp_path / "b.tif")
    assert nodata == 0
    assert (block == other).all()
    assert (shown == ~mask.repeat(2, 0).repeat(2, 1)).all()


def test_verify_knows_of_them(pair, tmp_path):
    silent, _, _ = pair
    super_resolve(silent, tmp_path / "a.tif", TOLD)
    with rasterio.open(tmp_path / "a.tif") as out:
        assert float(out.tags()["GEOSR_NODATA_IN"]) == 0
    report = verify_output(silent, tmp_path / "a.tif")
    assert [check.name for check in report.checks if check.ok is False] == []
    assert report.invalid_before == report.invalid_after > 0
    with rasterio.open(tmp_path / "a.tif", "r+") as out:
        block = out.read()
        block[block == 0] = 600
        out.write(block)
    report = verify_output(silent, tmp_path / "a.tif")
    assert "invalid pixels" in [check.name for check in report.checks if check.ok is False]


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_beside_a_declared_value_both_are_nodata_and_become_the_declared_one(make_raster, tmp_path, dtype):
    array, mask = holes(texture(2, 60, 50, dtype=dtype, low=500, high=4000), 0)
    array[:, 5:9, 5:9] = -9999
    source = make_raster(array, nodata=-9999)
    expected = make_raster(np.where(array == 0, -9999, array).astype(dtype), "expected.tif", nodata=-9999)
    super_resolve(source, tmp_path / "a.tif", TOLD)
    super_resolve(expected, tmp_path / "b.tif", replace(TOLD, nodata_in=None))
    (block, _, nodata), (other, *_) = read(tmp_path / "a.tif"), read(tmp_path / "b.tif")
    assert nodata == -9999
    assert (block == other).all()
    assert ((block == -9999) >= mask.repeat(2, 0).repeat(2, 1)).all()
    assert not [check for check in verify_output(source, tmp_path / "a.tif").checks if check.ok is False]


def test_a_mask_hides_them_too(make_raster, tmp_path):
    array, mask = holes(texture(1, 60, 50, low=1), 0)
    source = make_raster(array)
    shown = np.full(mask.shape[-2:], 255, "uint8")
    shown[:, 40:] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(source, "r+") as raster:
        raster.write_mask(shown)
    super_resolve(source, tmp_path / "a.tif", TOLD)
    expected = (shown > 0) & ~mask.reshape(shown.shape)
    assert (read(tmp_path / "a.tif")[1][0] == expected.repeat(2, 0).repeat(2, 1)).all()
    assert not [check for check in verify_output(source, tmp_path / "a.tif").checks if check.ok is False]


def test_another_value_can_be_written_into_them(pair, tmp_path):
    silent, _, mask = pair
    super_resolve(silent, tmp_path / "a.tif", replace(TOLD, nodata=65535))
    block, _, nodata = read(tmp_path / "a.tif")
    assert nodata == 65535
    assert ((block == 65535) == mask.repeat(2, 0).repeat(2, 1)).all()


def test_a_value_that_the_type_does_not_hold_is_refused(make_raster):
    with pytest.raises(OptionError, match=r"holds uint8, in which there is no -1; change --nodata-in"):
        RasterSource(make_raster(), nodata=-1)


def test_scores_and_training_sets_leave_them_out(pair, tmp_path):
    silent, declared, _ = pair
    scores = [
        asdict(evaluate_model("bicubic", [str(path)], ScoreOptions(nodata_in=nodata)).scenes[0])["methods"]
        for path, nodata in ((silent, 0), (declared, None))
    ]
    assert scores[0] == scores[1]
    counts = [
        build([path], tmp_path / str(nodata), SetOptions(size=16, validation=0, min_valid=0.85, nodata_in=nodata))
        for path, nodata in ((silent, 0), (declared, None))
    ]
    assert counts[0].tiles == counts[1].tiles
    assert counts[0].left_out == counts[1].left_out
    assert sum(counts[0].left_out.values()) > 0


def test_the_commands_take_the_value(pair, tmp_path):
    silent, _, _ = pair
    invoke = CliRunner().invoke
    done = invoke(main, ["info", str(silent), "--nodata-in", "0", "--model", "bicubic"])
    assert "nodata   value 0; " in done.output
    assert "; 0.00% of the values" not in done.output
    out = str(tmp_path / "a.tif")
    done = invoke(main, ["superresolve", str(silent), out, "--nodata-in", "0", "--model", "bicubic"])
    assert done.exit_code == 0, done.output
    assert invoke(main, ["verify", str(silent), out]).exit_code == 0
    assert invoke(main, ["compare", str(silent), out, "-o", str(tmp_path / "page.html")]).exit_code == 0
