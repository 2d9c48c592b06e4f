"""The command as a whole: what it loads, says and returns."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

import geosr
from geosr.cli import options
from geosr.cli.main import COMMANDS, main
from tests.conftest import DATA, one_line_error, peak_memory, texture

HEAVY = ("tensorflow", "keras", "dask", "rasterio", "numpy", "rich", "cv2", "scipy", "shapely")


def run(*args, **kwargs):
    return CliRunner().invoke(main, [str(arg) for arg in args], **kwargs)


def command(*args, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "geosr", *map(str, args)], capture_output=True, text=True, check=False, **kwargs
    )


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from geosr.cli.main import main\n"
        "try: main(['--help'])\n"
        f"except SystemExit: print('LOADED', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout


def test_bicubic_loads_no_tensorflow(make_raster, tmp_path):
    code = (
        "import sys; from geosr.cli.main import main\n"
        f"try: main(['superresolve', {str(make_raster())!r}, {str(tmp_path / 'o.tif')!r}, '-m', 'bicubic'])\n"
        "except SystemExit: print('LOADED', [name for name in ('tensorflow', 'keras', 'dask') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout


def test_the_public_names_and_commands_are_these():
    assert geosr.__all__ == [
        "Computing",
        "GeosrError",
        "Options",
        "ProgressBar",
        "load",
        "super_resolve",
        "super_resolve_folder",
    ]
    assert all(getattr(geosr, name) for name in geosr.__all__)
    assert COMMANDS == (
        "superresolve",
        "verify",
        "info",
        "compare",
        "burst",
        "dataset",
        "train",
        "evaluate",
        "models",
        "qgis",
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_sentence_and_an_example(name):
    text = run(name, "--help").output
    assert "Example:" in text
    assert f"geosr {name}" in text


def test_a_folder_keeps_names_and_goes_on_after_a_bad_file(make_raster, tmp_path):
    for name in ("a.tif", "b.TIF", "c.tiff", "d.jp2"):
        make_raster(texture(1, 20, 20), name)
    (tmp_path / "notes.tif").write_text("no raster")
    done = command("superresolve", tmp_path, tmp_path / "out", "-m", "bicubic", "-q")
    assert done.returncode == 1
    assert "1 of 4 rasters failed" in done.stderr
    assert "notes.tif" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.tif", "b.TIF", "c.tiff"]


@pytest.mark.slow
def test_a_folder_is_taken_up_where_it_stopped(make_raster, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.tif", "b.tif"):
        make_raster(texture(1, 20, 20), f"in/{name}")
    args = ("superresolve", tmp_path / "in", tmp_path / "out", "-m", "bicubic", "-q")
    assert command(*args).returncode == 0
    (tmp_path / "out" / "b.tif").unlink()
    kept = (tmp_path / "out" / "a.tif").stat().st_mtime_ns
    assert command(*args).returncode == 0
    assert (tmp_path / "out" / "a.tif").stat().st_mtime_ns == kept
    assert (tmp_path / "out" / "b.tif").exists()
    done = command(*args, "--scale", "3")
    assert "exists" in done.stderr
    assert done.returncode == 1


@pytest.mark.slow
def test_a_file_where_a_folder_must_be_is_said(make_raster, tmp_path):
    source = make_raster()
    for output in (source, tmp_path / "new.tif"):
        assert "a file's name, but INPUT is a folder" in one_line_error(command("superresolve", tmp_path, output))


def test_a_missing_input_is_said_before_what_is_wrong_with_the_output(tmp_path):
    assert "'nothere/'" in one_line_error(command("superresolve", "nothere/", tmp_path / "out2"))


@pytest.mark.slow
def test_wrong_creation_options_are_refused_whatever_is_said(make_raster, tmp_path):
    for said in ([], ["-v"], ["-qq"]):
        args = (make_raster(), tmp_path / "o.tif", "-m", "bicubic", "--co", "COMPRESS=BANANA")
        assert "COMPRESS=BANANA" in one_line_error(command("superresolve", *args, *said))


@pytest.mark.slow
def test_a_dry_run_tells_what_will_be_needed_and_does_nothing(make_raster, tmp_path):
    array = texture(3, 300, 200, low=1)
    array[:, :, 128:] = 0
    source = make_raster(array, nodata=0)
    before = sorted(tmp_path.iterdir())
    args = ("superresolve", source, tmp_path / "o.tif", "-m", "bicubic", "--tile", "64", "--dry-run")
    done = command(*args)
    assert done.returncode == 0, done.stderr
    assert "400 x 600 pixels of 5 x 5, 3 bands of uint8, GTiff" in done.stdout
    assert "20 tiles of 64 x 64 input pixels, about 50% of them empty" in done.stdout
    assert all(word in done.stdout for word in ("memory about", "disk   about", "time   about"))
    told = json.loads(command(*args, "--json").stdout)
    assert (told["width"], told["height"], told["tiles"], told["empty"]) == (400, 600, 20, 0.5)
    assert told["output"] == str(tmp_path / "o.tif")
    assert told["seconds"] > 0
    assert sorted(tmp_path.iterdir()) == before
    done = command("superresolve", tmp_path, tmp_path / "new" / "out", "-m", "bicubic", "--dry-run")
    assert "scene.tif: 400 x 600" in done.stdout, done.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_blocks_that_cannot_be_read_are_one_line_or_exit_status_3(make_raster, tmp_path):
    (tmp_path / "in").mkdir()
    blocks = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    source = make_raster(texture(1, 200, 200), "in/a.tif", nodata=0, **blocks)
    with rasterio.open(source) as written:
        offset = int(written.get_tag_item("BLOCK_OFFSET_1_2", "TIFF", bidx=1))
    data = bytearray(source.read_bytes())
    data[offset : offset + 60] = b"\xff" * 60
    source.write_bytes(data)
    args = ("-m", "bicubic", "-q")
    error = one_line_error(command("superresolve", source, tmp_path / "o.tif", *args))
    assert "a.tif', band 1, rows 128 to 192, columns 64 to 128" in error
    done = command("superresolve", source, tmp_path / "o.tif", *args, "--skip-errors", "--json")
    assert done.returncode == 3
    assert "a.tif: 1 blocks could not be read and are nodata in" in done.stderr
    assert json.loads(done.stdout)["unreadable"] == [{"band": 1, "window": [64, 128, 64, 64]}]
    assert command("superresolve", tmp_path / "in", tmp_path / "out", *args, "--skip-errors").returncode == 3


def test_a_folder_in_another_format_has_names_that_fit(make_raster, tmp_path):
    (tmp_path / "in").mkdir()
    make_raster(texture(1, 20, 20), "in/a.tif")
    done = command("superresolve", tmp_path / "in", tmp_path / "out", "-m", "bicubic", "-f", "HFA", "-q")
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "out" / "a.img") as out:
        assert (out.driver, out.shape) == ("HFA", (40, 40))


def test_an_empty_folder_is_said(tmp_path):
    (tmp_path / "in").mkdir()
    assert "no .jp2 files" in one_line_error(
        command("superresolve", tmp_path / "in", tmp_path / "out", "--ext", ".jp2")
    )


def bad_inputs(make_raster, tmp_path):
    good = make_raster(texture(1, 20, 20))
    palette = make_raster(texture(1, 20, 20), "palette.tif")
    with rasterio.open(palette, "r+") as out:
        out.write_colormap(1, {0: (0, 0, 0, 255)})
    complex_ = make_raster(texture(1, 20, 20, dtype="complex64"), "complex.tif")
    text = tmp_path / "text.tif"
    text.write_text("no raster")
    there = tmp_path / "there.tif"
    there.write_text("mine")
    out = tmp_path / "out.tif"
    return {
        "a missing file": (tmp_path / "missing.tif", out),
        "no raster": (text, out),
        "a palette": (palette, out),
        "complex numbers": (complex_, out),
        "wrong bands": (good, out, "--bands", "2"),
        "a file that is no model": (good, out, "--model", text.with_suffix(".keras")),
        "an unknown model": (good, out, "--model", "best"),
        "an output that exists": (good, there),
        "no folder": (good, tmp_path / "no" / "out.tif"),
        "a folder as output": (good, tmp_path),
        "luma of one band": (good, out, "--bands-mode", "luma", "--model", "idn"),
    }


KINDS = [
    "a missing file", "no raster", "a palette", "complex numbers", "wrong bands", "a file that is no model",
    "an unknown model", "an output that exists", "no folder", "a folder as output", "luma of one band",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_is_one_line_and_leaves_nothing(make_raster, tmp_path, kind):
    args = bad_inputs(make_raster, tmp_path)[kind]
    before = sorted(path.name for path in tmp_path.iterdir())
    done = command("superresolve", *args, *([] if "--model" in args else ["-m", "bicubic"]))
    assert len(one_line_error(done)) > 30
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "args",
    [
        ["--bands", "0"],
        ["--bands", "1,,a"],
        ["--range", "5,1"],
        ["--co", "COMPRESS"],
        ["--scale", "1"],
        ["--dtype", "bit"],
        ["--window", "1,2,3"],
        ["--bounds", "a,b,c,d"],
        ["--memory", "lots"],
    ],
)
def test_a_misused_option_is_exit_status_2(make_raster, tmp_path, args):
    done = run("superresolve", make_raster(), tmp_path / "o.tif", *args)
    assert done.exit_code == 2
    assert args[0] in done.output


@pytest.mark.skipif(os.name == "nt", reason="folders have no mode bits on Windows")
def test_a_folder_without_permission_is_said(make_raster, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.geteuid() == 0:  # whom mode bits do not stop
        locked = Path("/proc/self")
    assert "cannot write to" in one_line_error(command("superresolve", make_raster(), locked / "o.tif"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a limit on file size stands in for a full disk, on Linux")
@pytest.mark.parametrize("limit", [20_000, 200_000])
def test_a_full_disk_is_said_and_leaves_nothing_under_the_name(make_raster, tmp_path, limit):
    import resource

    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    source, output = make_raster(texture(3, 300, 300)), tmp_path / "o.tif"
    done = command("superresolve", source, output, "-m", "bicubic", "--tile", "128", preexec_fn=small_files)
    one_line_error(done)
    assert not output.exists()
    done = command("superresolve", source, output, "-m", "bicubic", "--tile", "128")
    assert done.returncode == 0, done.stderr
    with rasterio.open(output) as out:
        assert out.read().any()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux gives it")
def test_peak_memory_does_not_grow_with_the_scene(make_raster, tmp_path):
    """Four times the rows, 144 MB more in the output: no more memory but for GDAL's cache, which fills."""
    peaks = []
    for rows in (2000, 8000):
        source = make_raster(np.tile(texture(3, 500, 500), (1, rows // 500, 4)), tiled=True, compress="deflate")
        args = ("-m", "bicubic", "--tile", "256", "--overwrite", "-q")
        peaks.append(peak_memory("superresolve", source, tmp_path / "o.tif", *args))
    assert peaks[0] < 600e6
    assert peaks[1] < peaks[0] + 100e6


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to a child on Windows")
def test_ctrl_c_is_130_and_leaves_nothing_under_the_name(make_raster, tmp_path):
    source, output = make_raster(texture(3, 1500, 1500)), tmp_path / "o.tif"
    args = [sys.executable, "-m", "geosr", "superresolve", os.fspath(source), os.fspath(output), "-m", "bicubic"]
    child = subprocess.Popen([*args, "--tile", "64"], stderr=subprocess.PIPE, text=True)
    child.stderr.readline()
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    rest = child.stderr.read()
    assert child.wait() == 130, rest
    assert "Traceback" not in rest
    assert not output.exists()


@pytest.mark.parametrize(
    ("text", "size"), [("800MB", 800_000_000), ("1.5GiB", 1_610_612_736), ("700", 700_000_000), ("2g", 2_000_000_000)]
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert options.Size().convert(text, None, None) == size


@pytest.mark.slow
def test_progress_is_plain_lines_off_a_terminal_and_none_when_quiet(make_raster, tmp_path):
    source = make_raster()
    done = command("superresolve", source, tmp_path / "o.tif", "-m", "bicubic")
    assert "1 of 1 tiles" in done.stderr
    assert "\x1b" not in done.stderr
    assert done.stdout == ""
    done = command("superresolve", source, tmp_path / "o.tif", "-m", "bicubic", "-q", "--overwrite")
    assert (done.stderr, done.stdout) == ("", "")


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_progress_is_a_bar_on_a_terminal(make_raster, tmp_path):
    import pty

    leader, follower = pty.openpty()
    args = [sys.executable, "-m", "geosr", "superresolve", make_raster(texture(1, 200, 200)), tmp_path / "o.tif"]
    child = subprocess.Popen([*map(os.fspath, args), "-m", "bicubic", "--tile", "64"], stderr=follower)
    os.close(follower)
    shown = b""
    while True:
        try:
            data = os.read(leader, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    assert child.wait() == 0
    assert b"16/16" in shown
    assert b"Mpx/s" in shown


def test_models_are_listed_with_what_they_are_for():
    text = run("models").output
    assert "bicubic" in text
    assert "idn" in text
    assert '"sha256"' in run("models", "--json").output


@pytest.mark.slow
def test_the_whole_road_from_scenes_to_a_sharper_scene(make_raster, tmp_path):
    """dataset, train, superresolve: the three commands as a new user types them."""
    for i in range(3):
        make_raster(texture(3, 120, 120, seed=i), f"s{i}.tif", crs=None)
    data, runs = tmp_path / "out", tmp_path / "runs"
    done = command("dataset", *tmp_path.glob("s*.tif"), data, "--size", "48", "-q")
    assert "tiles for training" in done.stdout, done.stderr
    done = command("train", data, runs, "--epochs", "2", "--batch", "4", "--crop", "16", timeout=300)
    assert done.stdout.strip().endswith("span_x2.keras"), done.stderr
    assert "epoch 2 of 2: loss" in done.stderr
    model = runs / "x2" / "span_x2.keras"
    done = command("superresolve", tmp_path / "s0.tif", tmp_path / "y.tif", "--model", model)
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "y.tif") as out:
        assert (out.count, out.shape) == (3, (240, 240))


@pytest.mark.slow
def test_a_shipped_network_is_sharper_than_bicubic_on_a_scene_it_never_saw(tmp_path):
    """The NEON sample, shrunk by two and super-resolved: closer to the truth than bicubic."""
    from geosr.rasters.radiometry import to_dtype
    from geosr.rasters.resample import shrink

    with rasterio.open(DATA / "neon_osbs_rgb.tif") as scene:
        truth, profile = scene.read(), scene.profile
    low = to_dtype(shrink(truth, 2), "uint8")
    profile |= {"width": low.shape[2], "height": low.shape[1]}
    with rasterio.open(tmp_path / "low.tif", "w", **profile) as out:
        out.write(low)
    errors = {}
    for model in ("idn", "bicubic"):
        assert command("superresolve", tmp_path / "low.tif", tmp_path / f"{model}.tif", "-m", model).returncode == 0
        with rasterio.open(tmp_path / f"{model}.tif") as made:
            errors[model] = np.mean((made.read().astype(float) - truth)[:, 8:-8, 8:-8] ** 2)
    assert 10 * np.log10(errors["bicubic"] / errors["idn"]) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["IDN_x2.caffemodel"])
def test_published_weights_are_imported(shared, tmp_path, name):
    target = tmp_path / "idn.keras"
    done = command("models", "import", shared / "published_idn" / name, target)
    assert done.stdout.strip() == str(target), done.stderr
    assert "exists" in one_line_error(command("models", "import", shared / "published_idn" / name, target))
    nowhere = tmp_path / "no" / "idn.keras"
    assert "cannot write" in one_line_error(command("models", "import", shared / "published_idn" / name, nowhere))
