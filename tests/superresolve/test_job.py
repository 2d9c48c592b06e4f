import contextlib
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from geosr import pools
from geosr.errors import ModelError, OptionError, OutputError, RasterError
from geosr.parts import Parts
from geosr.superresolve.job import is_done, super_resolve, write
from geosr.superresolve.options import Options
from geosr.superresolve.plan import make_plan
from tests.conftest import texture
from tests.superresolve.helpers import BICUBIC, TILED, damaged, result


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bicubic", "a network"])
def test_the_bytes_do_not_depend_on_the_pool_or_the_batch(make_raster, random_idn, tmp_path, model):
    source = make_raster(texture(3, 200, 210) if model == "bicubic" else texture(1, 100, 110))
    options = Options(model=model if model == "bicubic" else str(random_idn()), tile=64)
    alone = result(source, tmp_path, options).read_bytes()
    with pools.threads(3) as pool:
        assert result(source, tmp_path, options, pool=pool).read_bytes() == alone
        assert result(source, tmp_path, replace(options, batch=4), pool=pool).read_bytes() == alone


def test_an_output_that_exists_is_kept_unless_told(make_raster, tmp_path):
    (tmp_path / "there.tif").write_text("mine")
    with pytest.raises(OutputError, match="exists; choose another output or --overwrite"):
        super_resolve(make_raster(), tmp_path / "there.tif", BICUBIC)
    assert (tmp_path / "there.tif").read_text() == "mine"


def test_the_input_is_never_the_output(make_raster):
    source = make_raster()
    with pytest.raises(OutputError, match="is an input"):
        super_resolve(source, source, BICUBIC, overwrite=True)


def test_a_folder_that_is_not_there_is_said_before_the_work(make_raster, tmp_path):
    with pytest.raises(OutputError, match="there is no folder"):
        super_resolve(make_raster(), tmp_path / "no" / "out.tif", BICUBIC)


def test_a_damaged_input_leaves_no_output_and_keeps_the_finished_parts(make_raster, tmp_path):
    source = damaged(make_raster(texture(1, 640, 640), **TILED), 3, 3)
    with pytest.raises(RasterError, match=r"scene\.tif', band 1, rows 192 to 256, columns 192 to 256"):
        super_resolve(source, tmp_path / "out.tif", replace(BICUBIC, tile=64))
    assert not (tmp_path / "out.tif").exists()
    # The 22 tiles before the one whose halo meets the block.
    assert len(list((tmp_path / ".out.tif.geosr").glob("*.part"))) == 22


def test_a_changed_input_is_not_mixed_with_old_parts(make_raster, tmp_path):
    source, output = make_raster(), tmp_path / "out.tif"
    with contextlib.suppress(RuntimeError):
        super_resolve(source, output, replace(BICUBIC, tile=32), progress=stop_at(2))
    assert list((tmp_path / ".out.tif.geosr").glob("*.part"))
    make_raster(texture(3, 50, 60, seed=9))
    with pytest.raises(OutputError, match=r"another job: size and time of the input's files differ; .*--restart"):
        super_resolve(source, output, replace(BICUBIC, tile=32))
    super_resolve(source, output, replace(BICUBIC, tile=32), restart=True)


def test_a_cancelled_job_goes_on_where_it_stopped_and_gives_the_same_bytes(make_raster, tmp_path):
    source = make_raster(texture(2, 150, 130))
    options = replace(BICUBIC, tile=32)
    whole = result(source, tmp_path, options).read_bytes()
    output = tmp_path / "taken_up.tif"
    for after in (3, 9, 14):
        with pytest.raises(RuntimeError):
            super_resolve(source, output, options, progress=stop_at(after))
        assert not output.exists()
    seen = []
    super_resolve(source, output, options, progress=lambda done, total: seen.append(done))
    assert seen[0] >= 13
    assert seen == sorted(seen)
    assert output.read_bytes() == whole
    assert [path.name for path in tmp_path.glob(".*")] == []


