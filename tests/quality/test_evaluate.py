import csv
import io
import json
from dataclasses import astuple, fields

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from geosr.cli.main import main
from geosr.errors import OptionError, OutputError, RasterError
from geosr.models import cards
from geosr.quality import evaluate as job
from geosr.quality import metrics
from geosr.quality.correctness import NAMES, correctness, enlarged
from geosr.quality.evaluate import evaluate_model
from geosr.quality.options import Options
from geosr.quality.scores import Scores
from geosr.rasters.degradation import Degradation
from geosr.rasters.radiometry import to_dtype
from geosr.rasters.resample import enlarge, shrink
from geosr.rasters.source import RasterSource, scene_range
from geosr.superresolve.job import super_resolve
from geosr.superresolve.plan import Options as Asked
from geosr.superresolve.upscalers import load_upscaler
from tests.conftest import one_line_error, peak_memory, texture

METHODS = ["nearest", "bilinear", "bicubic", "lanczos"]
BICUBIC = {2: 33.66, 3: 30.39, 4: 28.42}


def numbers(report):
    return {
        name: [np.nan if value is None else value for value in astuple(scores)]
        for result in report.scenes
        for name, scores in result.methods.items()
    }


def ran(*args):
    done = CliRunner().invoke(main, ["evaluate", *map(str, args)])
    # As of a process: one_line_error looks at what it prints, and returns.
    done.returncode = done.exit_code
    return done


@pytest.fixture
def holed(make_raster):
    """A scene with holes, at the edge and inside, of 16 bits and no multiple of any scale."""
    array = texture(3, 333, 299, dtype="uint16", low=200, high=3000)
    array[:, 100:140, 50:90] = 0
    array[1, 7:9, 250:] = 0
    return make_raster(array, "holed.tif", nodata=0)


def test_the_scene_is_degraded_as_asked(make_raster):
    array = texture(2, 160, 160, dtype="uint8")
    how = Degradation(("mtf", "quantise"), mtf=(0.1, 0.5), bits=4)
    scene = make_raster(array)
    [result] = evaluate_model("bicubic", [scene], Options(degradation=how)).scenes
    low = to_dtype(how(array, 2, values=scene_range(RasterSource(scene))), "uint8")
    psnr = [
        peak_signal_noise_ratio(*b, data_range=255) for b in zip(array, to_dtype(enlarge(low, 2), "uint8"), strict=True)
    ]
    assert result.methods["bicubic"].psnr == pytest.approx(np.mean(psnr))
    [plain] = evaluate_model("bicubic", [scene]).scenes
    assert abs(plain.methods["bicubic"].psnr - np.mean(psnr)) > 0.5


def test_plots_of_scenes_of_one_name_have_each_their_own():
    assert job.plot_names(["x/a.tif", "y/a.tif", "a_1.tif", "b.tif"]) == ["a_2", "a_3", "a_1", "b"]


def test_scores_are_those_of_the_whole_image(make_raster):
    array = texture(3, 150, 171, dtype="uint8")
    [result] = evaluate_model("bicubic", [make_raster(array)]).scenes
    truth = array[:, :150, :170]
    low = to_dtype(shrink(truth, 2), "uint8")
    made = to_dtype(enlarge(low, 2), "uint8")
    got = result.methods["bicubic"]
    one, other = made.astype(float), truth.astype(float)
    assert (result.width, result.height, list(result.methods)) == (170, 150, METHODS)
    psnr = [peak_signal_noise_ratio(*bands, data_range=255) for bands in zip(truth, made, strict=True)]
    assert got.psnr == pytest.approx(np.mean(psnr))
    keywords = {"data_range": 255, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = [structural_similarity(*bands, **keywords) for bands in zip(other, one, strict=True)]
    assert got.ssim == pytest.approx(np.mean(ssim))
    shaved = [metrics.luma(block)[0, 2:-2, 2:-2] for block in (truth, made)]
    assert got.psnr_y == pytest.approx(peak_signal_noise_ratio(*shaved, data_range=255))
    assert got.ssim_y == pytest.approx(structural_similarity(*[y.astype(float) for y in shaved], **keywords))
    assert got.sam == pytest.approx(metrics.sam(made, truth))
    assert got.ergas == pytest.approx(metrics.ergas(made, truth, scale=2))
    assert got.rmse == pytest.approx(np.sqrt(((one - other) ** 2).mean()))
    assert got.consistency == pytest.approx(np.sqrt(((shrink(made, 2) - low) ** 2).mean()))
    assert got.recovered == pytest.approx(metrics.spectra(made, truth, scale=2).recovered.mean())
    assert got.energy == pytest.approx(metrics.spectra(made, truth, scale=2).energy.mean())
    shares = correctness(made, truth, enlarged(low, 2), np.ones(truth.shape, bool)).value
    assert (got.improvement, got.omission, got.hallucination) == pytest.approx(tuple(shares))


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "side"), [(2, 64), (3, 192), (4, 128)])
def test_scores_do_not_depend_on_the_tiles(holed, scale, side):
    whole, tiled = (numbers(evaluate_model("bicubic", [holed], Options(scale=scale, side=n))) for n in (960, side))
    assert list(whole) == METHODS
    for name in whole:
        assert tiled[name] == pytest.approx(whole[name], rel=1e-9, nan_ok=True), name


