"""The code keeps its own rules."""

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
