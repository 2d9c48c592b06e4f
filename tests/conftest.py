"""Rasters made for the tests, and the real data that lies beside a developer's checkout."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, settings
from rasterio.rpc import RPC

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A script that runs `make test &` ignores SIGINT, and so would the commands that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("geosr", deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("geosr")

DATA = Path(__file__).parents[1] / "data"
# They run in QGIS's Python.
collect_ignore = ["qgis/in_qgis.py", "qgis/in_qgis_window.py"]


@pytest.fixture(autouse=True)
def verbosity():
    """Commands that tests run in their own process set what is logged; the next test finds it as it was."""
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real imagery, where there is one."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real imagery in {folder}, which is not part of the repository")
    return folder


@pytest.fixture
def make_raster(tmp_path):
    """Writes a small GeoTIFF and returns its path; keywords go to rasterio.open."""

    def make(array=None, name="scene.tif", **profile):
        if array is None:
            array = texture(3, 50, 60, seed=1)
        count, height, width = array.shape
        profile = {
            "crs": "EPSG:32633",
            "transform": Affine(10, 0, 400_000, 0, -10, 5_000_000),
            **profile,
        }
        path = tmp_path / name
        with rasterio.open(
            path, "w", driver="GTiff", width=width, height=height, count=count, dtype=array.dtype, **profile
        ) as out:
            out.write(array)
        return path

    return make


def camera(line_off, samp_off, scale):
    """RPCs with these offsets and the same scale for both, otherwise plain."""
    ones = [1.0] * 20
    return RPC(
        height_off=0, height_scale=100, lat_off=50, lat_scale=0.1, long_off=5, long_scale=0.1,
        line_off=line_off, line_scale=scale, samp_off=samp_off, samp_scale=scale,
        line_num_coeff=ones, line_den_coeff=ones, samp_num_coeff=ones, samp_den_coeff=ones,
    )  # fmt: skip


def texture(bands, rows, cols, *, seed=0, dtype="uint8", low=0, high=255):
    """Smoothed noise (bands, rows, cols) over the range from `low` to `high`."""
    rng = np.random.default_rng(seed)
    noise = rng.random((bands, rows + 4, cols + 4))
    smooth = sum(noise[:, i : i + rows, j : j + cols] for i in range(5) for j in range(5)) / 25
    smooth = np.clip((smooth - 0.3) / 0.4, 0, 1)
    return (low + smooth * (high - low)).astype(dtype)


def one_line_error(done, code=1):
    """The one line of a finished command's error, of a run that ended with this status."""
    lines = done.stderr.strip().splitlines()
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert [line for line in lines if line.startswith("Error: ")] == lines[-1:]
    return lines[-1]


def soon(seconds):
    """So many seconds, or several times as many where other work keeps the machine busy."""
    return seconds if os.name == "nt" or os.getloadavg()[0] <= (os.cpu_count() or 1) else 8 * seconds


def peak_memory(*args):
    """Bytes that the geosr command with these arguments needs at its peak, in a process of its own; on Linux.

    getrusage does not tell: a new process begins with the peak of the one that started it.
    """
    code = "\n".join(
        [
            "import re; from pathlib import Path; from geosr.cli.main import main",
            f"try: main({[os.fspath(arg) for arg in args]!r})",
            "except SystemExit as end: status = end.code",
            "print(status, re.search('VmHWM: *\\t*(.*) kB', Path('/proc/self/status').read_text())[1])",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, kilobytes = done.stdout.split()[-2:]
    assert status == "0", done.stderr
    return int(kilobytes) * 1024


@pytest.fixture(scope="session")
def random_idn(tmp_path_factory):
    """A function from scale and bands to the path of an IDN with random weights and a residual worth seeing."""
    from geosr import models

    made = {}

    def make(scale=2, bands=1):
        if (scale, bands) not in made:
            path = tmp_path_factory.mktemp("models") / f"random_x{scale}_{bands}.keras"
            model = models.build("idn", scale, bands)
            rng = np.random.default_rng(scale)
            model.set_weights([w + rng.normal(0, 0.02, w.shape) for w in model.get_weights()])
            models.save(model, path)
            made[scale, bands] = path
        return made[scale, bands]

    return make


def pytest_collection_modifyitems(items):
    """The slow tests last."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
