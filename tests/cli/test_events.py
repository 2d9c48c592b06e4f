"""The command as another program runs it: --progress json and --cancel-on-eof."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

import geosr
from geosr.cli.ending import Ending, ending, missing
from tests.conftest import soon, texture
from tests.photographs import frames, moves, save_burst

POSIX = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
SLOW_TILES = ("-m", "bicubic", "--tile", "16", "-j", "1")


def supervised(*args, **kwargs):
    """The geosr command with these arguments, with all its streams as pipes."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    words = [sys.executable, "-m", "geosr", *map(str, args), "--progress", "json", "--cancel-on-eof"]
    return subprocess.Popen(words, text=True, **pipes, **kwargs)


def events_of(child):
    """All events of a child that ends by itself; its standard input stays open meanwhile."""
    told = [json.loads(line) for line in child.stdout]
    child.wait()
    return told


def cancelled(child, *, after):
    """Closes the child's standard input after so many reports of progress; seconds until it has ended."""
    seen = 0
    while seen < after:
        line = child.stdout.readline()
        assert line, child.stderr.read()
        seen += json.loads(line)["event"] == "progress"
    start = time.monotonic()
    child.stdin.close()
    assert child.wait(30) == 130
    seconds = time.monotonic() - start
    errors = child.stderr.read()
    assert "Traceback" not in errors, errors
    return seconds


def left(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_raster_is_told_as_events(make_raster, tmp_path):
    source, output = make_raster(texture(1, 40, 40)), tmp_path / "o.tif"
    child = supervised("superresolve", source, output, "-m", "bicubic", "--tile", "20")
    told = events_of(child)
    assert child.returncode == 0
    assert child.stderr.read() == ""
    assert told[0] == {"event": "start", "command": "superresolve", "version": geosr.__version__}
    steps = told[1:-1]
    assert [step["event"] for step in steps] == ["progress"] * 5
    assert [(step["done"], step["total"]) for step in steps] == [(i, 4) for i in range(5)]
    assert steps[0]["temporary"] == [str(tmp_path / ".o.tif.geosr"), str(tmp_path / ".o.tif.lock")]
    assert told[-1] == {"event": "result", "output": str(output), "model": "bicubic x2", "unreadable": []}


def test_a_training_set_is_told_as_events_with_its_warnings(make_raster, tmp_path):
    scenes = make_raster(texture(1, 64, 64)), make_raster(texture(1, 8, 8), "small.tif")
    child = supervised("dataset", *scenes, tmp_path / "out", "--size", "32", "--validation", "0")
    told = events_of(child)
    assert child.returncode == 0
    assert [one["text"] for one in told if one["event"] == "warning"] == [
        f"1 scenes are smaller than a tile and are passed over: {scenes[1]}"
    ]
    first = next(one for one in told if one["event"] == "progress")
    assert first["temporary"] == [str(tmp_path / "out" / ".x2.geosr"), str(tmp_path / "out" / ".x2.lock")]
    assert first["made"] == [str(tmp_path / "out")]
    assert told[-1]["event"] == "result"
    assert told[-1]["tiles"] == {"Training": 4, "Validation": 0}
    assert told[-1]["folder"] == str(tmp_path / "out" / "x2")


@pytest.mark.slow
def test_a_burst_is_told_as_events_stage_by_stage(tmp_path):
    photos = save_burst(tmp_path / "in", frames(moves(3)), ending=".jpg")
    child = supervised("burst", photos, tmp_path / "out", "--align", "none")
    told = events_of(child)
    assert child.returncode == 0, child.stderr.read()
    labels = [one["label"] for one in told if one["event"] == "progress"]
    assert list(dict.fromkeys(labels)) == ["read", "align", "stack", "write"]
    assert told[-1]["outputs"] == ["mean.tif", "median.tif", "robust.tif"]
    assert told[-1]["kept"] == 3


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["superresolve", "missing.tif", "o.tif"], 1, "missing.tif"),
        (["superresolve", "scene.tif", "o.tif", "--scale", "1"], 2, "--scale"),
        (["superresolve", "scene.tif", "o.tif", "-m", "best"], 1, "there is no model 'best'"),
        (["dataset", "scene.tif", "out", "--size", "17"], 1, "multiple of the scale"),
        (["burst", "missing", "out"], 1, "missing"),
    ],
)
def test_errors_are_events_and_a_line_on_stderr(make_raster, tmp_path, args, code, text):
    make_raster()
    child = supervised(*args, cwd=tmp_path)
    told = events_of(child)
    assert child.returncode == code
    assert [one["event"] for one in told] == ["start", "error"]
    assert text in told[-1]["text"]
    assert told[-1]["text"] in " ".join(child.stderr.read().split())
    assert left(tmp_path) == ["scene.tif"]