def stop_at(done_tiles):
    def progress(done, total):
        if done >= done_tiles:
            raise RuntimeError("stop")

    return progress


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_under_the_name_and_is_taken_up_to_the_same_bytes(make_raster, tmp_path):
    source = make_raster(texture(3, 900, 800))
    options = replace(BICUBIC, tile=64)
    whole = result(source, tmp_path, options).read_bytes()
    output = tmp_path / "killed.tif"
    command = [
        sys.executable,
        "-m",
        "geosr",
        "superresolve",
        os.fspath(source),
        os.fspath(output),
        "-m",
        "bicubic",
        "--tile",
        "64",
    ]
    rng = np.random.default_rng(0)
    kills = 0
    for _ in range(40):
        run = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        time.sleep(0.5 + rng.random())
        if run.poll() is not None:
            break
        run.send_signal(signal.SIGKILL)
        run.wait()
        kills += 1
        assert not output.exists() or output.read_bytes() == whole
    run.wait()
    assert kills
    if not output.exists():
        subprocess.run(command, check=True)
    assert output.read_bytes() == whole


def test_two_jobs_do_not_write_one_output(make_raster, tmp_path):
    source, output = make_raster(), tmp_path / "out.tif"
    with Parts(output, {}), pytest.raises(OutputError, match="is being made by another process"):
        super_resolve(source, output, BICUBIC)


def test_a_missing_model_is_said_before_the_work(make_raster, tmp_path):
    with pytest.raises(ModelError, match=r"no model 'nothing\.keras'"):
        super_resolve(make_raster(), tmp_path / "out.tif", Options(model="nothing.keras"))
    assert not list(tmp_path.glob(".*"))


def test_lossy_compression_happens_once(make_raster, tmp_path):
    source = make_raster(texture(3, 60, 60), photometric="RGB")
    options = replace(BICUBIC, creation={"COMPRESS": "JPEG", "PHOTOMETRIC": "YCBCR"})
    with rasterio.open(result(source, tmp_path, options)) as out:
        lossy = out.read().astype(float)
        assert out.compression.value == "JPEG" or out.profile["compress"] == "jpeg"
    with rasterio.open(result(source, tmp_path)) as out, rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=120, height=120, count=3, dtype="uint8", tiled=True, blockxsize=256, blockysize=256,
            compress="jpeg", photometric="ycbcr",
        ) as once:  # fmt: skip
            once.write(out.read())
        with memory.open() as once:
            assert (once.read() == lossy).all()


def test_sparse_outputs_are_whole(make_raster, tmp_path):
    source = make_raster(np.zeros((1, 600, 600), "uint8"))
    with rasterio.open(result(source, tmp_path, replace(BICUBIC, creation={"SPARSE_OK": "TRUE"}))) as out:
        assert out.shape == (1200, 1200)


@pytest.mark.slow
def test_a_model_file_that_changes_is_read_again(make_raster, random_idn, tmp_path):
    from geosr import models

    path = tmp_path / "m.keras"
    source = make_raster(texture(1, 20, 20))
    pixels = []
    for seed in (0, 1):
        model = models.load(random_idn())
        model.set_weights([w * (1 + seed * 0.2) for w in model.get_weights()])
        models.save(model, path)
        with rasterio.open(result(source, tmp_path, Options(model=str(path)), restart=True)) as out:
            pixels.append(out.read())
    assert (pixels[0] != pixels[1]).any()


@pytest.mark.slow
def test_a_network_is_loaded_once_by_many_threads(make_raster, random_idn, tmp_path, monkeypatch):
    from geosr.models import runtimes

    loads = []
    load_one = runtimes.load
    path = tmp_path / "once.keras"
    path.write_bytes(random_idn().read_bytes())
    options = Options(model=str(path), tile=32)
    source = make_raster(texture(1, 100, 100))
    make_plan(source, options)
    monkeypatch.setattr(runtimes, "load", lambda *args, **kwargs: loads.append(args) or load_one(*args, **kwargs))
    with pools.threads(4) as pool:
        result(source, tmp_path, options, pool=pool)
    assert len(loads) == 1


def test_a_job_that_failed_without_a_part_does_not_stand_in_the_way(make_raster, tmp_path, monkeypatch):
    source, output = make_raster(), tmp_path / "out.tif"
    with pytest.raises(RuntimeError):
        super_resolve(source, output, BICUBIC, progress=stop_at(0))
    assert not list(tmp_path.glob(".*"))
    super_resolve(source, output, replace(BICUBIC, creation={"COMPRESS": "LZW"}))