@pytest.mark.slow
def test_scores_of_a_network_do_not_depend_on_the_tiles(make_raster, random_idn):
    source = make_raster(texture(1, 200, 190, dtype="float32", high=1))
    model = str(random_idn())
    whole, tiled = (numbers(evaluate_model(model, [source], Options(side=side))) for side in (256, 64))
    assert tiled["random_x2_1.keras"] == pytest.approx(whole["random_x2_1.keras"], rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("given", [None, (0, 9000)])
def test_the_network_makes_what_superresolve_makes_of_the_shrunk_scene(make_raster, random_idn, tmp_path, given):
    array = texture(1, 120, 160, dtype="uint16", low=300, high=2500)
    source = make_raster(array, "truth.tif")
    values = scene_range(RasterSource(source))
    low = make_raster(to_dtype(shrink(array, 2), "uint16"), "low.tif")
    asked = Asked(model=str(random_idn()), range=given or (values.low[0], values.high[0]))
    super_resolve(low, tmp_path / "made.tif", asked)
    with rasterio.open(tmp_path / "made.tif") as made:
        found = made.read()
    [result] = evaluate_model(str(random_idn()), [source], Options(range=given)).scenes
    got = result.methods["random_x2_1.keras"]
    # Its peak is that of the scene in any case, so that ranges can be compared.
    assert got.psnr == pytest.approx(metrics.psnr(found, array, peak=values.high[0] - values.low[0])[0], abs=1e-3)
    assert got.consistency == pytest.approx(
        metrics.consistency(found, to_dtype(shrink(array, 2), "uint16"))[0], rel=1e-3
    )


def test_pixels_without_data_do_not_count(holed, make_raster):
    """Whatever stands in them, however they are marked."""
    with rasterio.open(holed) as scene:
        array = scene.read()
    other = make_raster(np.where(array == 0, 65535, array), "other.tif", nodata=65535)
    one, two = (numbers(evaluate_model("bicubic", [path])) for path in (holed, other))
    for name in METHODS:
        assert one[name] == pytest.approx(two[name], rel=1e-9, nan_ok=True)


def test_transparency_is_a_mask_and_no_band(make_raster):
    array = texture(4, 100, 120)
    array[3] = np.where(np.tri(100, 120, -20), 0, 255)
    source = make_raster(array, photometric="RGB", alpha="YES")
    [result] = evaluate_model("bicubic", [source]).scenes
    plain = make_raster(array[:3], "plain.tif")
    assert result.bands == 3
    assert result.methods["bicubic"].psnr != pytest.approx(
        evaluate_model("bicubic", [plain]).scenes[0].methods["bicubic"].psnr
    )
    assert evaluate_model("bicubic", [source], Options(alpha="band")).scenes[0].bands == 4


def test_the_border_is_left_out(make_raster):
    array = texture(1, 100, 100)
    source = make_raster(array)
    made = to_dtype(enlarge(to_dtype(shrink(array, 2), "uint8"), 2), "uint8")
    got = evaluate_model("bicubic", [source], Options(border=7)).total["bicubic"]
    cut = np.s_[:, 7:-7, 7:-7]
    assert got.psnr == pytest.approx(metrics.psnr(made[cut], array[cut], peak=255)[0])
    assert got.ssim == pytest.approx(metrics.ssim(made[cut], array[cut], peak=255)[0])


def test_totals_are_means_and_errors_of_two_units_have_none(make_raster):
    paths = [make_raster(texture(2, 80, 90, seed=i), f"s{i}.tif") for i in range(2)]
    report = evaluate_model("bicubic", paths)
    one, two = (result.methods["lanczos"] for result in report.scenes)
    assert report.total["lanczos"].psnr == pytest.approx((one.psnr + two.psnr) / 2)
    assert report.total["lanczos"].consistency == pytest.approx((one.consistency + two.consistency) / 2)
    wide = make_raster(texture(1, 80, 90, dtype="uint16", high=9000), "wide.tif")
    total = evaluate_model("bicubic", [*paths, wide]).total["lanczos"]
    assert (total.consistency, total.rmse, total.sam) == (None, None, None)
    assert total.ssim is not None


def test_a_constant_scene_has_what_can_be_told_of_it(make_raster):
    [result] = evaluate_model("bicubic", [make_raster(np.full((1, 70, 70), 9, "uint8"))]).scenes
    got = result.methods["bicubic"]
    assert (got.psnr, got.ssim, got.rmse, got.ergas) == (np.inf, pytest.approx(1), 0, 0)
    assert (got.sam, got.recovered, got.energy, got.improvement) == (None, None, None, None)


def test_a_constant_band_says_nothing_of_the_others(make_raster):
    bands = texture(2, 80, 90)
    constant = np.full((1, 80, 90), 9, "uint8")
    [two] = evaluate_model("bicubic", [make_raster(bands, "two.tif")]).scenes
    [three] = evaluate_model("bicubic", [make_raster(np.concatenate([bands, constant]), "three.tif")]).scenes
    for name, scored in three.methods.items():
        assert scored.psnr == pytest.approx(two.methods[name].psnr)


def test_bitmaps_with_a_newer_header_than_gdal_reads_are_read(tmp_path):
    array = texture(3, 40, 60)
    Image.fromarray(array.transpose(1, 2, 0)).save(tmp_path / "old.bmp")
    old = (tmp_path / "old.bmp").read_bytes()
    newer = bytearray(old[:54] + bytes(68) + old[54:])
    for at, value in ((2, len(newer)), (10, 122), (14, 108)):
        newer[at : at + 4] = value.to_bytes(4, "little")
    (tmp_path / "new.bmp").write_bytes(newer)
    one, two = (numbers(evaluate_model("bicubic", [tmp_path / name])) for name in ("old.bmp", "new.bmp"))
    assert one["bicubic"] == pytest.approx(two["bicubic"], nan_ok=True)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_command_reproduces_bicubic_s_published_set5(shared, scale):
    done = ran("bicubic", shared / "Set5", "--ext", "bmp", "--protocol", "paper", "-s", scale, "--json", "-q")
    told = json.loads(done.stdout)
    assert len(told["scenes"]) == 5
    assert told["total"]["bicubic"]["psnr"] == pytest.approx(BICUBIC[scale], abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_cards_figures_are_those_of_the_command(shared, scale):
    [card] = [card for card in cards.shipped() if (card.name, card.scale) == ("idn", scale)]
    [told] = card.scores.values()
    places = {"NAIP North Carolina": "naip_nc_m_3607824.tif", "Landsat 8 pan": "l8_pan_elkton_va.tif"}
    for place, name in places.items():
        total = evaluate_model("idn", [shared / "val" / name], Options(scale=scale, border=scale)).total
        assert total["bicubic"].psnr == pytest.approx(told[place]["bicubic"], abs=0.01)
        assert total["idn"].psnr - total["bicubic"].psnr == pytest.approx(told[place]["gain"], abs=0.01)


def test_the_table_has_a_row_for_each_method_and_columns_with_something_to_say(make_raster):
    source = make_raster(texture(1, 80, 90))
    done = ran("bicubic", source, "-q")
    assert done.exit_code == 0
    title, head, *rows = done.stdout.splitlines()
    assert title == f"{source}: 90 x 80 pixels, 1 band of uint8"
    assert head.split() == ["PSNR", "SSIM", "ERGAS", "consistency", "recovered", "energy", *NAMES]
    assert [row.split()[0] for row in rows] == METHODS
    done = ran("bicubic", source, make_raster(texture(3, 80, 90), "rgb.tif"), "-q")
    assert "PSNR-Y" in done.stdout
    assert done.stdout.splitlines()[12] == "mean of 2 scenes"


def test_json_and_csv_hold_the_same_scores(make_raster, tmp_path):
    source = make_raster(texture(2, 80, 90))
    done = ran("bicubic", source, "--json", "--csv", tmp_path / "scores.csv")
    told = json.loads(done.stdout, parse_constant=pytest.fail)
    assert (told["model"], told["scale"], told["border"]) == ("bicubic", 2, 0)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "scores.csv").read_text())))
    assert [(row["scene"], row["method"]) for row in rows] == [
        (scene, name) for scene in (str(source), "total") for name in METHODS
    ]
    for row in rows[:4]:
        for field in fields(Scores):
            value = told["scenes"][0]["methods"][row["method"]][field.name]
            assert (
                (row[field.name] == "") if value is None else float(row[field.name]) == pytest.approx(value, rel=1e-5)
            )


