"""Commands killed at their calls to the file system and given again: the same bytes come, and nothing is left over.

    python -m tests.kills [--kills 600] [--seed 0] [--kinds cog envi] [--keep FOLDER]

Each kind is run once to list its calls; then it is killed (SIGKILL, by strace) at calls that are spread over these, a
third of the times at another one while it is taken up again. Before that an older output is still whole, or the new
one is there. What breaks this is said and kept, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from affine import Affine

from geosr.parts import Parts
from tests import forks

CALLS = (
    "openat,write,pwrite64,pwritev,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,ftruncate,fsync,"
    "fdatasync,link,symlink,flock,close"
)
"""System calls that change what is on a disk, or may."""
CREATED = re.compile(rb'"(created|datetime)": "[^"]*"')
"""What a STAC item says of the time at which it was written."""
AGAIN = 1 / 3
"""Share of kills after which the resumption is killed too."""

Files = Mapping[str, bytes]


class Call(NamedTuple):
    """A system call of a run, by its name and its number among those of this name."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class Kind:
    """A command, which reads `scene.tif` or `scenes/` and writes into `out/`."""

    words: str
    outputs: tuple[str, ...] = ("scene.tif",)
    share: float = 1.0
    """Of the kills, beside other kinds."""
    forked: bool = True
    """False for what starts processes of its own."""


KINDS = {
    "GTiff": Kind("scene.tif out/scene.tif", share=1.5),
    "COG": Kind("scene.tif out/scene.tif --format COG"),
    "ENVI": Kind("scene.tif out/scene.dat --format ENVI", outputs=("scene.dat",)),
    "overviews": Kind("big.tif out/big.tif --overviews --tile 256", outputs=("big.tif",)),
    "stac": Kind("scene.tif out/scene.tif --stac"),
    "no-resume": Kind("scene.tif out/scene.tif --no-resume", share=0.5),
    "folder": Kind("scenes out --stac", outputs=("a.tif", "b.tif", "c.tif"), share=1.5),
    "dask": Kind("scene.tif out/scene.tif --dask local --jobs 2", share=0.06, forked=False),
}
COMMAND = ["superresolve", "--model", "bicubic", "--scale", "2", "--tile", "32"]


def write_scene(path: Path, seed: int, side: int = 70) -> None:
    """Write a small raster with a place, a nodata value, an attribute table of PAM and a date."""
    values = np.random.default_rng(seed).integers(1, 255, (2, side, side - 6), dtype=np.uint8)
    profile = {"driver": "GTiff", "width": side - 6, "height": side, "count": 2, "dtype": "uint8", "nodata": 0}
    with rasterio.open(path, "w", **profile, crs="EPSG:32633", transform=Affine(10, 0, 4e5, 0, -10, 5e6)) as out:
        out.write(values)
        out.update_tags(TIFFTAG_DATETIME="2024:05:06 07:08:09", SCENE=str(seed))
        out.descriptions = ("red", "green")


def set_up(folder: Path) -> None:
    """Write the inputs, and those of older outputs in `older/`."""
    for where, seed in ((folder, 0), (folder / "older", 10)):
        (where / "scenes").mkdir(parents=True)
        write_scene(where / "scene.tif", seed)
        write_scene(where / "big.tif", seed, side=300)
        for number, name in enumerate("abc", 1):
            write_scene(where / "scenes" / f"{name}.tif", seed + number, side=40)


def content(folder: Path) -> Files:
    """Return the files below a folder, folders with a slash, without the time of writing that items hold."""
    return {
        f"{path.relative_to(folder)}{'/' if path.is_dir() else ''}": b"" if path.is_dir() else _timeless(path)
        for path in sorted(folder.rglob("*"))
    }


def _timeless(path: Path) -> bytes:
    return CREATED.sub(b"", path.read_bytes()) if path.suffix == ".json" else path.read_bytes()


@dataclass(frozen=True, slots=True)
class Trial:
    """A kind in a folder of its own, with an older output or without."""

    name: str
    kind: Kind
    folder: Path
    replaces: bool

    @property
    def words(self) -> list[str]:
        return [*COMMAND, *self.kind.words.split(), *(["--overwrite"] if self.replaces else [])]

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def begin(self) -> None:
        """Put the older output into its place."""
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.copytree(self.folder / "before", self.out)

    def run(self, *tracer: str) -> forks.End:
        if self.kind.forked:
            return forks.run(forks.command(self.words), folder=self.folder, tracer=tracer)
        command = [*tracer, sys.executable, "-m", "geosr", *self.words]
        ended = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=300, check=False)
        return forks.End(ended.returncode, ended.stdout + ended.stderr, 0)

    def killed(self, call: Call) -> bool:
        """Run the command until a call; return False if it ended before."""
        inject = f"inject={call.name}:signal=SIGKILL:when={call.number}"
        end = self.run("strace", "-o", os.devnull, "-e", f"trace={call.name}", "-e", inject)
        if end.status not in (0, -9):
            raise AssertionError(f"ended with {end.status} in place of a kill: {end.text}")
        return end.status == -9

    def calls(self) -> list[Call]:
        """Run the command; return those of its calls that concern the output's folder."""
        log = self.folder / "calls.txt"
        end = self.run("strace", "-y", "-o", os.fspath(log), "-e", f"trace={CALLS}")
        assert end.status == 0, end.text
        counts, calls = Counter[str](), []
        for line in log.read_text(errors="replace").splitlines():
            name = line.partition("(")[0]
            counts[name] += 1
            if name in CALLS.split(",") and (os.fspath(self.out) in line or '"out/' in line):
                calls.append(Call(name, counts[name]))
        return calls

    def settled(self) -> Files:
        """Return what is in the folder when each job's journal was opened and closed, in a copy."""
        with tempfile.TemporaryDirectory() as name:
            copy = Path(name) / "out"
            shutil.copytree(self.out, copy, symlinks=True)
            for output in self.kind.outputs:
                with Parts(copy / output, {}, restart=True):
                    pass
            return content(copy)


