import importlib.util
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_superresolve", ROOT / "bench" / "superresolve.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("now", "less_is_better", "told"),
    [(1.09, True, 0), (1.12, True, 1), (0.5, True, 0), (0.92, False, 0), (0.9, False, 1), (2.0, False, 0)],
)
def test_a_ratio_that_is_a_tenth_worse_is_told(bench, now, less_is_better, told):
    stored = {"a": asdict(bench.Ratio(1.0, {})), "not measured now": asdict(bench.Ratio(9.0, {}))}
    found = {"a": asdict(bench.Ratio(now, {}, less_is_better)), "new": asdict(bench.Ratio(99.0, {}))}
    assert len(bench.worse(found, stored)) == told


def test_a_check_fails_and_leaves_the_results_as_they_were(bench, monkeypatch, tmp_path, capsys):
    results = tmp_path / "results.json"
    monkeypatch.setattr(bench, "RESULTS", results)
    monkeypatch.setattr(bench, "BENCHMARKS", {"a": lambda _: {"one": bench.Ratio(1.0, {"seconds": 2.0})}})
    monkeypatch.setattr(sys, "argv", ["bench"])
    bench.main()
    assert "| one | 1.000 |  | seconds 2 |" in capsys.readouterr().out
    before = results.read_text()
    monkeypatch.setattr(bench, "BENCHMARKS", {"a": lambda _: {"one": bench.Ratio(1.2, {})}})
    monkeypatch.setattr(sys, "argv", ["bench", "--check"])
    with pytest.raises(SystemExit, match=r"one: 1\.200, was 1\.000"):
        bench.main()
    assert results.read_text() == before


def test_the_halos_are_within_their_goal(bench):
    for ratio in bench.halos(None).values():
        assert ratio.ratio <= 1.137


@pytest.mark.parametrize(("start", "power"), [(0.0, 1.0), (1.3, 1.0), (9.0, 1.2), (1.3, 0.8)])
def test_the_exponent_is_that_of_what_grows(bench, start, power):
    pixels = np.array([1.0, 4.0, 16.0, 64.0])
    assert bench.growth_exponent(pixels, start + 0.1 * pixels**power) == pytest.approx(power, abs=0.01)
