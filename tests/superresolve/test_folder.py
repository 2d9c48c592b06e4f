import os
import zipfile
from dataclasses import replace

import pytest

from geosr.errors import OutputError
from geosr.parts import Parts, leftovers
from geosr.superresolve.folder import Running, perform, prepare
from geosr.superresolve.job import is_done, manifest
from geosr.superresolve.plan import make_plan
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
