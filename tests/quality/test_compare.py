"""Comparisons: places, scores and pages, against figures computed another way."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from skimage.metrics import peak_signal_noise_ratio

import geosr
from geosr import pictures
from geosr.cli.main import main
from geosr.errors import OptionError, RasterError
from geosr.grid import Window
from geosr.quality import page
from geosr.quality.compare import compare_rasters
from geosr.rasters.resample import enlarge, shrink
from tests.conftest import DATA, texture


def run(*args):
    return CliRunner().invoke(main, ["compare", *map(str, args)])


def made(source, output, **options):
    geosr.super_resolve(source, output, geosr.Options(**{"model": "bicubic", **options}))
    return output


@pytest.fixture
def trio(make_raster, tmp_path):
    """A truth, what is left of it at half the resolution, and that with a little added."""
    truth = texture(3, 300, 400, seed=4, low=20, high=230)
    low = np.rint(shrink(truth, 2)).astype("uint8")
    noise = np.random.default_rng(0).normal(0, 6, truth.shape)
    high = np.clip(np.rint(enlarge(low, 2) * 0.5 + truth * 0.5 + noise), 0, 255).astype("uint8")
    where = {"transform": Affine(5, 0, 400_000, 0, -5, 5_000_000), "photometric": "RGB"}
    before = make_raster(low, "low.tif", photometric="RGB")
    return before, make_raster(high, "high.tif", **where), make_raster(truth, "truth.tif", **where)


def against_truth(before, after, truth, **options):
    return compare_rasters(before, after, truth=truth, **options)


def read(path):
    with rasterio.open(path) as data:
        return data.read().astype(float)


def test_scores_are_those_of_the_pixels(trio):
    told = against_truth(*trio, windows=1)
    [place] = told.places
    low, high, truth = map(read, trio)
    (top, bottom), (left, right) = place.window.toranges()
    small, large = np.s_[:, top:bottom, left:right], np.s_[:, 2 * top : 2 * bottom, 2 * left : 2 * right]
    off = (shrink(high, 2) - low)[small]
    assert place.scores["consistency"][1] == pytest.approx(np.sqrt(np.mean(off**2)), rel=1e-6)
    np.testing.assert_allclose(place.errors[0], np.sqrt(np.mean(off**2, axis=0)), rtol=1e-5)
    np.testing.assert_array_equal(place.native, low[small])
    spans = [end[1] - end[0] for end in told.ends]
    for k, picture in enumerate((enlarge(low, 2)[large], high[large])):
        bands = zip(truth[large], picture, spans, strict=True)
        wanted = np.mean([peak_signal_noise_ratio(real, one, data_range=span) for real, one, span in bands])
        assert place.scores["PSNR"][k] == pytest.approx(wanted, rel=1e-5)
        np.testing.assert_allclose(place.pictures[k], picture, rtol=1e-6)
    assert place.scores["SSIM"][1] > place.scores["SSIM"][0]
    assert place.scores["recovered"][1] > place.scores["recovered"][0]
    bicubic, result, real = place.scores["beyond the input"]
    assert bicubic < result
    assert bicubic < real
    assert [(way.name, way.positions) for way in told.shown] == [("true colour", (0, 1, 2))]
    assert told.pixel == (10, 10, "m")
    assert place.metres == pytest.approx(5, rel=0.01)
    assert told.crs == "EPSG:32633"


def test_what_bicubic_made_is_bicubic(make_raster, tmp_path):
    source = make_raster(texture(2, 90, 90, dtype="uint16", high=9000))
    told = compare_rasters(source, made(source, tmp_path / "o.tif"))
    for place in told.places:
        assert np.abs(place.pictures[0] - place.pictures[1]).max() <= 0.501
        assert place.scores["consistency"][0] == pytest.approx(place.scores["consistency"][1], rel=0.02)
        assert "PSNR" not in place.scores


def test_the_page_says_what_made_the_result(trio, make_raster, tmp_path):
    before, after, _ = trio
    assert "<dt>Model</dt>" not in page.page(compare_rasters(before, after, windows=1))
    tags = {"GEOSR_MODEL": "span_x2 sha256:0123456789abcdef each on openvino sensor 0.7141,0.26,0.0046 limited"}
    with rasterio.open(after, "r+") as file:
        file.update_tags(**tags)
    said = page.page(compare_rasters(before, after, windows=1))
    assert "<dt>Model</dt><dd>span_x2, told MTF 0.26 and noise 0.46 %, limited</dd>" in said


def test_the_most_detailed_places_come_first_and_none_lies_over_another(make_raster, tmp_path):
    array = np.full((1, 640, 640), 1000, "uint16")
    for row, col, amount in ((0, 0, 300), (256, 384, 900), (512, 128, 600)):
        array[:, row : row + 128, col : col + 128] += texture(1, 128, 128, dtype="uint16", high=amount)
    source = make_raster(array)
    told = compare_rasters(source, made(source, tmp_path / "o.tif", scale=4))
    spots = [(place.window.row_off, place.window.col_off) for place in told.places]
    assert spots[:3] == [(256, 384), (512, 128), (0, 0)]
    assert len(set(spots)) == len(spots) == 8


def test_a_large_scene_is_shown_by_its_places(make_raster, tmp_path):
    """The scene has 144 million pixels; nearly all of its blocks are not there."""
    for name, k in (("low.tif", 1), ("high.tif", 2)):
        options = {"tiled": True, "compress": "deflate", "sparse_ok": True, "dtype": "uint8", "count": 1}
        transform = Affine(10 / k, 0, 0, 0, -10 / k, 0)
        with rasterio.open(tmp_path / name, "w", driver="GTiff", width=6000 * k, height=6000 * k, crs="EPSG:32633",
                           transform=transform, **options) as out:  # fmt: skip
            for row, col in ((512, 4096), (5120, 1024)):
                block = texture(1, 256, 256, seed=row).repeat(k, 1).repeat(k, 2)
                out.write(block, window=((row * k, (row + 256) * k), (col * k, (col + 256) * k)))
    told = compare_rasters(tmp_path / "low.tif", tmp_path / "high.tif", windows=2)
    spots = sorted((place.window.row_off, place.window.col_off) for place in told.places)
    np.testing.assert_allclose(spots, [(512, 4096), (5120, 1024)], atol=128)
    assert len(page.page(told)) < 3_000_000


def test_a_part_and_chosen_bands_are_compared_with_their_own(make_raster, tmp_path):
    source = make_raster(texture(4, 200, 220))
    output = made(source, tmp_path / "o.tif", bands=(3, 1), window=(40, 60, 100, 90), alpha="band")
    told = compare_rasters(source, output, bands=(2,))
    with rasterio.open(source) as data:
        whole = data.read(1).astype(float)
    for place in told.places:
        (top, bottom), (left, right) = place.window.toranges()
        assert 40 <= left < right <= 140
        assert 60 <= top < bottom <= 150
        np.testing.assert_allclose(
            place.pictures[0][0], enlarge(whole, 2)[2 * top : 2 * bottom, 2 * left : 2 * right], 1e-6
        )
        assert tuple(place.transform @ (0, 0)) == (400_000 + 10 * left, 5_000_000 - 10 * top)
    assert told.bands == ("band 2, red",)
    # What lies beyond the part is not known of the result: its last pixels cannot be judged there.
    known = np.zeros((90, 100), bool)
    for place in told.places:
        rows, cols = place.window.relative(Window(40, 60, 100, 90)).slices(within=Window(0, 0, 100, 90))
        known[rows, cols] |= np.isfinite(place.errors[0])
    assert not (known[:2].any() or known[-2:].any() or known[:, :2].any() or known[:, -2:].any())
    assert known[2:60, 2:60].all()


def test_holes_do_not_touch_the_scores_and_are_hatched(make_raster, tmp_path):
    array = texture(1, 120, 120, dtype="int16", low=100, high=3000)
    whole = make_raster(array.copy(), "whole.tif")
    array[:, 30:50, 40:70] = -9999
    holed = make_raster(array, nodata=-9999)
    told = compare_rasters(holed, made(holed, tmp_path / "o.tif"), windows=1)
    [place] = told.places
    [other] = compare_rasters(whole, made(whole, tmp_path / "w.tif"), windows=1).places
    assert not place.valid[60:100, 80:140].any()
    assert place.valid[:50].all()
    known = np.isfinite(place.errors[0])
    assert not known[28:52, 38:72].any()
    assert known[:25].all()
    np.testing.assert_allclose(place.errors[0][:25], other.errors[0][:25], atol=1)
    assert place.scores["consistency"][1] == pytest.approx(other.scores["consistency"][1], rel=0.1)
    assert '"masks": ["data:image/webp' in page.page(told)
    assert '"masks": [null, null]' in page.page(compare_rasters(whole, tmp_path / "w.tif", windows=1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"crs": "EPSG:32634"}, "their CRSs are EPSG:32634 and EPSG:32633"),
        ({"transform": Affine(5, 0, 400_002, 0, -5, 5_000_000)}, "in whole pixels"),
        ({"transform": Affine(5, 0, 400_500, 0, -5, 5_000_000)}, "it takes columns 50 to 110"),
        ({"transform": Affine(7, 0, 400_000, 0, -7, 5_000_000)}, "in whole parts of its pixels"),
        ({"transform": Affine(5, 1, 400_000, 0, -5, 5_000_000)}, "in whole parts of its pixels"),
        ({"transform": Affine(5, 0, 400_000, 0, 5, 5_000_000)}, "in whole parts of its pixels"),
        ({"transform": Affine(20, 0, 400_000, 0, -20, 5_000_000)}, "in whole parts of its pixels"),
    ],
)
def test_rasters_of_other_ground_are_refused(make_raster, tmp_path, change, said):
    before = make_raster(texture(1, 50, 60), "before.tif")
    after = make_raster(
        texture(1, 100, 120), "after.tif", **{"transform": Affine(5, 0, 400_000, 0, -5, 5_000_000), **change}
    )
    with pytest.raises(RasterError) as error:
        compare_rasters(before, after)
    assert said in str(error.value)
    assert "does not cover the ground of" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_window_of_a_scene_without_a_transform_lies_where_its_tags_say(make_raster, tmp_path):
    array = texture(2, 150, 160, seed=3, low=30, high=220)
    before = make_raster(array, crs=None, transform=Affine.identity())
    output = made(before, tmp_path / "o.tif", window=(30, 20, 70, 64))
    told = compare_rasters(before, output, windows=1)
    [place] = told.places
    (top, bottom), (left, right) = place.window.toranges()
    assert not told.located
    assert place.metres is None
    np.testing.assert_array_equal(place.native, array[:, top:bottom, left:right])
    assert np.abs(place.pictures[0] - place.pictures[1])[:, 8:-8, 8:-8].max() <= 0.501
    # The truth may be all of the scene.
    truth = make_raster(np.rint(enlarge(array, 2)).clip(0, 255).astype("uint8"), "t.tif", crs=None,
                        transform=Affine.identity())  # fmt: skip
    [place] = against_truth(before, output, truth, windows=1).places
    assert np.abs(place.pictures[2] - place.pictures[1])[:, 8:-8, 8:-8].max() <= 1


def test_two_results_are_compared_where_both_lie(make_raster, tmp_path):
    before = make_raster(texture(3, 200, 220, seed=5, low=50, high=200), photometric="RGB")
    smooth = made(before, tmp_path / "bic.tif", window=(10, 20, 150, 140))
    rough = tmp_path / "rough.tif"
    with rasterio.open(made(before, tmp_path / "whole.tif")) as data:
        noise = np.random.default_rng(1).normal(0, 30, (3, 400, 440))
        with rasterio.open(rough, "w", **data.profile) as out:
            out.write(np.clip(data.read() + noise, 0, 255).astype("uint8"))
    told = compare_rasters(before, smooth, rough, windows=3)
    assert told.names == ("bicubic", "bic", "rough")
    part = Window(10, 20, 150, 140)
    assert all(place.window.intersection(part) == place.window for place in told.places)
    assert all(len(place.errors) == 2 for place in told.places)
    assert told.totals["consistency"][2] > 2 * told.totals["consistency"][1]
    assert "bic agrees with the input" in told.verdict
    assert "rough departs from the input" in told.verdict
    with pytest.raises(OptionError, match="x4 pixels and"):
        compare_rasters(before, smooth, made(before, tmp_path / "x4.tif", scale=4))


def test_bands_are_chosen_by_name_for_scores_and_for_colours(make_raster, tmp_path):
    before = make_raster(texture(5, 90, 90))
    with rasterio.open(before, "r+") as data:
        data.descriptions = ("B1 coastal", "B2 blue", "B3 green", "B4 red", "B5 nir")
    after = made(before, tmp_path / "o.tif", alpha="band")
    told = compare_rasters(before, after)
    assert [name.split()[-1] for name in told.bands] == ["blue", "green", "red", "nir"]
    assert [(way.name, way.positions) for way in told.shown] == [
        ("true colour", (2, 1, 0)),
        ("near infrared", (3, 2, 1)),
    ]
    told = compare_rasters(before, after, rgb=("nir", "B1", "red"))
    assert told.shown[0].name == "bands 5, 1, 4"
    assert [told.bands[i] for i in told.shown[0].positions] == [
        "band 5, B5 nir",
        "band 1, B1 coastal",
        "band 4, B4 red",
    ]
    told = compare_rasters(before, after, bands=("B4", "B1", "nir"))
    assert [(way.name, way.positions) for way in told.shown] == [("bands 4, 1, 5", (0, 1, 2))]


def test_rasters_without_a_place_are_compared_by_their_sizes(make_raster, tmp_path):
    before = make_raster(texture(1, 50, 60), "a.tif", crs=None, transform=Affine.identity())
    told = compare_rasters(before, made(before, tmp_path / "o.tif"))
    assert not told.located
    other = make_raster(texture(1, 99, 120), "b.tif", crs=None, transform=Affine.identity())
    with pytest.raises(RasterError, match="in whole pixels"):
        compare_rasters(before, other)


def test_other_bands_and_a_coarse_truth_are_refused(trio, make_raster):
    before, after, _ = trio
    gray = make_raster(texture(1, 300, 400), "gray.tif", transform=Affine(5, 0, 400_000, 0, -5, 5_000_000))
    with pytest.raises(OptionError, match="has 3 bands and"):
        compare_rasters(before, gray)
    with pytest.raises(OptionError, match="choose the same of both"):
        against_truth(before, after, gray)
    with pytest.raises(RasterError, match="has larger pixels"):
        against_truth(before, after, before)
    with pytest.raises(OptionError, match=r"has bands 1 to 3, got 7; choose others with --bands"):
        compare_rasters(before, after, bands=(7,))
    empty = make_raster(np.zeros((1, 50, 60), "uint8"), "empty.tif", nodata=0)
    with pytest.raises(RasterError, match="has no valid pixel"):
        compare_rasters(empty, make_raster(np.zeros((1, 100, 120), "uint8"), "e2.tif", nodata=0,
                                   transform=Affine(5, 0, 400_000, 0, -5, 5_000_000)))  # fmt: skip


# The page and the command


class References(HTMLParser):
    """What a page refers to, and its marks that were not closed."""

    def __init__(self):
        super().__init__()
        self.found, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href", "action", "srcset", "data")]
        if tag not in ("meta", "link", "input", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_by_itself(trio):
    text = page.page(against_truth(*trio))
    parser = References()
    parser.feed(text)
    assert not parser.open
    assert all(value.startswith("data:") for value in parser.found)
    assert not re.search(r"https?://|@import|url\(", text)
    assert "default-src 'none'" in text
    data = json.loads(re.search(r'<script id="data"[^>]*>(.*?)</script>', text, re.S)[1])
    assert data["names"] == ["input pixels", "bicubic", "result", "truth"]
    assert len(data["places"]) == 6
    assert [mode["name"] for mode in data["modes"]] == [
        "true colour",
        "band 1, red",
        "band 2, green",
        "band 3, blue",
    ]


def test_names_are_words_and_never_marks(make_raster, tmp_path):
    source = make_raster(texture(1, 40, 40), "a&b.tif")
    with rasterio.open(source, "r+") as data:
        data.set_band_description(1, "</script><script>alert(1)</script>")
    output = made(source, tmp_path / "x.tif")
    text = page.page(compare_rasters(source, output))
    assert "<h1>a&amp;b.tif and x.tif</h1>" in text
    assert "<script>alert" not in text


def test_the_command_writes_a_page_and_a_picture(trio, tmp_path):
    done = run(*trio[:2], "--truth", trio[2], "-o", tmp_path / "r.html", "--png", "--windows", "2", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["places"] == 2
    assert told["scores"]["PSNR"]["result"] > told["scores"]["PSNR"]["bicubic"]
    assert told["scores"]["PSNR"]["truth"] is None
    assert cv2.imread(str(tmp_path / "r.png")).shape == (2 * (page.PANEL + pictures.LABEL), 4 * page.PANEL, 3)
    assert not list(tmp_path.glob(".*"))
    assert told["verdict"].startswith("The result is ")
    done = run(*trio, "-o", tmp_path / "s.html")
    assert done.stdout.startswith("Shrunk back, high agrees with the input to ")
    assert "\nconsistency      bicubic " in done.stdout
    assert "geosr compare low.tif high.tif truth.tif" in (tmp_path / "s.html").read_text()


def test_a_page_that_its_picture_would_replace_is_refused(trio, tmp_path):
    done = run(*trio, "-o", tmp_path / "r.png", "--png")
    assert done.exit_code == 2
    assert "would be one file" in done.output
    assert not (tmp_path / "r.png").exists()


def test_outputs_are_kept_and_inputs_never_written(trio, tmp_path):
    page = tmp_path / "r.html"
    page.write_text("mine")
    for args, said in (
        ((*trio, "-o", page), "exists; choose another output or --overwrite"),
        ((*trio, "-o", trio[1], "--overwrite"), "is an input"),
        ((*trio, "-o", tmp_path), "is a folder"),
        ((*trio, "-o", tmp_path / "none" / "r.html"), "there is no folder"),
        (("none.tif", trio[1], "-o", tmp_path / "t.html"), "cannot read 'none.tif'"),
    ):
        done = run(*args)
        assert done.exit_code == 1
        assert said in done.stderr
        assert len([line for line in done.stderr.splitlines() if line.startswith("Error")]) == 1
    assert page.read_text() == "mine"
    assert run(*trio, "-o", page, "--overwrite").exit_code == 0
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.slow
def test_the_page_is_opened_in_the_browser_that_the_system_names(trio, tmp_path):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    subprocess.run(
        [sys.executable, "-m", "geosr", "compare", *trio[:2], "-o", tmp_path / "r.html", "--windows", "1", "--open"],
        env={**os.environ, "BROWSER": str(browser)},
        check=True,
    )
    assert (tmp_path / "opened").read_text().strip() == (tmp_path / "r.html").as_uri()


@pytest.mark.slow
def test_the_real_scene_is_compared(tmp_path):
    source = DATA / "landsat8_great_salt_lake.tif"
    told = compare_rasters(source, made(source, tmp_path / "o.tif"), windows=4)
    assert len(told.places) == 4
    for place in told.places:
        corners = np.array(place.corners)
        assert corners[0] == pytest.approx(place.transform @ (0, 0), abs=1e-9)
