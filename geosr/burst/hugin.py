"""Hugin's command-line tools: control points out, projects in and out. The only module that runs other programs.

An exit status of 0 is not taken for success: what a tool was to make is looked at. Each call has a time limit, and
what the tools say goes to a log.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Any

import numpy as np

from geosr.errors import HuginError
from geosr.grid import Block

TOOLS = ("align_image_stack", "cpclean", "pto_var", "autooptimiser")
INSTALL = {
    "linux": "sudo apt-get install hugin-tools",
    "darwin": "brew install --cask hugin",
    "win32": "winget install Hugin.Hugin",
}
SETTINGS = (
    ("-s", "1", "-c", "12", "-g", "5", "--corr=0.8"),
    ("-s", "1", "-c", "20", "-g", "4", "--corr=0.6"),
    ("-s", "2", "-c", "30", "-g", "3", "--corr=0.5"),
)
"""Settings of align_image_stack, from strict to easy: scale, points a cell, cells, correlation."""
KEEP_ALL_POINTS = ("-t", "1000")
"""align_image_stack prunes without regard to outliers and may leave nothing: that is done outside."""
FIELD_OF_VIEW = 50.0
"""Degrees, if a photo does not say; align_image_stack's own."""
GRACE = 2.0
"""Seconds for a tool that is asked to stop."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image line of a project."""

    path: str
    width: int
    height: int


class Hugin:
    """Runs the tools; a context manager that leaves none running."""

    def __init__(self, log: Path, *, time_limit: float) -> None:
        self.log = log
        self.time_limit = time_limit
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock, self._closed = Lock(), False

    def __enter__(self) -> Hugin:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            running = list(self._running)
        for child in running:
            _kill(child)

    def control_points(self, reference: Path, frame: Path, settings: Sequence[str]) -> tuple[Block, Block]:
        """Points (n, 2) of the reference and of the frame that align_image_stack takes for the same.

        Both images must be gray TIFFs of 8 bits in plain strips. Points are columns and rows, whole at pixel centres.
        """
        project = frame.with_suffix(".pto")
        project.unlink(missing_ok=True)
        options = ["--align-to-first", *settings, *KEEP_ALL_POINTS, "-p", project.name]
        # It ends with 1 for images without features too, and with 0 for images that share none.
        self.run("align_image_stack", *options, reference, frame.name, cwd=frame.parent, good=(0, 1))
        return read_points(project) if project.exists() else (np.zeros((0, 2)), np.zeros((0, 2)))

    def optimised(self, project: Path) -> None:
        """Cleans the project's control points and lets Hugin find where its images point."""
        self.run("cpclean", "-o", project.name, project.name, cwd=project.parent)
        self.run("pto_var", "--opt=y,p,r", "-o", project.name, project.name, cwd=project.parent)
        self.run("autooptimiser", "-n", "-o", project.name, project.name, cwd=project.parent)

    def remapped(self, project: Path, prefix: Path, count: int) -> list[Path]:
        """The project's images on its canvas, as TIFFs with an alpha band; values are not touched."""
        options = ["--ignore-exposure", "-m", "TIFF_m", "-z", "NONE", "-o", prefix.name]
        self.run("nona", *options, project, cwd=prefix.parent, time_limit=count * self.time_limit)
        images = [prefix.with_name(f"{prefix.name}{i:04d}.tif") for i in range(count)]
        if missing := [path.name for path in images if not path.exists()]:
            raise HuginError(f"nona made no {missing[0]}; look at {os.fspath(self.log)!r}")
        return images

    def run(
        self,
        program: str,
        *options: str | Path,
        cwd: Path,
        time_limit: float | None = None,
        good: Sequence[int] = (0,),
    ) -> None:
        """Run a tool to its end.

        Raises:
            HuginError: it is not installed, fails, is killed, or takes longer than the time limit.
        """
        limit = time_limit or self.time_limit
        command = [find(program), *(os.fspath(option) for option in options)]
        output = cwd / f"{program}.log"
        try:
            with output.open("wb") as log:
                status = self._status(command, log, cwd, limit)
            if status is None:
                raise HuginError(f"{program} did not end within {limit:g} seconds; see --time-limit")
        finally:
            words = output.read_text(errors="replace")
            with self._lock, self.log.open("a") as log_of_all:
                log_of_all.write(f"$ {' '.join(command)}\n{words}\n")
        if status not in good:
            what = f"was killed by signal {-status}" if status < 0 else f"failed with status {status}"
            last = [line.strip() for line in words.splitlines() if line.strip()][-1:]
            raise HuginError(": ".join([f"{program} {what}", *last])[:300])

    def _status(self, command: Sequence[str], log: IO[bytes], cwd: Path, limit: float) -> int | None:
        """The exit status of a command; None if it was ended after so many seconds."""
        with self._lock:
            if self._closed:
                raise HuginError(f"{command[0]} was not started: the job is ending")
            child = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **_apart())
            self._running.add(child)
        try:
            return child.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _kill(child)
            with self._lock:
                self._running.discard(child)


