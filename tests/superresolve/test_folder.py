import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from geosr.errors import OutputError
from geosr.parts import Parts, leftovers
from geosr.superresolve.folder import Running, perform, prepare, super_resolve_folder
from geosr.superresolve.job import is_done, manifest
from geosr.superresolve.plan import make_plan
from tests import forks
from tests.conftest import texture
from tests.superresolve.helpers import BICUBIC


@pytest.mark.parametrize("state", ["a lock", "a lock and parts", "no item"])
def test_a_run_that_was_killed_after_its_output_was_published_is_finished(make_raster, tmp_path, state):
    source, output, running = make_raster(), tmp_path / "out.tif", Running(stac=state == "no item")
    perform(make_plan(source, BICUBIC, output), output, running)
    before = output.stat()
    folder, lock = leftovers(output)
    if state == "no item":
        (tmp_path / "out.stac.json").unlink()
    else:
        lock.touch()
    if state == "a lock and parts":
        with Parts(output, manifest(make_plan(source, BICUBIC, output))) as parts:
            parts.save(0, b"part")
        assert folder.exists()
    assert prepare(os.fspath(source), output, BICUBIC, running) is None
    assert output.stat() == before
    items = ["out.stac.json"] if state == "no item" else []
    assert sorted(path.name for path in tmp_path.iterdir()) == [*items, "out.tif", "scene.tif"]


def test_an_output_of_another_job_is_not_taken_for_a_finished_one(make_raster, tmp_path):
    source, output = make_raster(), tmp_path / "out.tif"
    perform(make_plan(source, BICUBIC, output), output, Running())
    leftovers(output)[1].touch()
    with pytest.raises(OutputError, match="exists; choose another output or --overwrite"):
        prepare(os.fspath(source), output, replace(BICUBIC, scale=3), Running())


def test_other_content_in_an_archive_of_the_same_size_and_date_is_another_input(make_raster, tmp_path):
    archive, output = tmp_path / "a.zip", tmp_path / "out.tif"
    for seed in (1, 2):
        scene = make_raster(texture(3, 50, 60, seed=seed))
        with zipfile.ZipFile(archive, "w") as file:
            file.write(scene, "a.tif")
        os.utime(archive, (1, 1))
        job = make_plan(f"/vsizip/{archive}/a.tif", BICUBIC, output)
        if seed == 1:
            perform(job, output, Running())
        assert is_done(job, output) == (seed == 1)


def test_a_publication_that_was_killed_is_undone_before_anything_is_refused(make_raster, tmp_path):
    source, output, running = make_raster(), tmp_path / "out.tif", Running(stac=True)
    perform(make_plan(source, BICUBIC, output), output, running)
    item, content = tmp_path / "out.stac.json", output.read_bytes()
    text = item.read_text()
    # As it is after a kill between the two renames.
    with Parts(output, manifest(make_plan(source, BICUBIC, output))) as parts:
        parts.save(0, b"part")
        output.rename(parts.draft)
        (parts.folder / "publication.json").write_text(f'["{item.name}"]')
        shutil.copytree(parts.folder, tmp_path / "killed")
    shutil.rmtree(parts.folder)
    (tmp_path / "killed").rename(parts.folder)
    item.write_text(text)
    job = prepare(os.fspath(source), output, BICUBIC, running)
    assert not item.exists()
    perform(job, output, replace(running, restart=True))
    assert output.read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.stac.json", "out.tif", "scene.tif"]


def test_an_output_that_another_process_makes_is_left_to_it(make_raster, tmp_path):
    scenes = [make_raster(texture(1, 20, 20, seed=seed), f"{seed}.tif") for seed in range(3)]
    (tmp_path / "out").mkdir()
    with Parts(tmp_path / "out" / "1.tif", {}):
        results = list(super_resolve_folder(scenes, tmp_path / "out", BICUBIC))
    assert [(Path(result.source).name, result.busy, result.error) for result in results] == [
        ("0.tif", False, ""),
        ("2.tif", False, ""),
        ("1.tif", True, ""),
    ]
    assert list(super_resolve_folder(scenes, tmp_path / "out", BICUBIC))[1].error == ""
    assert (tmp_path / "out" / "1.tif").exists()


@pytest.mark.slow
def test_processes_with_one_folder_share_its_rasters(make_raster, tmp_path):
    (tmp_path / "in").mkdir()
    names = [f"{number:02}.tif" for number in range(40)]
    for number, name in enumerate(names):
        make_raster(texture(1, 60, 60, seed=number), f"in/{name}")
    command = [sys.executable, "-m", "geosr", "superresolve", "in", "out", "-m", "bicubic", "--tile", "16"]
    runs = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(6)
    ]
    texts = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * 6, texts
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    # Each was written once.
    written = [line.partition(":")[0] for text in texts for line in text.splitlines() if "pixels of" in line]
    assert sorted(written) == [f"out/{name}" for name in names]


@pytest.mark.slow
@pytest.mark.skipif(not forks.can_trace(), reason="needs strace: sudo apt-get install strace")
def test_a_command_that_is_killed_at_any_call_is_finished_by_the_same_command(tmp_path):
    root = Path(forks.__file__).parents[1]
    words = ["--kills", "40", "--seed", "1", "--kinds", "GTiff", "ENVI", "stac", "folder", "--keep", tmp_path / "kept"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.kills", *words], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.splitlines()[-1].split()[0]) >= 30
