"""The code keeps its own rules."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "rule", [["ruff", "format", "--check", "."], ["ruff", "check", "."], ["codespell"], ["lint-imports"]]
)
def test_style_spelling_and_imports(rule):
    done = subprocess.run(
        [Path(sys.executable).with_name(rule[0]), *rule[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_types():
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def modules():
    """The modules of geosr that tests may mirror, as paths below geosr/."""
    return [path.relative_to(ROOT / "geosr") for path in (ROOT / "geosr").rglob("*.py") if "scripts" not in path.parts]


def test_the_tests_lie_as_the_code_does():
    wings = {path.parts[0] for path in modules() if len(path.parts) > 1}
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= wings
    names = {path.stem for path in modules()}
    about_pages = {"rules", "readme", "pages", "makefile", "docs_datasets", "bench"}
    others = {
        path.stem.removeprefix("test_")
        for path in (ROOT / "tests").rglob("test_*.py")
        if path.stem.removeprefix("test_") not in names | about_pages
    }
    # What spans several modules of its wing, or all commands.
    assert others == {"metadata", "offline", "round_trip", "scripts", "selection", "validity"}


def test_no_test_file_is_long():
    long = {path.name for path in (ROOT / "tests").rglob("*.py") if len(path.read_text().splitlines()) > 500}
    assert not long


def test_tests_use_no_private_names():
    names = "|".join(sorted(path.stem for path in modules() if not path.stem.startswith("_")))
    private = re.compile(rf"(?<![\w.])(?:{names})\._[a-z]")
    for path in (ROOT / "tests").rglob("*.py"):
        assert not private.findall(path.read_text()), path


def test_json_is_written_by_one_function():
    writers = [path for path in modules() if re.search(r"\bjson\.dumps?\b", (ROOT / "geosr" / path).read_text())]
    assert writers == [Path("files.py")]


def test_imports_need_no_alias():
    for path in modules():
        text = (ROOT / "geosr" / path).read_text()
        aliases = re.findall(r"from geosr[\w.]* import (?:\w+, )*(\w+) as (\w+)", text)
        assert all(name == alias for name, alias in aliases), path
