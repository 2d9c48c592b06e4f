"""geosr superresolve with several inputs, patterns, and folders that are rasters."""

import cv2
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from geosr.cli.main import COMMANDS, main
from tests.conftest import texture


def run(*args):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_several_rasters_go_into_one_folder(make_raster, tmp_path):
    sources = [make_raster(texture(1, 20, 20, seed=i), name) for i, name in enumerate(("a.tif", "b.tif"))]
    done = run("superresolve", *sources, tmp_path / "out", "-m", "bicubic")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.tif", "b.tif"]
    for source in sources:
        with rasterio.open(source) as given, rasterio.open(tmp_path / "out" / source.name) as output:
            assert output.bounds == given.bounds
            assert output.shape == (40, 40)


def test_a_pattern_that_the_shell_left_alone_is_matched(make_raster, tmp_path):
    for name in ("a.tif", "b.tif", "c.jp2"):
        make_raster(texture(1, 20, 20), name)
    assert run("superresolve", tmp_path / "*.tif", tmp_path / "out", "-m", "bicubic", "-q").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.tif", "b.tif"]


@pytest.mark.parametrize("name", ["new/", "there/", "there"])
def test_one_raster_goes_into_a_folder_that_exists_or_is_named_as_one(make_raster, tmp_path, name):
    (tmp_path / "there").mkdir()
    done = run("superresolve", make_raster(texture(1, 20, 20), "a.tif"), f"{tmp_path}/{name}", "-m", "bicubic", "-q")
    assert done.exit_code == 0, done.output
    assert (tmp_path / name / "a.tif").is_file()


def test_several_rasters_are_not_written_to_one_file(make_raster, tmp_path):
    sources = [make_raster(texture(1, 20, 20), name) for name in ("a.tif", "b.tif")]
    done = run("superresolve", *sources, tmp_path / "o.tif", "-m", "bicubic")
    assert done.exit_code == 1
    assert "there are several inputs; name a folder" in done.output


def test_a_dry_run_of_several_shows_each(make_raster, tmp_path):
    sources = [make_raster(texture(1, 20, 20), name) for name in ("a.tif", "b.tif")]
    done = run("superresolve", *sources, tmp_path / "out", "-m", "bicubic", "--dry-run")
    assert done.stdout.count("40 x 40 pixels of 5 x 5") == 2
    assert not (tmp_path / "out").exists()


def test_a_folder_that_gdal_reads_is_a_raster(tmp_path):
    """A Zarr store is a folder; rasterio is the oracle for its pixels."""
    store = tmp_path / "scene.zarr"
    array = texture(1, 24, 20)
    with rasterio.open(store, "w", driver="Zarr", width=20, height=24, count=1, dtype="uint8") as out:
        out.write(array)
    done = run("superresolve", store, tmp_path / "o.tif", "-m", "bicubic")
    assert done.exit_code == 0, done.output
    with rasterio.open(tmp_path / "o.tif") as output:
        assert output.shape == (48, 40)
        shrunk = output.read().reshape(1, 24, 2, 20, 2).mean((2, 4))
    assert np.corrcoef(shrunk.ravel(), array.ravel())[0, 1] > 0.98