def test_scenes_are_files_folders_and_patterns(make_raster, tmp_path):
    (tmp_path / "more").mkdir()
    paths = [make_raster(texture(1, 60, 60), name) for name in ("a.tif", "more/b.tif", "more/c.tiff")]
    done = ran("bicubic", paths[0], tmp_path / "more", tmp_path / "more" / "*.tif", "--json", "-q")
    assert [scene["scene"] for scene in json.loads(done.stdout)["scenes"]] == list(map(str, paths))


@pytest.mark.parametrize(
    ("array", "args", "wrong"),
    [
        (texture(1, 10, 40), [], "has 40 x 10 pixels; scores at scale 2 need 12 in rows and columns"),
        (texture(1, 14, 14), ["--border", "3"], "need 18 in rows and columns"),
        (texture(2, 40, 40), ["--protocol", "paper"], "has 2 bands of uint8, and the paper protocol needs red"),
        (np.zeros((1, 40, 40), "uint8"), [], "has no valid pixel to compare; leave it out"),
        (texture(1, 40, 40), ["--bands", "2"], "has bands 1 to 1, got 2"),
        (texture(1, 40, 40), ["--csv", "missing/scores.csv"], "there is no folder"),
        (texture(1, 40, 40), ["-s", "5", "nowhere.tif"], "nowhere.tif"),
    ],
)
def test_what_cannot_be_scored_is_told_in_a_line_before_any_work(make_raster, monkeypatch, array, args, wrong):
    monkeypatch.setattr(job, "measured", lambda *_, **__: pytest.fail("work has begun"))
    done = ran("bicubic", make_raster(array, nodata=0), *args)
    assert wrong in one_line_error(done)


