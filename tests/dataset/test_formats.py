"""Sets in the formats of others, read as they read them: tarfile, Pillow, OpenCV; rasterio has the truth."""

import io
import json
import tarfile
import zlib

import cv2
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image

from geosr.cli.main import main
from geosr.dataset import formats, job, records, storage
from geosr.dataset.audit import audit_set
from geosr.dataset.options import Options
from geosr.errors import DatasetError, OptionError, OutputError
from tests.conftest import texture
from tests.dataset.helpers import at


def scenes_of(make_raster, bands=3, dtype="uint8", high=250, count=4):
    return [
        make_raster(
            texture(bands, 64, 64, seed=i, dtype=dtype, high=high), f"s{i}.tif", transform=at(4e5 + 5e3 * i, 5e6)
        )
        for i in range(count)
    ]


def truth(folder, told):
    """Return the pixels (rows, cols, bands) that a description says a tile has."""
    col, row, width, height = told["window"]
    with rasterio.open(folder / told["scene"]) as data:
        assert told["crs"] == data.crs.to_wkt()
        assert rasterio.Affine(*told["transform"]) @ (0, 0) == data.transform @ (col, row)
        return data.read(told["bands"], window=((row, row + height), (col, col + width))).transpose(1, 2, 0)


def same(one, other):
    return all((getattr(one, name) == getattr(other, name)).all() for name in ("gt", "down"))


@pytest.mark.parametrize(
    ("dtype", "bands"), [("uint8", 3), ("uint16", 3), ("uint16", 1), ("uint16", 4), ("float32", 2)]
)
def test_a_tar_file_holds_the_pixels_and_where_they_lie(make_raster, tmp_path, monkeypatch, dtype, bands):
    monkeypatch.setattr(storage, "SHARD_BYTES", 20_000)
    high = 250 if dtype == "uint8" else 60_000
    made = job.build(
        scenes_of(make_raster, bands, dtype, high), tmp_path / "out", Options(size=32, format="webdataset")
    )
    names, count = [], 0
    paths = sorted((tmp_path / "out" / "x2" / "Training").iterdir())
    assert [path.name for path in paths] == [f"geosr-train-{k:06d}.tar" for k in range(len(paths))]
    for path in paths:
        with tarfile.open(path) as tar:
            files = {name: tar.extractfile(name).read() for name in tar.getnames()}
        for key in sorted({name.partition(".")[0] for name in files}):
            # As webdataset groups them: the key is what stands before the first dot.
            content = {name.partition(".")[2]: data for name, data in files.items() if name.startswith(f"{key}.")}
            told = json.loads(content["json"])
            if f := content.get("hr.npy"):
                high_image, low_image = np.load(io.BytesIO(f)), np.load(io.BytesIO(content["lr.npy"]))
            else:
                high_image, low_image = (
                    np.atleast_3d(cv2.imdecode(np.frombuffer(content[f"{n}.png"], np.uint8), cv2.IMREAD_UNCHANGED))
                    for n in ("hr", "lr")
                )
                high_image, low_image = high_image[..., ::-1], low_image[..., ::-1]
            assert high_image.dtype == low_image.dtype == dtype
            assert (high_image == truth(tmp_path, told)).all()
            assert low_image.shape == (16, 16, bands)
            count += 1
            names.append(key)
    assert count == made.tiles["Training"] == len(set(names))
    assert len(paths) > 1