def test_a_finished_output_is_known_again_until_its_input_changes(make_raster, tmp_path):
    source = make_raster()
    output = result(source, tmp_path)
    assert is_done(make_plan(source, BICUBIC), output)
    assert not is_done(make_plan(source, replace(BICUBIC, scale=3)), output)
    assert not is_done(make_plan(source, replace(BICUBIC, window=(0, 0, 60, 50), overviews=True)), output)
    os.utime(source, (time.time() + 60, time.time() + 60))
    assert is_done(make_plan(source, BICUBIC), output)
    make_raster(texture(3, 50, 60, seed=9))
    os.utime(source, (1, 1))
    assert not is_done(make_plan(source, BICUBIC), output)


@pytest.mark.parametrize("kind", ["float32", "mask", "alpha", "uint16"])
def test_what_cannot_be_read_is_marked_however_the_raster_marks(make_raster, tmp_path, kind):
    bands = 4 if kind == "alpha" else 1
    array = texture(bands, 200, 200, dtype=kind if kind in ("float32", "uint16") else "uint8")
    more = {"photometric": "RGB", "alpha": "YES"} if kind == "alpha" else {}
    if kind == "alpha":
        array[3] = 255
    source = make_raster(array, **TILED, **more)
    if kind == "mask":
        with rasterio.open(source, "r+") as out:
            out.write_mask(np.ones((200, 200), bool))
    damaged(source, 1, 1)
    options = replace(BICUBIC, skip_errors=True)
    if kind == "uint16":
        with pytest.raises(OptionError, match="--skip-errors needs a value for what cannot be read"):
            make_plan(source, options)
        options = replace(options, nodata=7)
    with rasterio.open(result(source, tmp_path, options)) as out:
        seen = np.isfinite(out.read(1)) if kind == "float32" else out.dataset_mask() > 0
        wanted = np.ones((400, 400), bool)
        wanted[128:256, 128:256] = False
        assert (seen == wanted).all()


def test_damage_found_before_an_interruption_is_told_after_it(make_raster, tmp_path):
    source = damaged(make_raster(texture(1, 200, 200), nodata=0, **TILED), 0, 0)
    options = replace(BICUBIC, skip_errors=True, tile=50)
    with pytest.raises(RuntimeError):
        write(make_plan(source, options), tmp_path / "out.tif", progress=stop_at(9))
    assert len(write(make_plan(source, options), tmp_path / "out.tif")) == 1


def test_without_resume_the_bytes_are_the_same_and_no_parts_are_kept(make_raster, tmp_path):
    source, options = make_raster(texture(2, 150, 130)), replace(BICUBIC, tile=32)
    whole = result(source, tmp_path, options).read_bytes()
    seen = set()

    def look(done, total):
        seen.update(path.name for path in (tmp_path / "out" / ".result.tif.geosr").glob("*.part"))

    assert result(source, tmp_path, options, resume=False, progress=look).read_bytes() == whole
    assert not seen


def test_files_beside_the_output_never_take_the_place_of_the_input_s(make_raster, tmp_path):
    scene = tmp_path / "scene.dat"
    rasterio.shutil.copy(make_raster(), scene, driver="ENVI")
    header = (tmp_path / "scene.hdr").read_bytes()
    with pytest.raises(OutputError, match=r"scene\.hdr' belongs to the input and would be replaced"):
        super_resolve(scene, tmp_path / "scene.bil", replace(BICUBIC, format="ENVI"))
    (tmp_path / "other.hdr").write_text("precious")
    with pytest.raises(OutputError, match=r"other\.hdr' exists and would be replaced"):
        super_resolve(scene, tmp_path / "other.bil", replace(BICUBIC, format="ENVI"))
    assert (tmp_path / "scene.hdr").read_bytes() == header
    assert (tmp_path / "other.hdr").read_text() == "precious"
    super_resolve(scene, tmp_path / "new.bil", replace(BICUBIC, format="ENVI"))
    super_resolve(scene, tmp_path / "new.bil", replace(BICUBIC, format="ENVI"), overwrite=True)


