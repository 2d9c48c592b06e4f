"""geosr burst as typed."""

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

from geosr.cli.main import main
from tests.conftest import one_line_error, peak_memory
from tests.photographs import fake_tool, frames, moves, need_hugin, save, save_burst

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs signals and shell scripts")


def command(*args, **kwargs):
    words = [sys.executable, "-m", "geosr", "burst", *map(str, args)]
    return subprocess.run(words, capture_output=True, text=True, check=False, **kwargs)


@pytest.fixture
def still(tmp_path):
    return save_burst(tmp_path / "in", frames([np.eye(3)] * 3, size=(90, 70)))


def left(folder):
    return sorted(os.fspath(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.slow
def test_a_folder_in_and_a_folder_out(tmp_path):
    need_hugin()
    folder = save_burst(tmp_path / "process", frames(moves(3, seed=2)), ending=".jpg")
    done = command(folder, tmp_path / "superresolution")
    assert done.returncode == 0, done.stderr
    assert "3 of 3 photos are used; mean.tif, median.tif, robust.tif" in done.stdout
    assert "align: 3 of 3 photos" in done.stderr
    assert "Warning" not in done.stderr
    with rasterio.open(tmp_path / "superresolution" / "robust.tif") as out:
        assert out.width > 780


@pytest.mark.slow
def test_files_and_options_as_in_the_help(tmp_path, still):
    photos = sorted(still.iterdir())
    out = tmp_path / "new" / "out"
    args = (
        *photos,
        "-o",
        out,
        "--scale",
        "3",
        "--method",
        "sigma",
        "--method",
        "trimmed",
        "--align",
        "none",
        "--json",
        "-q",
    )
    done = command(*args)
    said = json.loads(done.stdout)
    assert said["outputs"] == ["sigma.tif", "trimmed.tif"]
    assert said["size"] == [270, 210]
    assert done.stderr == ""
    assert {"sigma.tif", "trimmed.tif", "report.json"} <= set(left(out))
    assert "exists" in one_line_error(command(*args))
    assert command(*args, "--overwrite").returncode == 0


@pytest.mark.slow
def test_a_dry_run_says_what_would_be_and_does_nothing(tmp_path, still):
    done = command(still, tmp_path / "out", "--align", "none", "--dry-run")
    assert "1.tif: 90 x 70" in done.stdout
    assert "would write mean.tif" in done.stdout
    told = json.loads(command(still, tmp_path / "out", "--align", "none", "--dry-run", "--json").stdout)
    assert [photo["size"] for photo in told["photos"]] == [[90, 70]] * 3
    assert told["disk"] > 0
    assert not (tmp_path / "out").exists()


def bad_inputs(tmp_path, still):
    photo = frames([np.eye(3)], size=(60, 50))[0]
    (tmp_path / "empty").mkdir()
    save_burst(tmp_path / "one", [photo], ending=".jpg")
    save_burst(tmp_path / "mixed", [photo, photo[:40]])
    save_burst(tmp_path / "cut", [photo, photo], ending=".jpg")
    data = (tmp_path / "cut" / "2.jpg").read_bytes()
    (tmp_path / "cut" / "2.jpg").write_bytes(data[: len(data) // 2])
    save_burst(tmp_path / "text", [photo, photo], ending=".jpg")
    (tmp_path / "text" / "3.jpg").write_text("no photo")
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "out"
    return {
        "an empty folder": ((tmp_path / "empty", out), "no photos"),
        "one photo": ((tmp_path / "one", out), "one photo"),
        "sizes that differ": ((tmp_path / "mixed", out), "2.tif"),
        "a cut photo": ((tmp_path / "cut", out), "2.jpg"),
        "a text called photo": ((tmp_path / "text", out), "3.jpg"),
        "a folder that is a file": ((still, tmp_path / "file"), "is a file"),
        "a folder in a file": ((still, tmp_path / "file" / "out"), "file"),
        "no photos at all": ((tmp_path / "nothing", out), "nothing"),
        "a reference that is none": ((still, out, "--reference", "x.tif"), "x.tif"),
        "a compression that is none": ((still, out, "--co", "COMPRESS=FOO"), "COMPRESS=FOO"),
        "too little memory": ((still, out, "--memory", "100MB"), "--memory"),
    }


BAD = [
    "an empty folder", "one photo", "sizes that differ", "a cut photo", "a text called photo",
    "a folder that is a file", "a folder in a file", "no photos at all", "a reference that is none",
    "a compression that is none", "too little memory",
]  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, still, kind):
    args, said = bad_inputs(tmp_path, still)[kind]
    before = left(tmp_path)
    error = one_line_error(command(*args, *([] if "--align" in args else ["--align", "none"])))
    assert said in error
    assert len(error) > 30
    assert left(tmp_path) == before


@pytest.mark.slow
def test_photos_that_cannot_be_aligned_are_one_line_and_leave_nothing(tmp_path):
    need_hugin()
    images = [frames([np.eye(3)], seed=seed)[0] for seed in (1, 2, 3)]
    folder = save_burst(tmp_path / "in", images)
    error = one_line_error(command(folder, tmp_path / "out", "-qq"))
    assert "no other photo fits" in error
    assert left(tmp_path) == ["in", "in/1.tif", "in/2.tif", "in/3.tif"]


def test_without_hugin_the_command_that_installs_it_is_said(tmp_path, still):
    error = one_line_error(command(still, tmp_path / "out", env={**os.environ, "PATH": "/nowhere"}))
    assert "is not installed" in error
    assert "--align none" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@POSIX
@pytest.mark.parametrize("script", ["sleep 100", "kill -9 $$"])
def test_hugin_that_hangs_or_is_killed_is_one_line(tmp_path, still, script):
    for tool in ("align_image_stack", "cpclean", "pto_var", "autooptimiser"):
        fake_tool(tmp_path / "bin", tool, script)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = command(still, tmp_path / "out", "--time-limit", "1", "-qq", env={**os.environ, "PATH": path}, timeout=60)
    assert "align_image_stack" in one_line_error(done)
    assert not (tmp_path / "out").exists()


@POSIX
def test_a_folder_without_permission_is_said(tmp_path, still):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.geteuid() == 0:  # whom mode bits do not stop
        locked = Path("/proc/self")
    assert "cannot write to" in one_line_error(command(still, locked / "out", "--align", "none"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a limit on file size stands in for a full disk, on Linux")
@pytest.mark.parametrize("limit", [2_000, 20_000, 60_000])
def test_a_full_disk_is_said_and_leaves_no_image(tmp_path, limit):
    import resource

    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    folder = save_burst(tmp_path / "in", frames([np.eye(3)] * 3, size=(300, 200)), ending=".jpg")
    args = (folder, tmp_path / "out", "--align", "none")
    one_line_error(command(*args, preexec_fn=small_files))
    assert not list((tmp_path / "in").glob("*.xml"))
    assert not [name for name in left(tmp_path) if "scratch" in name]
    if (tmp_path / "out").exists():
        assert not [path for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")]
    assert command(*args).returncode == 0


@pytest.mark.slow
@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", ["read", "align", "stack"])
def test_a_signal_is_130_and_leaves_nothing_but_parts(tmp_path, number, stage):
    need_hugin()
    folder = save_burst(tmp_path / "in", frames(moves(6, seed=3), noise=1.0), ending=".jpg")
    args = [sys.executable, "-m", "geosr", "burst", str(folder), str(tmp_path / "out"), "--scale", "6", "-j", "1"]
    child = subprocess.Popen(args, stderr=subprocess.PIPE, text=True)
    for line in child.stderr:
        if line.startswith(f"{stage}:"):
            break
    time.sleep(0.2)
    child.send_signal(number)
    rest = child.stderr.read()
    assert child.wait() == 130, rest
    assert "Traceback" not in rest
    assert not list((tmp_path / "out").glob("[!.]*"))
    assert not [name for name in left(tmp_path) if "scratch" in name]
    if stage != "stack":
        assert not (tmp_path / "out").exists()


def test_misuse_is_exit_status_2(tmp_path):
    for args in (
        [],
        ["one"],
        ["a", "b", "--method", "best"],
        ["a", "b", "--memory", "much"],
        ["a", "b", "--depth", "12"],
    ):
        assert CliRunner().invoke(main, ["burst", *args]).exit_code == 2


@pytest.mark.slow
def test_the_folder_of_the_results_can_be_an_option(tmp_path, still):
    for photos in ([still], sorted(still.glob("*.tif"))):
        done = command(*photos, "-o", tmp_path / "out", "--align", "none", "-m", "mean", "--overwrite", "-q")
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "mean.tif").exists()


def test_originals_are_never_touched(tmp_path, still):
    (still / "extra.png").unlink(missing_ok=True)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in still.iterdir()}
    assert command(still, tmp_path / "out", "--align", "none", "-q").returncode == 0
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in still.iterdir()} == before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux gives it")
def test_memory_is_bounded_whatever_the_size_and_number(tmp_path):
    small = frames([np.eye(3)], size=(500, 400))[0]
    large = np.tile(small, (5, 5, 1))
    (tmp_path / "in").mkdir()
    for i in range(8):
        save(tmp_path / "in" / f"{i}.tif", large, compress="deflate")
    args = ("--align", "none", "--memory", "512MB", "-m", "robust", "-q")
    assert peak_memory("burst", tmp_path / "in", tmp_path / "out", *args) < 512e6