@pytest.mark.parametrize(("dtype", "bands"), [("uint8", 3), ("uint8", 1), ("uint16", 3)])
def test_two_folders_hold_files_of_the_same_names(make_raster, tmp_path, dtype, bands):
    high = 250 if dtype == "uint8" else 60_000
    made = job.build(scenes_of(make_raster, bands, dtype, high), tmp_path / "out", Options(size=32, format="png"))
    folder = tmp_path / "out" / "x2" / "Training"
    assert {path.name for path in folder.iterdir()} == {"HR", "LR", "samples.jsonl"}
    names = sorted(path.name for path in (folder / "HR").iterdir())
    assert names == sorted(path.name for path in (folder / "LR").iterdir())
    told = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert len(told) == len(names) == made.tiles["Training"]
    for entry in told:
        image = cv2.imread(str(folder / "HR" / f"{entry['key']}.png"), cv2.IMREAD_UNCHANGED)
        assert image.dtype == dtype
        assert (np.atleast_3d(image)[..., ::-1] == truth(tmp_path, entry)).all()
        with Image.open(folder / "LR" / f"{entry['key']}.png") as low:
            assert low.size == (16, 16)
            if dtype == "uint8":
                assert low.mode == {1: "L", 3: "RGB"}[bands]
        if dtype == "uint8":
            with Image.open(folder / "HR" / f"{entry['key']}.png") as shown:
                assert (np.atleast_3d(np.asarray(shown)) == truth(tmp_path, entry)).all()


@pytest.mark.parametrize("form", ["webdataset", "png"])
def test_every_format_has_the_samples_splits_digest_and_answers_of_the_others(make_raster, tmp_path, form):
    scenes = scenes_of(make_raster)
    options = {"size": 32, "validation": 0.25, "test": 0.25}
    job.build(scenes, tmp_path / "a", Options(**options, bic_up=False))
    job.build(scenes, tmp_path / "b", Options(**options, format=form))
    for split in storage.TFDS_SPLITS:
        wanted, found = (formats.split(tmp_path / name / "x2", split) for name in "ab")
        assert len(wanted) == len(found) > 0
        for one, other in zip(wanted, found, strict=True):
            assert same(one, other)
            assert (one.scene, one.window, one.range, one.bands) == (
                other.scene,
                other.window,
                other.range,
                other.bands,
            )
            assert (one.crs, one.transform) == (other.crs, other.transform)
    cards = [records.read_card(tmp_path / name / "x2") for name in "ab"]
    assert cards[0]["sha256"] == cards[1]["sha256"]
    audits = [audit_set(tmp_path / name) for name in "ab"]
    assert audits[0].tiles == audits[1].tiles
    assert audits[1].passed
    done = CliRunner().invoke(main, ["dataset", "preview", str(tmp_path / "b"), str(tmp_path / "sheet.png")])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(main, ["dataset", "info", str(tmp_path / "b")])
    assert f" ({form})" in done.output


@pytest.mark.parametrize("form", ["webdataset", "png"])
def test_an_interrupted_set_is_taken_up_and_replaced_only_when_asked(make_raster, tmp_path, monkeypatch, form):
    scenes = scenes_of(make_raster)

    def stop(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(job, "BATCH", 2)
    with pytest.raises(KeyboardInterrupt):
        job.build(scenes, tmp_path / "out", Options(size=32, format=form), progress=stop)
    made, encoded_part = [], job.encoded_part
    monkeypatch.setattr(job, "encoded_part", lambda task, **how: made.append(task) or encoded_part(task, **how))
    job.build(scenes, tmp_path / "out", Options(size=32, format=form))
    assert 0 < len(made) < 8
    job.build(scenes, tmp_path / "other", Options(size=32, format=form))
    files = [
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("out", "other")
    ]
    assert files[0] == files[1]
    with pytest.raises(OutputError, match="holds a training set"):
        job.build(scenes, tmp_path / "out", Options(size=32))
    job.build(scenes, tmp_path / "out", Options(size=32), overwrite=True)
    assert not list((tmp_path / "out").rglob("*.tar")) + list((tmp_path / "out").rglob("*.png"))


def test_what_a_format_does_not_hold_is_refused_before_the_work(make_raster, tmp_path):
    for bands, dtype, told in ((4, "uint8", "4 of uint8"), (1, "float32", "1 of float32"), (3, "int16", "3 of int16")):
        with pytest.raises(OptionError, match=rf"PNG files hold 1 or 3 bands .* {told}; .*--format webdataset"):
            job.build(scenes_of(make_raster, bands, dtype), tmp_path / "out", Options(size=32, format="png"))
    job.build(scenes_of(make_raster, 4), tmp_path / "out", Options(size=32, format="png", each_band=True))
    with pytest.raises(OptionError, match="gzip is for --format tfrecord, got png"):
        Options(format="png", gzip=True)


def test_damaged_files_are_named(make_raster, tmp_path):
    for form in ("webdataset", "png"):
        job.build(scenes_of(make_raster), tmp_path / form, Options(size=32, format=form))
    [tar] = (tmp_path / "webdataset" / "x2" / "Training").iterdir()
    tar.write_bytes(tar.read_bytes()[:5000])
    with pytest.raises(DatasetError, match=r"geosr-train-000000\.tar' is no whole tar|holds \d samples, and the set's"):
        list(formats.split(tmp_path / "webdataset" / "x2", "Training"))
    folder = tmp_path / "png" / "x2" / "Training"
    image = folder / "LR" / "00000001.png"
    image.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"00000001\.png', sample 1: .*no PNG file"):
        list(formats.split(tmp_path / "png" / "x2", "Training"))
    image.unlink()
    with pytest.raises(DatasetError, match=r"LR/00000001\.png' cannot be read: No such file"):
        list(formats.split(tmp_path / "png" / "x2", "Training"))
    image.write_bytes((folder / "HR" / image.name).read_bytes())
    with pytest.raises(DatasetError, match=r"sample 1: .* its images of \(3, 32, 32\) and \(3, 32, 32\) are not of"):
        formats.split(tmp_path / "png" / "x2", "Training").sample(1)
    lines = (folder / "samples.jsonl").read_text().splitlines()
    (folder / "samples.jsonl").write_text("\n".join(lines[:2]))
    with pytest.raises(DatasetError, match="holds 2 samples, and the set's card says 12"):
        formats.split(tmp_path / "png" / "x2", "Training")