def test_a_plan_is_a_result_too(make_raster, tmp_path):
    child = supervised("superresolve", make_raster(), tmp_path / "o.tif", "-m", "bicubic", "--dry-run")
    told = events_of(child)
    assert [one["event"] for one in told] == ["start", "result"]
    assert told[-1]["width"] == 120


@pytest.mark.parametrize("after", [1, 2, 40])
def test_a_cancelled_raster_leaves_nothing_and_ends_within_a_second(make_raster, tmp_path, after):
    source = make_raster(texture(3, 600, 600))
    child = supervised("superresolve", source, tmp_path / "o.tif", *SLOW_TILES)
    assert cancelled(child, after=after) < soon(1)
    assert left(tmp_path) == ["scene.tif"]


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["COG", "PNG"])
def test_a_copy_to_another_format_that_is_cancelled_leaves_nothing(make_raster, tmp_path, format_):
    source = make_raster(texture(3, 1500, 1500))
    child = supervised("superresolve", source, tmp_path / "o.tif", "-m", "bicubic", "--tile", "1500", "-f", format_)
    assert cancelled(child, after=2) < soon(1)
    assert left(tmp_path) == ["scene.tif"]


@pytest.mark.slow
@pytest.mark.parametrize("wait", [0.0, 1.5, 9.0])
def test_a_network_is_stopped_while_it_loads_and_while_it_computes(make_raster, tmp_path, wait):
    source = make_raster(texture(3, 1024, 1024))
    child = supervised("superresolve", source, tmp_path / "o.tif", "--tile", "1024", "-m", "idn")
    seen = ""
    while '"progress"' not in seen:
        seen = child.stdout.readline()
    time.sleep(wait)
    assert cancelled(child, after=0) < soon(3)
    assert left(tmp_path) == ["scene.tif"]


@pytest.mark.slow
def test_a_folder_that_is_cancelled_keeps_what_is_done_alone(make_raster, tmp_path):
    (tmp_path / "in").mkdir()
    make_raster(texture(1, 20, 20), "in/a.tif")
    make_raster(texture(3, 600, 600), "in/b.tif")
    child = supervised("superresolve", tmp_path / "in", tmp_path / "new" / "out", *SLOW_TILES)
    assert cancelled(child, after=12) < soon(1)
    assert left(tmp_path / "new") == ["out", "out/a.tif"]
    (tmp_path / "in" / "a.tif").unlink()
    child = supervised("superresolve", tmp_path / "in", tmp_path / "other" / "out", *SLOW_TILES)
    assert cancelled(child, after=12) < soon(1)
    assert left(tmp_path) == ["in", "in/b.tif", "new", "new/out", "new/out/a.tif"]


@pytest.mark.slow
@pytest.mark.parametrize("there", [True, False])
def test_a_cancelled_training_set_leaves_nothing(make_raster, tmp_path, there):
    source = make_raster(texture(3, 800, 800))
    if there:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "notes.txt").write_text("mine")
    child = supervised("dataset", source, tmp_path / "out", "--size", "16", "-j", "1")
    assert cancelled(child, after=30) < soon(1)
    assert left(tmp_path) == [*(["out", "out/notes.txt"] if there else []), "scene.tif"]