def test_no_part_of_the_input_is_the_output(make_raster, tmp_path):
    source = make_raster()
    rasterio.shutil.copy(source, tmp_path / "a.vrt", driver="VRT")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(source, "scene.tif")
    for path, output in ((tmp_path / "a.vrt", source), (f"/vsizip/{tmp_path}/a.zip/scene.tif", tmp_path / "a.zip")):
        with pytest.raises(OutputError, match="is an input, or a part of one"):
            super_resolve(path, output, BICUBIC, overwrite=True)


@pytest.mark.parametrize(
    "change", [{"dtype": "float32"}, {"nodata": 7}, {"creation": {"COMPRESS": "ZSTD"}}, {"overviews": True}]
)
def test_an_output_of_other_options_is_not_done(make_raster, tmp_path, change):
    source = make_raster()
    output = result(source, tmp_path)
    assert is_done(make_plan(source, BICUBIC, output), output)
    assert not is_done(make_plan(source, replace(BICUBIC, **change), output), output)


def flipped(path, other):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def swapped(path, other):
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)


def vrt(path, other):
    copy = path.parent.parent / "copy.tif"
    copy.write_bytes(path.read_bytes())
    path.unlink()
    rasterio.shutil.copy(copy, path, driver="VRT")


def linked(path, other):
    copy = path.parent.parent / "copy.tif"
    path.rename(copy)
    path.symlink_to(copy)


def pipe(path, other):
    path.unlink()
    os.mkfifo(path)


def emptied(path, other):
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [flipped, swapped, vrt, linked, pipe, emptied])
def test_a_part_that_was_changed_is_made_again(make_raster, tmp_path, caplog, harm):
    source, output = make_raster(texture(1, 100, 100)), tmp_path / "o.tif"
    options = replace(BICUBIC, tile=32)
    whole = result(source, tmp_path, options).read_bytes()
    with pytest.raises(RuntimeError):
        super_resolve(source, output, options, progress=stop_at(5))
    harm(*sorted((tmp_path / ".o.tif.geosr").glob("*.part"))[:2])
    super_resolve(source, output, options)
    assert output.read_bytes() == whole
    assert "was damaged and is made again" in caplog.text


@pytest.mark.parametrize("change", ["in place", "by another file", "by an older file"])
def test_an_input_that_changes_during_the_job_gives_no_output(make_raster, tmp_path, change):
    source, output = make_raster(texture(1, 100, 100)), tmp_path / "o.tif"
    status = source.stat()

    def progress(done, total):
        if done == total // 2 and change == "in place":
            data = bytearray(source.read_bytes())
            data[-1] ^= 1
            source.write_bytes(data)
            os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
        elif done == total // 2:
            other = source.with_name("other")
            other.write_bytes(source.read_bytes())
            older = 10**12 if change == "by an older file" else 0
            os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns - older))
            other.replace(source)

    with pytest.raises(RasterError, match="changed while it was read"):
        super_resolve(source, output, replace(BICUBIC, tile=32), progress=progress)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scene.tif"]


def test_an_output_that_another_job_finished_in_the_meantime_is_kept(make_raster, tmp_path):
    source, output = make_raster(), tmp_path / "o.tif"
    job = make_plan(source, BICUBIC, output)
    super_resolve(source, output, BICUBIC)
    before = output.stat()
    with pytest.raises(OutputError, match="exists; choose another output or --overwrite"):
        write(job, output, overwrite=False)
    assert output.stat() == before
    assert list(tmp_path.glob(".*")) == []


def test_other_creation_options_take_up_the_same_parts(make_raster, tmp_path):
    source, output = make_raster(texture(1, 100, 100)), tmp_path / "o.tif"
    with pytest.raises(RuntimeError):
        super_resolve(source, output, replace(BICUBIC, tile=32), progress=stop_at(5))
    counts = []
    options = replace(BICUBIC, tile=32, creation={"COMPRESS": "LZW"})
    super_resolve(source, output, options, progress=lambda done, total: counts.append(done))
    assert counts[0] >= 5
    assert output.read_bytes() == result(source, tmp_path, options).read_bytes()