def bomb(width, height):
    """Return a PNG whose header says more pixels than anyone has memory for."""
    image = bytearray(cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes())
    image[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    image[29:33] = zlib.crc32(image[12:29]).to_bytes(4, "big")
    return bytes(image)


def test_images_that_unpack_without_end_are_refused(make_raster, tmp_path):
    job.build(scenes_of(make_raster), tmp_path, Options(size=32, format="png"))
    image = tmp_path / "x2" / "Training" / "LR" / "00000001.png"
    image.write_bytes(bomb(2**15, 2**15))
    with pytest.raises(DatasetError, match=r"00000001\.png' has 32768 x 32768 pixels"):
        formats.split(tmp_path / "x2", "Training").sample(1)


@pytest.mark.parametrize("shape", [(2**40, 1, 1), (2**20, 2**20, 3), (1, 1, 1)])
@pytest.mark.parametrize("dtype", ["<f4", "<c16", "|O"])
def test_arrays_of_which_the_header_says_more_than_there_is_are_refused(make_raster, tmp_path, shape, dtype):
    job.build(scenes_of(make_raster, 4), tmp_path, Options(size=32, format="webdataset"))
    [tar, *_] = sorted((tmp_path / "x2" / "Training").iterdir())
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": shape, "fortran_order": False, "descr": dtype})
    content = bytearray(tar.read_bytes())
    at = content.index(b"\x93NUMPY")
    content[at : at + header.tell()] = header.getvalue()
    tar.write_bytes(content)
    with pytest.raises(DatasetError, match=r"it is no sample of geosr: an array of"):
        list(formats.split(tmp_path / "x2", "Training"))


def test_a_member_that_is_longer_than_its_tar_file_is_refused(make_raster, tmp_path):
    job.build(scenes_of(make_raster), tmp_path, Options(size=32, format="webdataset"))
    [tar, *_] = sorted((tmp_path / "x2" / "Training").iterdir())
    with tarfile.open(tar) as file:
        last = file.getmembers()[-1]
    member = tarfile.TarInfo(last.name)
    member.size = 2**40
    content = tar.read_bytes()
    tar.write_bytes(content[: last.offset] + member.tobuf() + content[last.offset_data :])
    with pytest.raises(DatasetError, match=r"is no whole tar file: .* has 1099511627776 bytes"):
        formats.split(tmp_path / "x2", "Training")