@pytest.mark.parametrize("after", [1, 3, 8])
def test_a_cancelled_burst_leaves_nothing(tmp_path, after):
    photos = save_burst(tmp_path / "in", frames(moves(4), size=(300, 200)), ending=".jpg")
    before = left(tmp_path)
    child = supervised("burst", photos, tmp_path / "new" / "out", "--align", "none", "--scale", "8", "-j", "1")
    assert cancelled(child, after=after) < soon(1)
    assert left(tmp_path) == before


def put_in(folder):
    """What others finish in a folder while a job works there: the output of another job, and a file of the user's."""
    (folder / "x4" / "Training").mkdir(parents=True)
    (folder / "x4" / "Training" / "0.tfrecord").write_text("done")
    (folder / "notes.txt").write_text("mine")
    return ["notes.txt", "x4", "x4/Training", "x4/Training/0.tfrecord"]


@pytest.mark.parametrize("command", ["superresolve", "dataset", "burst"])
def test_what_others_put_in_the_new_folder_of_a_cancelled_job_stays(make_raster, tmp_path, command):
    source, output = tmp_path / "in", tmp_path / "new" / "out"
    source.mkdir()
    if command == "burst":
        save_burst(source, frames(moves(4), size=(300, 200)), ending=".jpg")
        options = ("--align", "none", "--scale", "8", "-j", "1")
    else:
        make_raster(texture(3, 800, 800), "in/a.tif")
        options = SLOW_TILES if command == "superresolve" else ("--size", "16", "-j", "1")
    child = supervised(command, source, output, *options)
    while '"progress"' not in child.stdout.readline():
        assert child.poll() is None, child.stderr.read()
    theirs = put_in(output)
    assert cancelled(child, after=1) < soon(1)
    assert left(output) == theirs
    assert left(tmp_path / "new")[0] == "out"


def test_a_job_that_does_not_end_by_itself_leaves_what_others_made(tmp_path):
    new = tmp_path / "new" / "out"
    end, parts, folders = Ending(), new / ".o.tif.geosr", missing(new)
    parts.mkdir(parents=True)
    (parts / "0.part").write_text("")
    end.holds([parts, new / ".o.tif.lock"], folders)
    theirs = put_in(new)
    end.clear()
    assert left(new) == theirs
    shutil.rmtree(new / "x4")
    (new / "notes.txt").unlink()
    end.clear()
    assert left(tmp_path) == []


@pytest.mark.parametrize("end", [KeyboardInterrupt, None])
def test_an_end_of_which_a_library_makes_another_error_stays_an_end(end):
    """An interrupted import is an ImportError, and a callback's exception one of the library that called it."""
    with pytest.raises(end or ImportError), ending() as job:
        try:
            if end:
                job.stop()
        except KeyboardInterrupt:
            pass
        raise ImportError("numpy.core.multiarray failed to import")