@pytest.fixture
def landsat(make_raster):
    """A raster whose bands are named as products name them."""
    source = make_raster(texture(4, 20, 20, seed=3), "scene.tif")
    with rasterio.open(source, "r+") as out:
        out.descriptions = "Band 2 (blue)", "SR_B03", "Near Infrared", "Band 8A, red edge"
    return source


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("B3,blue", [2, 1]),
        ("nir,1", [3, 1]),
        ("sr_b03,B8A,Band 2 (blue)", [2, 4, 1]),
        ("rededge", [4]),
        ("4 2", [4, 2]),
    ],
)
def test_bands_are_named_as_their_descriptions_name_them(landsat, tmp_path, words, numbers):
    """GDAL's own choice of the numbers, by rasterio, is the oracle."""
    done = run("superresolve", landsat, tmp_path / "o.tif", "-m", "bicubic", "--bands", words, "-q")
    assert done.exit_code == 0, done.output
    chosen = ",".join(map(str, numbers))
    assert run("superresolve", landsat, tmp_path / "n.tif", "-m", "bicubic", "-b", chosen, "-q").exit_code == 0
    with rasterio.open(landsat) as given, rasterio.open(tmp_path / "o.tif") as by_name:
        with rasterio.open(tmp_path / "n.tif") as by_number:
            np.testing.assert_array_equal(by_name.read(), by_number.read())
        assert by_name.descriptions == tuple(given.descriptions[number - 1] for number in numbers)
        shrunk = by_name.read().reshape(len(numbers), 20, 2, 20, 2).mean((2, 4))
        for band, number in zip(shrunk, numbers, strict=True):
            assert np.corrcoef(band.ravel(), given.read(number).ravel())[0, 1] > 0.98


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("red", "no band 'red'; its bands are 1 'Band 2 (blue)', 2 'SR_B03'"),
        ("B8", "no band 'B8'"),
        ("5", "has bands 1 to 4, got 5"),
    ],
)
def test_bands_that_are_not_there_are_refused_with_those_that_are(landsat, tmp_path, words, text):
    done = run("superresolve", landsat, tmp_path / "o.tif", "-m", "bicubic", "--bands", words)
    assert done.exit_code == 1
    assert text in done.output
    assert "choose others with --bands" in done.output


def test_a_name_of_several_bands_is_refused(make_raster, tmp_path):
    source = make_raster(texture(2, 20, 20), "scene.tif")
    with rasterio.open(source, "r+") as out:
        out.descriptions = "Red edge 1", "Red edge 2"
    done = run("superresolve", source, tmp_path / "o.tif", "-m", "bicubic", "--bands", "rededge")
    assert "several bands 'rededge': 1, 2" in done.output


@pytest.mark.parametrize("name", COMMANDS)
def test_an_empty_argument_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(name, "", "out")
    assert done.exit_code == 2
    assert "an argument is empty" in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("word", "near"), [("superesolve", "superresolve"), ("model", "models"), ("qgs", "qgis")])
def test_a_misspelt_command_is_answered_with_the_nearest(word, near):
    done = run(word)
    assert done.exit_code == 2
    assert f"did you mean {near!r}?" in done.output


def test_a_misspelt_model_is_answered_with_the_nearest(make_raster, tmp_path):
    done = run("superresolve", make_raster(), tmp_path / "o.tif", "-m", "spam")
    assert done.exit_code == 1
    assert "there is no model 'spam' (did you mean 'span'?)" in done.output


def test_pixels_that_were_enlarged_before_are_warned_of_before_the_work_and_in_a_dry_run(make_raster, tmp_path, caplog):
    """One band is nearest to white noise, the other is bicubic, by OpenCV."""
    noise = np.random.default_rng(0).integers(0, 256, (160, 160), np.uint8)
    smooth = cv2.resize(noise[:80, :80], (160, 160), interpolation=cv2.INTER_CUBIC)
    sharp, mixed, both = (
        make_raster(np.stack(bands), name)
        for bands, name in (((noise,), "sharp.tif"), ((noise, smooth), "mixed.tif"), ((smooth, smooth), "both.tif"))
    )
    run("superresolve", sharp, tmp_path / "s.tif", "--dry-run")
    run("superresolve", mixed, tmp_path / "plain.tif", "-m", "bicubic")
    assert "enlarged before" not in caplog.text
    run("superresolve", mixed, tmp_path / "m.tif", "--dry-run")
    assert "mixed.tif: band 2 was enlarged before" in caplog.text
    done = run("superresolve", both, tmp_path / "b.tif")
    assert done.exit_code == 0, done.output
    assert "both.tif: the pixels were enlarged before" in caplog.text
    assert "1 warning" in done.stderr
