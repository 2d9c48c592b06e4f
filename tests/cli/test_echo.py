"""What files say is shown and never obeyed, and every failure is one line; beside Python's own list of controls."""

import subprocess
import sys
import unicodedata

import click
import pytest
import rasterio
from click.testing import CliRunner

from geosr.cli.echo import printable
from geosr.cli.main import main, one_line
from tests.conftest import texture

HOSTILE = "a\x1b[2J\x07\rb\u202ec"


def test_controls_are_escaped_and_letters_are_not():
    for code in range(0x3000):
        character = chr(code)
        control = unicodedata.category(character) in ("Cc", "Zl", "Zp") and character not in "\n\t"
        turns = unicodedata.bidirectional(character) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        assert printable(character) == (f"\\u{code:04x}" if control or turns or code in (0x200E, 0x200F) else character)
    assert printable(b"\xff.tif".decode(errors="surrogateescape")) == "\\udcff.tif"


@pytest.mark.parametrize("words", [["info"], ["superresolve", "-m", "bicubic"], ["verify"]])
def test_names_and_tags_do_not_reach_the_terminal(make_raster, tmp_path, words):
    folder = tmp_path / HOSTILE
    folder.mkdir()
    scene = make_raster(texture(2, 40, 40)).rename(folder / "scene.tif")
    with rasterio.open(scene, "r+") as file:
        file.descriptions = (HOSTILE, "red")
        file.update_tags(NOTE=HOSTILE)
    output = tmp_path / f"{HOSTILE}.tif"
    arguments = [scene] if words == ["info"] else [scene, output]
    if words == ["verify"]:
        run("superresolve", "-m", "bicubic", scene, output)
    done = run(*words, *arguments)
    assert done.returncode == 0, done.stderr
    missing = run(*words, folder / "none.tif", *arguments[1:])
    assert missing.returncode == 1
    for text in (done.stdout, done.stderr, missing.stderr):
        assert not set(text) & set("\x1b\x07\r\u202e"), text
    assert "\\u001b[2J" in missing.stderr


def run(*words):
    command = [sys.executable, "-m", "geosr", *map(str, words)]
    done = subprocess.run(command, capture_output=True, check=False)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), "there is not enough memory"),
        (RecursionError("maximum recursion depth exceeded"), "RecursionError"),
        (KeyError("scale"), "KeyError"),
        (ValueError("several\nlines"), "ValueError: several lines;"),
    ],
)
def test_what_nobody_foresaw_is_one_line(monkeypatch, error, text):
    monkeypatch.setattr("sys.argv", ["geosr"])
    with pytest.raises(click.ClickException) as caught, one_line():
        raise error
    assert text in caught.value.format_message()
    assert "\n" not in caught.value.format_message()


def test_a_reader_who_wants_no_more_is_no_error():
    command = [sys.executable, "-m", "geosr", "models", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdout.close()
        assert child.stderr.read() == b""


@pytest.mark.parametrize(("flag", "shown"), [("-q", False), ("-vv", True)])
def test_the_traceback_is_shown_to_those_who_ask(monkeypatch, make_raster, flag, shown):
    def fail(*_, **__):
        raise RecursionError("too deep")

    monkeypatch.setattr("geosr.quality.verify.verify_output", fail)
    scene = str(make_raster(texture(1, 8, 8)))
    monkeypatch.setattr("sys.argv", ["geosr", scene])
    done = CliRunner().invoke(main, ["verify", scene, "out.tif", flag], prog_name="geosr")
    assert done.exit_code == 1
    assert f"RecursionError with {scene!r}: too deep" in done.output
    assert ("Traceback" in done.output) is shown