def test_a_model_of_other_bands_or_scale_is_refused(make_raster, random_idn):
    source = make_raster(texture(2, 40, 40))
    with pytest.raises(OptionError, match=r"gives 2 bands but .* takes 3; choose them with --bands"):
        evaluate_model(str(random_idn(2, 3)), [source])
    assert "no shipped model 'idn' for scale 7" in one_line_error(ran("idn", source, "-s", "7"))
    assert "there is no model 'nosuch'" in one_line_error(ran("nosuch", source))
    assert ran("idn").exit_code == 2


def test_scattered_pixels_that_no_shrunk_scene_would_show_are_told(make_raster):
    array = np.zeros((1, 40, 40), "uint8")
    array[:, ::2, ::2] = 7
    with pytest.raises(RasterError, match="no valid pixel that a shrunk scene would show"):
        evaluate_model("bicubic", [make_raster(array, nodata=0)])


def test_outputs_are_not_replaced_unless_asked(make_raster, tmp_path):
    source = make_raster(texture(1, 60, 60))
    (tmp_path / "scores.csv").write_text("mine")
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "scene_crops.png").write_text("mine")
    for option in (["--csv", tmp_path / "scores.csv"], ["--plots", tmp_path / "plots"]):
        assert "exists; choose another output or --overwrite" in one_line_error(ran("bicubic", source, *option))
    assert ran("bicubic", source, "--csv", tmp_path / "scores.csv", "--overwrite").exit_code == 0
    assert (tmp_path / "scores.csv").read_text().startswith("scene,method,scale")
    for folder in (tmp_path / "scores.csv", tmp_path / "scores.csv" / "plots"):
        with pytest.raises(OutputError, match=r"cannot write to .*scores\.csv"):
            evaluate_model("bicubic", [source], csv_file=tmp_path / "new.csv", plots_folder=folder)
    assert not (tmp_path / "new.csv").exists()


