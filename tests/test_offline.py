"""Nothing is ever sent: every command runs where there is no network, and no system call tries to reach one."""

import re
import shutil
import subprocess
import sys

import pytest

from tests.conftest import texture
from tests.photographs import frames, moves, save_burst

NOWHERE = ["unshare", "--map-root-user", "--net"]
TRACER = ["strace", "--follow-forks", "--trace=connect,sendto", "--output"]


def can_watch():
    """Return True if a program can be run in a network namespace of its own, and its system calls be watched."""
    if not (shutil.which("unshare") and shutil.which("strace")):
        return False
    return not subprocess.run([*NOWHERE, *TRACER, "/dev/null", "true"], capture_output=True, check=False).returncode


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not can_watch(), reason="needs strace (apt-get install strace) and network namespaces for users"
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("offline")


@pytest.mark.parametrize(
    "line",
    [
        "superresolve scene.tif out.tif",
        "superresolve scene.tif idn.tif --model idn --backend openvino",
        "superresolve scene.tif plain.tif --model bicubic --stac",
        "verify scene.tif out.tif",
        "info scene.tif",
        "compare scene.tif out.tif --output page.html --windows 1",
        "evaluate span scene.tif",
        "dataset scene.tif set --size 32 --validation 0",
        "train set runs --epochs 1 --batch 2 --crop 16",
        "models --json",
        "qgis plugin geosr.zip",
        "burst photos stack --align none",
        "--version",
    ],
    ids=lambda line: "_".join(line.split()[:3]),
)
def test_no_command_reaches_for_the_network(make_raster, folder, line):
    if not (folder / "scene.tif").exists():
        shutil.copy2(make_raster(texture(1, 96, 96)), folder / "scene.tif")
        save_burst(folder / "photos", frames(moves(3)))
    done, calls = watched(line, folder)
    assert done.returncode == 0, done.stderr
    assert not calls


def test_the_watch_sees_what_reaches_for_the_network(folder):
    done, calls = watched("info http://192.0.2.1/scene.tif", folder)
    assert done.returncode == 1
    assert calls


def watched(line, folder):
    """Return a command's end, and its system calls with addresses of the internet."""
    log = folder / "calls.txt"
    command = [*NOWHERE, *TRACER, log, sys.executable, "-m", "geosr", *line.split()]
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, check=False)
    return done, re.findall(".*AF_INET.*", log.read_text())
