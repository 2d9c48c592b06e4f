import contextlib
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geosr.burst import alignment, hugin, photos
from geosr.burst.homography import apply, enlarging
from geosr.burst.hugin import Hugin
from geosr.errors import HuginError
from tests.photographs import SIZE, distance, fake_tool, frames, moves, need_hugin, save_burst

POSIX = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")


@pytest.fixture
def tools(tmp_path):
    with Hugin(tmp_path / "hugin.log", time_limit=60) as running:
        yield running


def ready(tmp_path, matrices):
    save_burst(tmp_path / "in", frames(matrices))
    return [photos.prepare(p, tmp_path / f"room{i}") for i, p in enumerate(photos.scan([tmp_path / "in"]))]


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Puts a tool of a test's own before Hugin's."""

    def put(script, name="align_image_stack"):
        fake_tool(tmp_path / "bin", name, script)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")

    return put


def test_control_points_lie_where_the_frames_moved(tmp_path, tools):
    need_hugin()
    matrices = moves(2, seed=4)
    first, second = ready(tmp_path, matrices)
    here, there = tools.control_points(first.plain, second.plain, hugin.SETTINGS[0])
    k = photos.plain_factor(first.photo.profile)
    here, there = (apply(enlarging(1 / k), points) for points in (here, there))
    assert len(here) > 50
    assert np.median(np.linalg.norm(apply(matrices[1], here) - there, axis=1)) < 0.5
    assert distance(alignment.fit_points(here, there, SIZE).matrix, matrices[1]) < 0.2
    assert "align_image_stack" in tools.log.read_text()


def test_images_that_share_nothing_give_no_fit_whatever_the_exit_status(tmp_path, tools):
    need_hugin()
    images = np.concatenate([frames([np.eye(3)], seed=1), frames([np.eye(3)], seed=2)])
    save_burst(tmp_path / "in", images)
    first, second = (photos.prepare(p, tmp_path / f"r{i}") for i, p in enumerate(photos.scan([tmp_path / "in"])))
    here, there = tools.control_points(first.plain, second.plain, hugin.SETTINGS[0])
    assert alignment.fit_points(here, there, SIZE).problem


def test_a_flat_image_gives_no_points(tmp_path, tools):
    need_hugin()
    flat = np.full((2, SIZE[1], SIZE[0], 3), 100, "uint8")
    save_burst(tmp_path / "in", flat)
    first, second = (photos.prepare(p, tmp_path / f"r{i}") for i, p in enumerate(photos.scan([tmp_path / "in"])))
    with contextlib.suppress(HuginError):  # versions differ in whether they call it a failure
        here, _ = tools.control_points(first.plain, second.plain, hugin.SETTINGS[0])
        assert len(here) < alignment.LEAST_INLIERS


def test_a_project_is_written_optimised_and_read_back(tmp_path, tools):
    need_hugin()
    matrices = moves(3, seed=5)
    folder = save_burst(tmp_path / "in", frames(matrices))
    paths = [str(folder / f"{i}.tif") for i in (1, 2, 3)]
    rng = np.random.default_rng(0)
    here = rng.uniform((10, 10), (SIZE[0] - 10, SIZE[1] - 10), (60, 2))
    project = tmp_path / "kept.pto"
    hugin.write_project(project, paths, SIZE, [(here, apply(m, here)) for m in matrices[1:]], view=50, roll=0)
    tools.optimised(project)
    assert [image.path for image in hugin.read_images(project)] == paths
    assert [(image.width, image.height) for image in hugin.read_images(project)] == [SIZE] * 3
    target = tmp_path / "large.pto"
    assert hugin.rewritten(project, target, [folder / f"{i}.tif" for i in (1, 2, 3)], 2) == (2 * SIZE[0], 2 * SIZE[1])
    made = tools.remapped(target, tmp_path / "remapped", 3)
    images = []
    for path in made:
        with rasterio.open(path) as image:
            assert (image.width, image.height, image.count) == (2 * SIZE[0], 2 * SIZE[1], 4)
            images.append(image.read([1, 2, 3])[:, 100:-100, 100:-100].astype(float))
    assert np.abs(images[1] - images[0]).mean() < 6
    assert images[0].mean() == pytest.approx(frames(matrices)[0][50:-50, 50:-50].mean(), rel=0.03)


def test_the_field_of_view_is_that_of_the_lens():
    assert hugin.field_of_view(18, 36, 24) == pytest.approx(90)
    assert hugin.field_of_view(0, 36, 24) == hugin.FIELD_OF_VIEW


def test_what_is_no_project_is_said(tmp_path):
    (tmp_path / "notes.pto").write_text("hello\n")
    for path in (tmp_path / "notes.pto", tmp_path / "missing.pto"):
        with pytest.raises(HuginError, match=path.name):
            hugin.read_images(path)


def test_without_hugin_the_command_that_installs_it_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HuginError, match=r"install it with: .*hugin.*--align none"):
        hugin.find("align_image_stack")
    assert hugin.INSTALL.get(sys.platform, hugin.INSTALL["linux"])


@POSIX
def test_a_tool_that_hangs_is_ended_with_what_it_started(tmp_path, stand_in):
    stand_in("sleep 300 & echo $! > child; wait")
    with Hugin(tmp_path / "log", time_limit=0.5) as tools, pytest.raises(HuginError, match=r"within 0\.5 seconds"):
        tools.run("align_image_stack", cwd=tmp_path)
    child = int((tmp_path / "child").read_text())
    for _ in range(50):
        if not running(child):
            break
        time.sleep(0.1)
    assert not running(child)


def running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    if shutil.which("ps") and sys.platform == "linux":
        with Path(f"/proc/{process}/stat").open() as stat:
            return stat.read().split()[2] != "Z"
    return True


@POSIX
@pytest.mark.parametrize(
    ("script", "said"), [("echo no memory >&2; exit 3", "status 3: no memory"), ("kill -9 $$", "killed by signal 9")]
)
def test_a_tool_that_fails_is_said_with_its_last_words(tmp_path, stand_in, script, said):
    stand_in(script)
    with Hugin(tmp_path / "log", time_limit=10) as tools, pytest.raises(HuginError, match=said):
        tools.run("align_image_stack", cwd=tmp_path)


@POSIX
def test_success_without_a_result_is_not_believed(tmp_path, stand_in):
    stand_in("exit 0")
    stand_in("exit 0", "nona")
    with Hugin(tmp_path / "log", time_limit=10) as tools:
        here, there = tools.control_points(tmp_path / "a.tif", tmp_path / "b.tif", ())
        assert len(here) == len(there) == 0
        with pytest.raises(HuginError, match=r"nona made no out0000\.tif"):
            tools.remapped(tmp_path / "p.pto", tmp_path / "out", 2)


@POSIX
def test_nothing_runs_on_after_the_end(tmp_path, stand_in):
    import threading

    stand_in("echo $$ > child; sleep 300")
    tools, failed = Hugin(tmp_path / "log", time_limit=100), []

    def work():
        try:
            tools.run("align_image_stack", cwd=tmp_path)
        except HuginError as error:
            failed.append(error)

    with tools:
        thread = threading.Thread(target=work)
        thread.start()
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text().strip():
            time.sleep(0.02)
    thread.join(10)
    assert not thread.is_alive()
    assert failed
    with pytest.raises(HuginError, match="ending"):
        tools.run("align_image_stack", cwd=tmp_path)