def per_output(files: Files, outputs: Sequence[str]) -> Iterator[Files]:
    """Return the files of each output."""
    for output in outputs:
        stem = output.partition(".")[0]
        yield {name: text for name, text in files.items() if name.lstrip(".").startswith(f"{stem}.")}


def attempt(trial: Trial, calls: Sequence[Call], call: Call, rng: random.Random, *, old: Files, new: Files) -> int:
    """Kill a command at a call, and have it finish; return the number of kills.

    Raises:
        AssertionError: it says what was wrong.
    """
    trial.begin()
    killed = trial.killed(call)
    kills = int(killed)
    for state in (content(trial.out), trial.settled()):
        for output in trial.kind.outputs:
            if trial.replaces:
                assert state.get(output) in (old[output], new[output]), f"{output} is neither old nor new"
            else:
                assert state.get(output) in (None, new[output]), f"{output} is half-written"
    outputs = trial.kind.outputs
    groups = [per_output(files, outputs) for files in (state, old, new)]
    for output, files, before, after in zip(outputs, *groups, strict=True):
        assert files in (before, after), f"the files of {output} are neither old nor new: {sorted(files)}"
    if killed and content(trial.out) != new and rng.random() < AGAIN:
        killed = trial.killed(rng.choice(calls))
        kills += int(killed)
    if killed and (trial.replaces or content(trial.out) != new):
        end = trial.run()
        assert end.status == 0, f"ended with {end.status} after the kill: {end.text}"
    after = content(trial.out)
    assert sorted(after) == sorted(new), f"files are there: {sorted(after)}, and should be {sorted(new)}"
    different = [name for name in new if after[name] != new[name]]
    assert not different, f"other bytes in {different}"
    return kills


def trials(folder: Path, name: str, kind: Kind) -> Iterator[tuple[Trial, list[Call], Files, Files]]:
    """Return a kind with and without an older output: with its calls, the files before and after."""
    for replaces in (False, True):
        trial = Trial(name, kind, folder, replaces)
        before = folder / "before"
        shutil.rmtree(before, ignore_errors=True)
        before.mkdir()
        if replaces:
            shutil.copytree(before, trial.out, dirs_exist_ok=True)
            end = Trial(name, kind, folder / "older", replaces=False).run()
            assert end.status == 0, end.text
            shutil.copytree(folder / "older" / "out", before, dirs_exist_ok=True)
            for output in kind.outputs:
                if kind.words.endswith(output):
                    (before / f"{output}.aux.xml").write_text("<PAMDataset></PAMDataset>")
        old = content(before)
        trial.begin()
        calls = trial.calls()
        yield trial, calls, old, content(trial.out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=600, help="kills of the processes in all, about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--keep", type=Path, default=Path("kills"))
    asked = parser.parse_args()
    if not shutil.which("strace"):
        parser.error("strace kills the commands at their calls: sudo apt-get install strace")
    rng, total, wrong = random.Random(asked.seed), 0, 0
    shares = sum(KINDS[name].share for name in asked.kinds) * 2 * (1 + AGAIN)
    with tempfile.TemporaryDirectory() as name:
        for kind_name in asked.kinds:
            kind, folder = KINDS[kind_name], Path(name).resolve() / kind_name
            set_up(folder)
            (folder / "older" / "out").mkdir()
            _preload(folder, kind)
            for trial, calls, old, new in trials(folder, kind_name, kind):
                count = max(1, min(len(calls), round(asked.kills * kind.share / shares)))
                first = rng.randrange(max(1, len(calls) // count))
                chosen = [calls[(first + k * len(calls) // count) % len(calls)] for k in range(count)]
                kills = faults = 0
                for call in chosen:
                    try:
                        kills += attempt(trial, calls, call, rng, old=old, new=new)
                    except AssertionError as error:
                        kills, faults = kills + 1, faults + 1
                        kept = (
                            asked.keep
                            / f"{kind_name}-{'replace' if trial.replaces else 'new'}-{call.name}-{call.number}"
                        )
                        shutil.copytree(folder, kept, dirs_exist_ok=True)
                        print(f"{kept}: killed at {call.name} {call.number}: {error}", flush=True)
                total, wrong = total + kills, wrong + faults
                over = "over an older output" if trial.replaces else "without an older output"
                print(f"{kind_name:10} {over}: {kills} kills at {len(calls)} calls, {faults} wrong", flush=True)
    print(f"{total} kills, {wrong} wrong")
    sys.exit(1 if wrong else 0)


def _preload(folder: Path, kind: Kind) -> None:
    """Import here what the command imports, so that its forks need not."""
    if kind.forked:
        log = folder / "modules.txt"
        trial = Trial("", kind, folder, replaces=False)
        (folder / "out").mkdir()
        end = forks.run(forks.command(trial.words, log=log), folder=folder)
        assert end.status == 0, end.text
        shutil.rmtree(folder / "out")
        forks.load_modules(log.read_text().split())


if __name__ == "__main__":
    main()