def find(program: str) -> str:
    """Where a tool is.

    Raises:
        HuginError: it is not installed.
    """
    program_path = shutil.which(program)
    if program_path is None:
        install = INSTALL.get(sys.platform, INSTALL["linux"])
        raise HuginError(f"Hugin's {program} is not installed; install it with: {install}, or use --align none")
    return program_path


def read_points(project: Path) -> tuple[Block, Block]:
    """The control points (n, 2) between a project's first two images."""
    pattern = re.compile(r"c n0 N1 x(\S+) y(\S+) X(\S+) Y(\S+)")
    rows = [match.groups() for line in _lines(project) if (match := pattern.match(line))]
    points = np.array(rows, float).reshape(-1, 4)
    return points[:, :2], points[:, 2:]


def read_images(project: Path) -> list[Image]:
    """The images of a project.

    Raises:
        HuginError: it is no Hugin project, or has none.
    """
    images = []
    for line in _lines(project):
        sizes, name = re.match(r"i .*?\bw(\d+) .*?\bh(\d+)", line), re.search(r' n"([^"]+)"', line)
        if sizes and name:
            images.append(Image(name[1], int(sizes[1]), int(sizes[2])))
    if not images:
        raise HuginError(f"{os.fspath(project)!r} is not a Hugin project, or has no images; save it again in Hugin")
    return images


def rewritten(project: Path, target: Path, paths: Sequence[Path], scale: int) -> tuple[int, int]:
    """Write the project anew with other paths for its images and a canvas `scale` times as wide; returns its size."""
    names, lines, size = iter(paths), [], (0, 0)
    for line in _lines(project):
        if line.startswith("i ") and ' n"' in line:
            line = re.sub(r' n"[^"]*"', lambda _: f' n"{os.fspath(next(names))}"', line, count=1)
        elif line.startswith("p "):
            width, height = (int(match[1]) for key in "wh" if (match := re.search(rf"\b{key}(\d+)", line)))
            size = width * scale, height * scale
            line = re.sub(r"\bw\d+", f"w{size[0]}", re.sub(r"\bh\d+", f"h{size[1]}", line, count=1), count=1)
            line = re.sub(r" S\d+,\d+,\d+,\d+", lambda crop: _times(crop[0], scale), line)
            line = re.sub(r' n"[^"]*"', ' n"TIFF_m"', line)
        elif line.startswith("m "):
            line = re.sub(r"\bi\d+", "i0", line)
        lines.append(line)
    target.write_text("\n".join(lines) + "\n")
    return size


def write_project(
    project: Path,
    paths: Sequence[str],
    size: tuple[int, int],
    points: Sequence[tuple[Block, Block]],
    *,
    view: float,
    roll: float,
) -> None:
    """A project of images of one size and field of view; `points` are those of the first image and each other one."""
    width, height = size
    wide, high = (height, width) if roll % 180 else (width, height)
    across = 2 * math.degrees(math.atan(math.tan(math.radians(view / 2)) * wide / width))
    canvas = f'p f0 w{wide} h{high} v{across:.6g} E0 R0 n"TIFF_m"'
    lines = ["# hugin project file", "#hugin_ptoversion 2", canvas, "m i0", ""]
    for i, path in enumerate(paths):
        own = f"v{view:.6g}" if not i else "v=0"
        lines.append(f'i w{width} h{height} f0 {own} Eev0 Er1 Eb1 r{roll:g} p0 y0 a0 b0 c0 d0 e0 g0 t0 n"{path}"')
    lines += ["", *(f"v r{i}\nv p{i}\nv y{i}" for i in range(1, len(paths))), "v", ""]
    for i, (here, there) in enumerate(points, 1):
        lines += [
            f"c n0 N{i} x{x:.4f} y{y:.4f} X{u:.4f} Y{v:.4f} t0" for (x, y), (u, v) in zip(here, there, strict=True)
        ]
    project.write_text("\n".join(lines) + "\n")


def field_of_view(focal_35mm: float, width: int, height: int) -> float:
    """Degrees across an image of a lens of this focal length on a frame with the diagonal of 36 x 24 mm."""
    if not focal_35mm:
        return FIELD_OF_VIEW
    across = math.hypot(36, 24) * width / math.hypot(width, height)
    return 2 * math.degrees(math.atan(across / 2 / focal_35mm))


def _times(crop: str, scale: int) -> str:
    return " S" + ",".join(str(int(n) * scale) for n in crop[2:].split(","))


def _lines(project: Path) -> list[str]:
    try:
        return project.read_text(errors="replace").splitlines()
    except OSError as error:
        raise HuginError(f"cannot read the project {os.fspath(project)!r}: {error.strerror}") from error


def _apart() -> dict[str, Any]:
    """A group of its own, so that what a tool has started ends with it, and one thread.

    With several, align_image_stack finds other points each time; frames are aligned side by side instead.
    """
    group = {"creationflags": 0x200} if os.name == "nt" else {"start_new_session": True}
    return {**group, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}


def _kill(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is not None:
        return
    with suppress(ProcessLookupError):
        if os.name == "nt":
            child.kill()
        else:
            os.killpg(child.pid, signal.SIGTERM)
            end = time.monotonic() + GRACE
            while child.poll() is None and time.monotonic() < end:
                time.sleep(0.02)
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()
