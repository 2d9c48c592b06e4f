"""What the pages in docs/ for people with scenes say is so: their commands and their code run, in their order."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from geosr.cli.main import COMMANDS, main
from tests.conftest import DATA, texture
from tests.photographs import frames, moves, save_burst
from tests.products import write_sentinel2

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "docs" / f"{name}.md"
    for name in (
        "aerial",
        "api",
        "backends",
        "choosing",
        "formats",
        "legacy",
        "sentinel2",
        "superresolve",
        "training",
        "tutorial",
    )
]
RIO = "from rasterio.rio.main import main_group; main_group()"
NEEDS = {"rioxarray": "xarray", "rio_stac": "stac"}
QUICK = {"train": ["--epochs", "1", "--batch", "4", "--crop", "16"], "train_superres_net": ["--learning_rate", "1e-4"]}
"""What makes trainings short enough for a test."""


def blocks(page):
    """The language and the text of the page's blocks of code, in order."""
    return re.findall(r"^```(bash|python)\n(.*?)^```", page.read_text(), re.S | re.M)


def lines(text):
    return [line for line in (line.partition(" #")[0].strip() for line in text.splitlines()) if line]


def runnable(line):
    """The command of a line, as this interpreter runs it, with trainings made short."""
    words = shlex.split(line)
    if words[0] == "geosr":
        run = [sys.executable, "-m", *words, *QUICK.get(words[1], [])]
    elif words[0] == "rio":
        run = [sys.executable, "-c", RIO, *words[1:]]
    elif words[:3] == ["python", "-m", "geosr.legacy"]:
        run = [sys.executable, *words[1:], *QUICK.get(words[3], [])]
    else:
        raise ValueError(f"the tests do not know how to run {line!r}")
    return run


@pytest.fixture
def folder(tmp_path, make_raster):
    """What the pages take for granted: a scene, its bands, a folder of scenes, photos, and an output to look at."""
    with rasterio.open(DATA / "landsat8_great_salt_lake.tif") as data:
        bands, profile = data.read()[:, 200:360, 200:360], data.profile
    profile.update(width=160, height=160, count=1, photometric="MINISBLACK")
    for number in (2, 3, 4):
        with rasterio.open(tmp_path / f"LC08_B{number}.TIF", "w", **profile) as out:
            out.write(bands[[number - 2]])
    profile.update(count=3, photometric="RGB")
    with rasterio.open(tmp_path / "scene.tif", "w", **profile) as out:
        out.write(bands[[2, 1, 0]])
    for name in ("scenes", "PANSHARP"):
        (tmp_path / name).mkdir()
        for i in range(2):
            make_raster(texture(3, 200, 200, seed=i), f"{name}/s{i}.tif", crs=None)
    write_sentinel2(tmp_path)
    save_burst(tmp_path / "process", frames(moves(3)), ending=".jpg")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_s_commands_and_code_run_in_their_order(page, folder):
    if page.stem == "tutorial":
        (folder / "scene.tif").unlink()
    for language, text in blocks(page):
        for module, extra in NEEDS.items():
            if module in text or (extra == "stac" and "--stac" in text):
                pytest.importorskip(module, reason=f"pip install 'geosr[{extra}]'")
        if "legacy superresolution" in text and not shutil.which("align_image_stack"):
            pytest.skip("needs Hugin: sudo apt-get install hugin-tools")
        for run in [[sys.executable, "-c", text]] if language == "python" else [runnable(line) for line in lines(text)]:
            if "--overwrite" not in run and "-o" in run and "compare" in run:
                run = [*run, "--overwrite"]
            done = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{page.name}: {' '.join(run[1:])}\n{done.stderr}"
    made = {path.name for path in folder.rglob("*")}
    wanted = {
        "aerial": {"s1.tif", "luma.tif", "corner.html"},
        "api": {"scene_x2.tif", "scene_x2_lazy.tif", "scene_rio.tif"},
        "choosing": {"both.html"},
        "formats": {"scene_x2.stac.json", "report.html"},
        "legacy": {"s0_bic_up.tif", "Training", "ckpts", "mean.tif", "median.tif"},
        "sentinel2": {"fine.tif", "coarse.tif", "corner.html"},
        "training": {"span_x2.keras", "own_x2.tif"},
        "tutorial": {"scene_x2.tif", "scene_x2_cog.tif", "report.html", "report.png"},
    }
    assert wanted.get(page.stem, set()) <= made


def test_what_the_tutorial_stacks_is_the_scene(folder):
    stack = next(
        line for _, text in blocks(ROOT / "docs" / "tutorial.md") for line in lines(text) if "rio stack" in line
    )
    with rasterio.open(folder / "scene.tif") as data:
        wanted = data.read()
    (folder / "scene.tif").unlink()
    subprocess.run(runnable(stack), cwd=folder, check=True, capture_output=True)
    with rasterio.open(folder / "scene.tif") as data:
        np.testing.assert_array_equal(data.read(), wanted)
        assert [colour.name for colour in data.colorinterp] == ["red", "green", "blue"]


@pytest.mark.parametrize(
    "page", [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"], ids=lambda page: page.stem
)
def test_options_and_pages_that_are_named_are_there(page):
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (page.parent / target).exists(), target
    for name, rest in re.findall(r"`geosr ([a-z]+)([^`]*)`", text):
        if name not in COMMANDS:
            continue
        below = [word for word in rest.split()[:1] if word in getattr(main.get_command(None, name), "commands", {})]
        shown = CliRunner().invoke(main, [name, *below, "--help"], prog_name="geosr").output
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in shown, f"{page.name}: {name} {option}"


def test_the_readme_s_pictures_are_there_and_small():
    names = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert "docs/before_after.jpg" in names
    assert all(10_000 < (ROOT / name).stat().st_size < 250_000 for name in names)


@pytest.mark.slow
def test_the_site_is_built_with_no_link_broken(tmp_path):
    pytest.importorskip("material", reason="pip install 'geosr[docs]'")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in (ROOT / "docs").glob("*.md"):
        assert (tmp_path / "site" / page.stem / "index.html").exists(), page.stem
    commands = (tmp_path / "site" / "commands" / "index.html").read_text()
    assert all(f"geosr {name}" in commands for name in COMMANDS)
    reference = (tmp_path / "site" / "reference" / "index.html").read_text()
    assert all(f"geosr.{name}" in reference for name in ("superresolve.job.super_resolve", "burst.job.stack", "errors"))
    assert "the output exists and not" in reference
    for page in (tmp_path / "site").rglob("index.html"):
        sources = re.findall(r"<(?:script|img|link)[^>]+(?:src|href)=[\"']?(https?:[^\"' >]+)", page.read_text())
        assert not sources, f"{page}: {sources}"
