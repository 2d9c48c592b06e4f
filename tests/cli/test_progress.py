"""Progress on a terminal, and as one report of many rasters."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from geosr.cli.progress import Rasters
from tests.conftest import texture

terminal = pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")


def on_terminal(*args, until=None, number=signal.SIGINT, cwd=None):
    """The exit status of the command, and what it shows on a terminal; a signal is sent when it shows `until`."""
    import pty

    leader, follower = pty.openpty()
    words = [sys.executable, "-m", "geosr", *map(os.fspath, args)]
    # Tests that run in the background have children that ignore SIGINT, if it is not given back.
    child = subprocess.Popen(
        words, stderr=follower, cwd=cwd, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    )
    os.close(follower)
    shown = b""
    with contextlib.suppress(OSError):
        while data := os.read(leader, 65536):
            shown += data
            if until and until in shown:
                child.send_signal(number)
                until = None
    os.close(leader)
    return child.wait(), shown.decode()


def test_rasters_are_one_report_that_their_tiles_move():
    reports = []
    rasters = Rasters(lambda *report: reports.append(report))
    rasters.count(0, 2)
    tiles = rasters.tiles(3.0)
    tiles(1, 4)  # one tile of an interrupted run
    tiles(2, 4)
    tiles(4, 4)
    rasters.count(1, 2)
    steps, totals, amounts = zip(*reports, strict=True)
    assert list(steps) == sorted(steps)
    assert steps[-1] == 1 > steps[-2]
    assert set(totals) == {2}
    assert amounts == (0.0, 0.0, 3.0, 9.0, 9.0)


@terminal
def test_a_terminal_shows_the_time_so_far_and_the_time_left(make_raster, tmp_path):
    source = make_raster(texture(1, 300, 300))
    status, shown = on_terminal("superresolve", source, tmp_path / "o.tif", "-m", "bicubic", "--tile", "32")
    assert status == 0
    assert "preparing" in shown
    assert re.search(r"100/100.* tiles .*Mpx/s .*\d:\d\d:\d\d.* so far, .*\d:\d\d:\d\d.* left", shown)
    assert re.search(r"o\.tif: 600 x 600 pixels of 5 x 5 metres, [\d.]+ kB, in [\d.]+ s\r\n$", shown)


@terminal
@pytest.mark.slow
def test_a_folder_has_one_bar_and_a_line_for_each_raster(make_raster, tmp_path):
    for name in "abc":
        make_raster(texture(1, 60, 60), f"in_{name}.tif")
    status, shown = on_terminal("superresolve", ".", "out", "-m", "bicubic", cwd=tmp_path)
    assert status == 0
    assert "3/3" in shown
    assert "tiles" not in shown
    for name in "abc":
        # On a line of its own, from which the bar is wiped: rich's end of that is erasing the line.
        assert shown.count(f"\r\x1b[2Kout/in_{name}.tif: 120 x 120 pixels") == 1
    assert "3 rasters written" in shown


@terminal
@pytest.mark.slow
def test_ctrl_c_is_answered_at_once(make_raster, tmp_path):
    source = make_raster(texture(3, 1500, 1500))
    args = "superresolve", source, tmp_path / "o.tif", "--model", "bicubic", "--tile", "32"
    start = time.monotonic()
    status, shown = on_terminal(*args, until=b"Mpx/s")
    assert status == 130
    assert time.monotonic() - start < 60
    assert shown.index("Stopping...") < shown.index("Interrupted; nothing is half-written.")
    assert not (tmp_path / "o.tif").exists()


@terminal
@pytest.mark.slow
def test_sigterm_is_not_told_as_ctrl_c(make_raster, tmp_path):
    source = make_raster(texture(3, 1500, 1500))
    args = "superresolve", source, tmp_path / "o.tif", "--model", "bicubic", "--tile", "32"
    status, shown = on_terminal(*args, until=b"Mpx/s", number=signal.SIGTERM)
    assert status == 130
    assert "Stopping" not in shown