def test_an_interrupted_run_leaves_nothing(make_raster, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "measured", stop)
    done = ran("bicubic", make_raster(texture(1, 60, 60)), "--csv", tmp_path / "s.csv", "--plots", tmp_path / "plots")
    assert done.exit_code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_plots_without_matplotlib_are_refused_before_any_work(make_raster, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "find_spec", lambda name: None)
    done = ran("bicubic", make_raster(texture(1, 60, 60)), "--plots", tmp_path / "plots")
    assert "plots need matplotlib; install it: pip install 'geosr[plots]'" in one_line_error(done)


@pytest.mark.slow
@pytest.mark.parametrize("bands", [1, 4])
def test_plots_of_each_scene_are_pictures(make_raster, tmp_path, bands):
    (tmp_path / "b").mkdir()
    array = texture(bands, 200, 150, dtype="uint16", high=5000)
    array[:, 20:50, 20:60] = 0
    paths = [make_raster(array, name, nodata=0) for name in ("scene.tif", "b/scene.tif", "other.tif")]
    evaluate_model("bicubic", paths, plots_folder=tmp_path / "plots")
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert names == {f"{scene}_{what}.png" for scene in ("scene_1", "scene_2", "other") for what in job.PLOTS}
    for name in names:
        picture = np.asarray(Image.open(tmp_path / "plots" / name).convert("RGB"))
        assert min(picture.shape[:2]) > 300
        assert picture.std() > 5


@pytest.mark.slow
def test_plots_show_true_colour_by_the_names_of_bands(make_raster, tmp_path):
    """Blue ground under the names of Sentinel-2, in whichever order its bands are written."""
    for names in (("B02", "B03", "B04", "B08"), ("B08", "B04", "B03", "B02")):
        array = np.full((4, 120, 120), 100, "uint16")
        array[names.index("B02"), 20:100, 20:100] = texture(1, 80, 80, dtype="uint16", low=3000, high=4000)[0]
        source = make_raster(array)
        with rasterio.open(source, "r+") as file:
            file.descriptions = names
        evaluate_model("bicubic", [source], plots_folder=tmp_path / "plots", overwrite=True)
        with Image.open(tmp_path / "plots" / "scene_crops.png") as picture:
            red, _, blue = np.asarray(picture.convert("RGB")).astype(int).transpose(2, 0, 1)
        assert (blue - red > 100).mean() > 0.2
        assert (red - blue > 100).mean() < 0.002


def test_maps_hold_the_errors_of_their_cells(holed, monkeypatch):
    """Cells of 8 x 8 pixels, put together from tiles; their mean is that of the pixels."""
    monkeypatch.setattr(job, "MAP", 50)
    upscaler = load_upscaler("bicubic", 2)
    scene = job.open_scene(str(holed), upscaler, "bicubic", Options(side=128))
    maps = job.Maps(scene)
    for tile in scene.grid:
        maps.place(tile, job.measured(tile, scene=scene, upscaler=upscaler, label="bicubic", mapped=True).maps)
    assert scene.cell == 8
    found = maps.errors["bicubic"]
    window = scene.truth.profile.window
    high = scene.truth.read(window)
    truth = high.block
    made = to_dtype(enlarge(scene.low.read(scene.low.profile.window).block, 2), "uint16")
    errors = (metrics.squared_errors(made, truth) / scene.peak[:, None, None] ** 2).mean(axis=0)
    good = high.valid.all(axis=0)
    assert found.count.sum() <= good.sum()
    assert found.value[2, 3] == pytest.approx(errors[16:24, 24:32].mean())
    assert np.isnan(found.value[14, 8])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_scene(make_raster):
    small, large = (make_raster(texture(1, rows, 800), f"{rows}.tif", tiled=True) for rows in (800, 6400))
    peaks = [peak_memory("evaluate", "bicubic", path, "-q", "-j", "1") for path in (small, large)]
    assert peaks[1] < peaks[0] + 30_000_000


def test_a_scene_is_never_replaced_by_its_scores(make_raster):
    scene = make_raster(texture(1, 64, 64))
    before = scene.read_bytes()
    assert "is an input" in ran("bicubic", scene, "--csv", scene, "--overwrite").output
    assert scene.read_bytes() == before


@pytest.mark.parametrize("option", [("--mtf", "sentinel2-10m"), ("--noise", "0.1,0.1"), ("--bits", "4")])
def test_a_setting_of_a_step_that_is_not_taken_is_refused(make_raster, option):
    done = ran("bicubic", make_raster(texture(1, 64, 64)), *option)
    assert done.exit_code == 2
    assert f"{option[0]} needs --degradation with the step" in done.output
