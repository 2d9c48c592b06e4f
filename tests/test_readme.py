"""README, and what moved from it to docs/: commands run, the help is the command's, the scores are the cards'."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from geosr.cli.main import main
from geosr.models import cards
from tests.conftest import DATA, texture
from tests.photographs import frames, moves, save_burst

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def commands():
    blocks = re.findall(r"```bash\n(.*?)```", README, re.S)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line.startswith("geosr ")))


def help_text(name):
    return CliRunner().invoke(main, [name, "--help"], prog_name="geosr", terminal_width=100).output


def scores_table():
    shipped = cards.shipped()
    [title] = {next(iter(card.scores)) for card in shipped}
    places = list(shipped[0].scores[title])
    names = [f"{card.name} x{card.scale}" for card in shipped]
    rows = [f"| {title} | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for place in places:
        gains = " | ".join(f"{card.scores[title][place]['gain']:+.2f}" for card in shipped)
        rows.append(f"| {place} | {gains} |")
    return "\n".join(rows)


@pytest.mark.slow
def test_the_commands_run_in_their_order(make_raster, tmp_path):
    (tmp_path / "scenes").mkdir()
    for i in range(3):
        make_raster(texture(3, 200, 200, seed=i), f"scenes/s{i}.tif", crs=None)
    shutil.copy(DATA / "neon_osbs_rgb.tif", tmp_path / "scene.tif")
    save_burst(tmp_path / "process", frames(moves(3)), ending=".jpg")
    assert len(commands()) == 15
    for line in commands():
        words = shlex.split(line)
        if "*" in line:
            words = [w for word in words for w in (map(str, sorted(tmp_path.glob(word))) if "*" in word else [word])]
        if words[1] == "train":
            words += ["--epochs", "1", "--batch", "4"]
        if words[1] == "burst" and not shutil.which("align_image_stack"):
            words += ["--align", "none"]
        if words[1] in ("superresolve", "compare") and "scene_x2.tif" in words:
            words += ["--overwrite"]
        done = subprocess.run([sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    for made in (
        "scene_x2.tif",
        "scene_x4.tif",
        "scenes_x2/s0.tif",
        "superresolution/robust.tif",
        "out/x2/Training",
        "runs/x2/ckpts",
        "runs/x2/Log",
        "y.tif",
        "scores.csv",
        "plots/scene_crops.png",
    ):
        assert (tmp_path / made).exists(), made


def test_the_help_shown_is_the_command_s():
    page = (ROOT / "docs" / "superresolve.md").read_text()
    [(name, shown)] = re.findall(r"<!-- help: (\w+) -->\n```text\n(.*?)```", page, re.S)
    assert shown == help_text(name), f"the help of {name} on its page is not what it prints; copy it from --help"


def test_readme_is_short_and_has_no_help():
    assert len(README.split()) < 1000
    assert "Usage:" not in README


def test_the_scores_shown_are_the_cards():
    assert scores_table() in (ROOT / "docs" / "choosing.md").read_text()


def test_contributing_names_files_and_tables_that_exist():
    page = (ROOT / "docs" / "contributing.md").read_text()
    rows = [row for row in re.findall(r"^\| (.*) \|$", page, re.M) if "geosr/" in row]
    assert len(rows) >= 10
    for row in rows:
        paths = [ROOT / path for path in re.findall(r"`(geosr/[\w/.]+|tests/[\w/.]+)`", row)]
        assert all(path.exists() for path in paths), row
        code = "".join(path.read_text() for path in paths if path.is_file())
        for name in re.findall(r"`([A-Z]{3,}|to_\w+|from_\w+)`", row):
            assert re.search(rf"^\s*(def )?{name}\b", code, re.M), f"{name}: {row}"


def test_every_target_named_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"make ([a-z]+)", README)) <= targets | {"on"}
