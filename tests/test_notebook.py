"""Tables, frames and progress of notebooks. IPython is no dependency: its display is stood in for by a list."""

import re
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import geosr
from geosr.notebook import ProgressBar, frame, table
from geosr.quality import compare_rasters, evaluate_model, inspect_raster
from tests.conftest import texture

BICUBIC = geosr.Options(model="bicubic")


@pytest.fixture
def output(make_raster, tmp_path):
    source = make_raster(texture(3, 80, 90), photometric="RGB")
    return source, tmp_path / "o.tif"


def html_of(result):
    """What Jupyter shows of a result."""
    return result._repr_html_()


def cells(html):
    return dict(re.findall(r"<tr><th>([^<]*)</th><td>([^<]*)</td></tr>", html))


def test_results_are_tables(output):
    source, target = output
    plan = geosr.super_resolve(source, target, BICUBIC)
    shown = cells(html_of(plan))
    assert shown["model"] == "bicubic"
    assert shown["output"] == "180 x 160 pixels, 3 bands of uint8"
    assert shown["CRS"] == "EPSG:32633"
    [result] = geosr.super_resolve_folder([source], target.parent / "folder", BICUBIC)
    shown = cells(html_of(result))
    assert shown["output"].endswith("folder/scene.tif")
    assert shown["pixel size"] == "5 x 5 metres"
    info = html_of(inspect_raster(source, BICUBIC))
    assert "90 x 80 pixels" in info


def test_a_failed_raster_of_a_folder_says_why(tmp_path):
    (tmp_path / "a.tif").write_text("none")
    [result] = geosr.super_resolve_folder([tmp_path / "a.tif"], tmp_path / "out", BICUBIC)
    assert "cannot read" in cells(html_of(result))["error"]


def test_a_comparison_is_its_page_and_scores_are_a_table(output):
    source, target = output
    geosr.super_resolve(source, target, BICUBIC)
    html = html_of(compare_rasters(source, target, windows=1))
    assert html.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert html.count('"') == 4
    rows = html_of(evaluate_model("bicubic", [source]))
    assert "<th>PSNR</th>" in rows
    assert "<th>bicubic</th>" in rows


def test_words_are_never_marks():
    assert "&lt;b&gt;" in table("<b>", ["a"], [["x"]])
    assert frame('<p class="a">').count('"') == 4


def test_a_bar_writes_lines_where_there_is_neither_a_terminal_nor_a_notebook(output, capsys):
    source, target = output
    geosr.super_resolve(source, target, geosr.Options(model="bicubic", tile=32), progress=geosr.ProgressBar("scene"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("scene: 0 of ")
    total = int(re.search(r"of (\d+)", lines[0])[1])
    assert lines[-1].startswith(f"scene: {total} of {total}, ")


def test_a_bar_in_a_notebook_is_drawn_in_its_place(monkeypatch):
    drawn = []

    def display(shown, *, display_id):
        drawn.append(html_of(shown))
        return SimpleNamespace(update=lambda shown: drawn.append(html_of(shown)))

    shell = ModuleType("IPython")
    shell.get_ipython = type("ZMQInteractiveShell", (), {})
    displays = ModuleType("IPython.display")
    displays.display = display
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    bar = ProgressBar("a & b")
    for done in (0, 4):
        bar(done, 4)
    assert len(drawn) == 2
    assert 'value="1.0000"' in drawn[1]
    assert "a &amp; b: 4 of 4" in drawn[1]
    np.testing.assert_equal((bar.done, bar.total), (4, 4))