def test_a_folder_in_which_every_raster_fails_does_not_stay(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tif").write_text("no raster")
    child = supervised("superresolve", tmp_path / "in", tmp_path / "new" / "out", "-m", "bicubic")
    assert events_of(child)[-1]["text"] == "1 of 1 rasters failed"
    assert child.returncode == 1
    assert left(tmp_path) == ["in", "in/a.tif"]


@POSIX
def test_a_tool_of_hugin_ends_with_the_burst_that_is_cancelled(tmp_path):
    photos = save_burst(tmp_path / "in", frames(moves(3)), ending=".jpg")
    before, started = left(tmp_path), tmp_path / "bin" / "started"
    (tmp_path / "bin").mkdir()
    for name in ("align_image_stack", "cpclean", "pto_var", "autooptimiser"):
        tool = tmp_path / "bin" / name
        tool.write_text(f"#!/bin/sh\necho $$ >> {started}\nexec sleep 100\n")
        tool.chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    child = supervised("burst", photos, tmp_path / "out", env={**os.environ, "PATH": path})
    while not started.exists() or not started.read_text().endswith("\n"):
        assert child.poll() is None, child.stderr.read()
        time.sleep(0.02)
    assert cancelled(child, after=0) < soon(1)
    for pid in map(int, started.read_text().split()):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    shutil.rmtree(tmp_path / "bin")
    assert left(tmp_path) == before


@pytest.mark.slow
def test_parts_of_an_earlier_run_go_with_one_that_is_cancelled(make_raster, tmp_path):
    source = make_raster(texture(3, 600, 600))
    args = ("superresolve", source, tmp_path / "o.tif", *SLOW_TILES)
    interrupted(supervised(*args), after=5)
    assert list((tmp_path / ".o.tif.geosr").glob("*.part"))
    assert cancelled(supervised(*args), after=3) < soon(1)
    assert left(tmp_path) == ["scene.tif"]


@pytest.mark.slow
@POSIX
def test_a_run_that_is_terminated_is_taken_up_again(make_raster, tmp_path):
    source = make_raster(texture(3, 200, 200))
    args = ("superresolve", source, tmp_path / "o.tif", *SLOW_TILES)
    interrupted(supervised(*args), after=5)
    told = events_of(supervised(*args))
    assert next(one for one in told if one["event"] == "progress")["done"] >= 3
    assert told[-1]["event"] == "result"
    assert left(tmp_path) == ["o.tif", "scene.tif"]


@POSIX
@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_the_tile_of_a_network(make_raster, tmp_path):
    source, output = make_raster(texture(3, 1000, 1000)), tmp_path / "o.tif"
    words = [sys.executable, "-m", "geosr", "superresolve", str(source), str(output), "-m", "idn", "-v"]
    child = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while "0 of 1 tiles" not in child.stderr.readline():
        assert child.poll() is None
    time.sleep(4)  # the network is loaded, and computes the first band
    start = time.monotonic()
    child.send_signal(signal.SIGINT)
    errors = child.communicate(timeout=60)[1]
    assert child.returncode == 130
    assert time.monotonic() - start < 3
    assert errors.splitlines()[-1] == "Interrupted; nothing is half-written."
    assert "Traceback" not in errors
    assert not output.exists()


def interrupted(child, *, after):
    for _ in range(after + 1):
        child.stdout.readline()
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 130
    assert child.stderr.read() == "Interrupted; nothing is half-written.\n"


@pytest.mark.slow
def test_what_another_process_makes_is_not_touched(make_raster, tmp_path):
    source = make_raster(texture(3, 600, 600))
    args = ("superresolve", source, tmp_path / "o.tif", *SLOW_TILES)
    first = supervised(*args)
    for _ in range(5):
        first.stdout.readline()
    second = supervised(*args)
    second.stdin.close()
    second.stdin = None
    told, _ = second.communicate(timeout=30)
    assert "result" not in told
    assert second.returncode in (1, 130)
    assert list((tmp_path / ".o.tif.geosr").glob("*.part"))
    assert events_of(first)[-1]["event"] == "result"


def test_standard_input_that_is_closed_means_nothing_unless_asked_for(make_raster, tmp_path):
    words = [sys.executable, "-m", "geosr", "superresolve", make_raster(), tmp_path / "o.tif", "-m", "bicubic"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == 0


def test_what_is_written_to_standard_input_is_not_its_end(make_raster, tmp_path):
    child = supervised("superresolve", make_raster(), tmp_path / "o.tif", "-m", "bicubic")
    child.stdin.write("go on\n" * 2000)
    child.stdin.flush()
    assert events_of(child)[-1]["event"] == "result"
