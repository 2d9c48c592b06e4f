"""Damaged files of each kind that geosr reads, given to its commands for a bounded time: no crash, hang or traceback.

    python -m tests.fuzz [--minutes 10] [--seed 0] [--targets cards vrts] [--keep FOLDER]

Each is processed or refused in one line that someone has foreseen, in less than 20 seconds of processor time. Files
that break this are kept, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

from geosr.models.cards import digest_of
from tests import damages, forks

SECONDS = 20
"""Processor time that a file may take."""
MEMORY = 8 * 2**30
"""Bytes of address space that a file may take."""
DONE = (0, 3)
"""Exit statuses: done, and done but for blocks that could not be read."""
REFUSED = (1, 2)


@dataclass(frozen=True, slots=True)
class Case:
    """A damaged file, or several, and the command that gets them."""

    files: Sequence[Path]
    words: Sequence[str]


class Bench:
    """The folder in which targets lie: valid files, and copies of these to be damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rasters = damages.rasters(folder)
        self.vrts = damages.vrts(folder)
        self.scene = folder / "scene.tif"
        profile = {"driver": "GTiff", "width": 80, "height": 64, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
        with rasterio.open(self.scene, "w", **profile, transform=Affine(10, 0, 4e5, 0, -10, 5e6)) as out:
            out.write(np.random.default_rng(0).integers(1, 255, (1, 64, 80), dtype=np.uint8))
        self.network = folder / "network.onnx"
        self.network.write_bytes(damages.network())
        self._run("models", "show", "network.onnx", "--write")
        self.sets = []
        for name, words in {"tfrecord": [], "gzip": ["--gzip"], "webdataset": [], "png": []}.items():
            form = [] if name == "gzip" else ["--format", name]
            self._run("dataset", "scene.tif", name, "--size", "16", "--validation", "0", *form, *words)
            self.sets.append(folder / name / "x2")
        self._run("superresolve", "scene.tif", "old.tif", "-m", "bicubic", "--tile", "16", "--stac")

    def _run(self, *words: str) -> forks.End:
        end = forks.run(forks.command(words, log=self.folder / "modules.txt"), folder=self.folder)
        assert end.status == 0, end.text
        forks.load_modules((self.folder / "modules.txt").read_text().split())
        return end


def rasters(bench: Bench, rng: random.Random) -> Case:
    seed = rng.choice(bench.rasters)
    path = bench.folder / f"damaged{seed.suffix}"
    path.write_bytes(damages.damage(seed.read_bytes(), rng))
    return Case([path], rng.choice((_superresolve(path), ["info", path.name])))


def vrts(bench: Bench, rng: random.Random) -> Case:
    path = bench.folder / "damaged.vrt"
    path.write_bytes(damages.damage_xml(rng.choice(bench.vrts).read_text(), rng))
    small = [*_superresolve(path), "--window", "0,0,32,32"]
    return Case([path], rng.choice((small, small, ["info", path.name], [*_superresolve(path), "--dry-run"])))


def cards(bench: Bench, rng: random.Random) -> Case:
    model, card = bench.folder / "model.onnx", bench.folder / "model.json"
    shutil.copyfile(bench.network, model)
    card.write_bytes(damages.damage_json(bench.network.with_suffix(".json").read_text(), rng))
    work = [*_superresolve(bench.scene, "--stac"), "--model", model.name]
    show = ["models", "show", model.name, *rng.choice(([], ["--json"]))]
    return Case([card], rng.choice((work, show)))


def networks(bench: Bench, rng: random.Random) -> Case:
    model = bench.folder / "damaged.onnx"
    model.write_bytes(damages.damage_network(bench.network.read_bytes(), rng))
    backend = ["--backend", rng.choice(("openvino", "onnx"))]
    work = [*_superresolve(bench.scene), "--model", model.name, *backend]
    if card := rng.random() < 0.3:
        text = bench.network.with_suffix(".json").read_text()
        model.with_suffix(".json").write_text(text.replace(digest_of(bench.network), digest_of(model)))
    else:
        model.with_suffix(".json").unlink(missing_ok=True)
    return Case([model], work if card else rng.choice((work, ["models", "show", model.name])))


def records(bench: Bench, rng: random.Random) -> Case:
    path = _copied(rng.choice(bench.sets), bench)
    files = [file for file in path.rglob("*") if file.is_file() and file.suffix != ".json"]
    file = rng.choice(files)
    change = damages.damage_record if ".tfrecord" in file.name and path.parent.name != "gzip" else damages.damage
    content = file.read_bytes()
    plain = content[:2] != b"\x1f\x8b" and ".tfrecord" in file.name
    file.write_bytes(change(content, rng) if plain else damages.damage(content, rng))
    return Case([file], _of_set(bench, rng))


def manifests(bench: Bench, rng: random.Random) -> Case:
    if rng.random() < 0.3:
        return _journal(bench, rng)
    path = _copied(rng.choice(bench.sets), bench)
    files = [file for file in path.rglob("*") if file.suffix in (".json", ".jsonl")]
    file = rng.choice([path / "dataset.json", *files])
    lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
    number = rng.randrange(len(lines))
    changed = [damages.damage_json(line, rng) if i == number else line.encode() for i, line in enumerate(lines)]
    file.write_bytes(b"\n".join(changed))
    return Case([file], _of_set(bench, rng))


def _journal(bench: Bench, rng: random.Random) -> Case:
    """Return a case of a job that was interrupted, whose own files are damaged."""
    folder = bench.folder / ".out.tif.geosr"
    shutil.rmtree(folder, ignore_errors=True)
    words = ["superresolve", "scene.tif", "out.tif", "-m", "bicubic", "--tile", "16", "--overwrite"]
    (bench.folder / "out.tif").unlink(missing_ok=True)
    folder.mkdir(mode=0o700)
    texts = {
        "manifest.json": '{"input": "scene.tif", "bands": [1], "scale": 2, "version": "0.2.0", "tile": 16}',
        "journal.jsonl": '[0, 4, "abc"]',
        "publication.json": '["out.tif.aux.xml"]',
    }
    for name, text in texts.items():
        (folder / name).write_bytes(damages.damage_json(text, rng) if rng.random() < 0.6 else text.encode())
    (folder / "00000000.part").write_bytes(b"part")
    (folder / "draft").mkdir()
    (folder / "draft" / "out.tif").write_bytes(b"draft")
    return Case([folder / name for name in texts], words)


Target = Callable[[Bench, random.Random], Case]
TARGETS: dict[str, Target] = {
    "rasters": rasters,
    "vrts": vrts,
    "cards": cards,
    "records": records,
    "manifests": manifests,
    "networks": networks,
}


def _superresolve(path: Path, *more: str) -> list[str]:
    return ["superresolve", path.name, "out.tif", "-m", "bicubic", "--overwrite", "--restart", *more]


def _copied(dataset: Path, bench: Bench) -> Path:
    """Return a copy of a training set."""
    copy = bench.folder / "damaged"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(dataset, copy)
    return copy


def _of_set(bench: Bench, rng: random.Random) -> list[str]:
    sheet = f"sheet.{rng.choice(('html', 'png'))}"
    (bench.folder / sheet).unlink(missing_ok=True)
    words = ["dataset", "info", "damaged"], ["dataset", "audit", "damaged"], ["dataset", "preview", "damaged", sheet]
    return list(rng.choice(words))


def fault(end: forks.End) -> str:
    """Return what is wrong with the end of a command; nothing if all is well."""
    if end.status in (-24, -14):
        return f"no end after {end.seconds:.0f} s of processor time"
    if end.status not in (*DONE, *REFUSED):
        return f"died with {end.status}"
    if "Traceback" in end.text or "please report it" in end.text:
        return "an exception that nobody foresaw"
    errors = [line for line in end.text.splitlines() if line.startswith("Error: ")]
    if end.status in REFUSED and len(errors) != 1 and "audit" not in end.text:
        return f"{len(errors)} lines of errors"
    return "a control character" if any(ord(c) < 32 and c not in "\n\t\r" for c in end.text) else ""


@dataclass(slots=True)
class Found:
    """The outcomes of a target."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    """By what is wrong and what was said."""
    slowest: float = 0


def give(target: str, bench: Bench, *, seconds: float, seed: int, keep: Path) -> Found:
    """Give damaged files of a kind to the commands for some time; one file of each fault is kept and told."""
    rng, found, end = random.Random(f"{seed} {target}"), Found(), time.monotonic() + seconds
    while time.monotonic() < end:
        case = TARGETS[target](bench, rng)
        outcome = forks.run(forks.command(case.words), folder=bench.folder, seconds=SECONDS, memory=MEMORY)
        found.slowest = max(found.slowest, outcome.seconds)
        found.counts["done" if outcome.status in DONE else "refused"] += 1
        if why := fault(outcome):
            text = " ".join(outcome.text.split())[-400:]
            kind = why + "".join(c for c in text[-160:] if c.isalpha() or c == " ")
            found.faults[kind] += 1
            if found.faults[kind] == 1:
                folder = keep / f"{target}-{seed}-{found.counts.total()}"
                folder.mkdir(parents=True, exist_ok=True)
                for file in case.files:
                    shutil.copy(file, folder)
                (folder / "command.txt").write_text(" ".join(case.words) + "\n" + outcome.text)
                print(f"{folder}: {why}: {text}", flush=True)
    return found


def main() -> None:
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="time for all targets, in equal shares")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="*", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--keep", type=Path, default=Path("fuzz"))
    asked = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        for target in asked.targets:
            seconds = 60 * asked.minutes / len(asked.targets)
            found = give(target, bench, seconds=seconds, seed=asked.seed, keep=asked.keep)
            counts, faults = found.counts, found.faults.total()
            wrong += faults
            print(
                f"{target:9} {counts.total()} files: {counts['done']} done, {counts['refused']} refused, "
                f"{faults} wrong; the slowest took {found.slowest:.1f} s",
                flush=True,
            )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
