"""The original programs' command lines: what they are translated to, and the folders that come out."""

import shlex
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from geosr.cli.legacy import legacy as program
from geosr.rasters.resample import enlarge
from tests.conftest import DATA, one_line_error, texture
from tests.photographs import frames, moves, save_burst


def legacy(*args, cwd):
    result = subprocess.run(
        [sys.executable, "-m", "geosr.legacy", *map(str, args)], cwd=cwd, capture_output=True, text=True, check=False
    )
    forms = [line for line in result.stderr.splitlines() if line.startswith("new form: ")]
    return result, forms


@pytest.fixture
def pansharp(tmp_path, make_raster):
    """A folder of images as the originals' README has it."""
    (tmp_path / "00325_PANSHARP").mkdir()
    for i in range(2):
        make_raster(texture(3, 70, 100, seed=i), f"00325_PANSHARP/s{i}.tif", crs=None)
    return tmp_path


def trained(folder, random_idn, scale=2):
    """A folder of weights as the originals' README has it."""
    ckpts = folder / "Pretrained" / f"x{scale}" / "ckpts"
    ckpts.mkdir(parents=True)
    (ckpts / "epoch-0003.keras").write_bytes(random_idn(scale).read_bytes())
    return folder / "Pretrained"


@pytest.mark.slow
def test_eval_superres_net_takes_a_folder_and_makes_that_beside_it(pansharp, random_idn):
    weights = trained(pansharp, random_idn)
    args = ["eval_superres_net", "--data_path", "00325_PANSHARP/", "--pretrained_path", weights]
    args += ["--mean_values_path", weights, "--upsampling_factor", 2, "--num_tiles_w", 5, "--num_tiles_h", 5, "--debug"]
    result, [form] = legacy(*args, cwd=pansharp)
    assert result.returncode == 0, result.stderr
    folder = pansharp / "00325_PANSHARP_x2"
    assert {p.name for p in folder.iterdir()} == {"s0.tif", "s0_bic_up.tif", "s1.tif", "s1_bic_up.tif"}
    with (
        rasterio.open(folder / "s0_bic_up.tif") as data,
        rasterio.open(pansharp / "00325_PANSHARP" / "s0.tif") as source,
    ):
        assert data.bounds == source.bounds
        reference = np.clip(np.rint(enlarge(source.read(), 2)), 0, 255)
        np.testing.assert_array_equal(data.read(), reference)
    with rasterio.open(folder / "s0.tif") as data:
        assert data.tags()["GEOSR_MODEL"].split()[2] == "luma"
    # The line that is shown does the same.
    first, _ = form.removeprefix("new form: ").split(" && ", 1)
    (folder / "s0.tif").unlink()
    words = shlex.split(first)
    assert words[:3] == ["geosr", "superresolve", "00325_PANSHARP"]
    assert words[words.index("--tile") + 1] == "21"
    subprocess.run([sys.executable, "-m", *words, "-q"], cwd=pansharp, check=True)
    assert (folder / "s0.tif").exists()


@pytest.mark.slow
def test_weights_of_three_bands_take_the_images_as_they_are(pansharp, random_idn, monkeypatch):
    monkeypatch.chdir(pansharp)
    ckpts = pansharp / "three" / "x2" / "ckpts"
    ckpts.mkdir(parents=True)
    (ckpts / "epoch-0003.keras").write_bytes(random_idn(2, 3).read_bytes())
    args = ["eval_superres_net", "--upsampling_factor", "2", "--nchan", "3", "--pretrained_path", "three"]
    result = CliRunner().invoke(program, args)
    assert result.exit_code == 0, result.output
    with rasterio.open(pansharp / "00325_PANSHARP_x2" / "s0.tif") as data:
        assert "luma" not in data.tags()["GEOSR_MODEL"]


def test_given_nothing_it_takes_the_shipped_network_and_the_original_s_defaults(pansharp):
    (pansharp / "00325_PANSHARP" / "s0.tif").write_text("no raster")
    (pansharp / "00325_PANSHARP" / "s1.tif").write_text("no raster")
    result, [form] = legacy("eval_superres_net", cwd=pansharp)
    assert form == "new form: geosr superresolve 00325_PANSHARP 00325_PANSHARP_x4 --scale 4 --ext tif"
    assert "2 of 2 rasters failed" in result.stderr
    assert result.returncode == 1


@pytest.mark.slow
def test_a_set_is_made_and_a_network_trained_in_the_same_folders(pansharp):
    arguments = [
        "create_training_dataset",
        "--data_path",
        "00325_PANSHARP",
        "--out_path",
        "DATA_x2/",
        "--upsampling_factor",
        2,
    ]
    result, [form] = legacy(
        *arguments, "--tile_size_w", 32, "--tile_size_h", 32, "--num_data_per_file", 10, cwd=pansharp
    )
    assert result.returncode == 0, result.stderr
    assert form == "new form: geosr dataset 00325_PANSHARP DATA_x2 --scale 2 --size 32 --ext tif"
    for split in ("Training", "Validation"):
        assert list((pansharp / "DATA_x2" / "x2" / split).iterdir())
    args = [
        "train_superres_net",
        "--data_path",
        "DATA_x2/",
        "--out_path",
        "OUT",
        "--tile_size_w",
        32,
        "--tile_size_h",
        32,
    ]
    args += ["--batch_size", 4, "--nepochs", 1, "--learning_rate", 1e-4, "--ssim_loss"]
    result, [form] = legacy(*args, cwd=pansharp)
    assert result.returncode == 0, result.stderr
    assert form == (
        "new form: geosr train DATA_x2 OUT --scale 2 --model idn --bands 1 --epochs 1 --batch 4 --crop 16 "
        "--rate 0.0001 --loss ssim"
    )
    assert list((pansharp / "OUT" / "x2" / "ckpts").glob("*.keras"))
    assert list((pansharp / "OUT" / "x2" / "Log").rglob("events*"))


def test_restored_weights_are_those_of_the_newest_checkpoint(tmp_path, random_idn):
    (tmp_path / "Training_Data" / "x2" / "Training").mkdir(parents=True)
    weights = trained(tmp_path, random_idn).name
    result, [form] = legacy("train_superres_net", "--pretrained_path", weights, "--restore", cwd=tmp_path)
    assert form.endswith(f"--crop 48 --rate 0.0001 --loss l1 --fine-tune {weights}/x2/ckpts/epoch-0003.keras")
    assert "Training_Data" in one_line_error(result)


@pytest.mark.slow
def test_superresolution_stacks_the_photos_in_process(tmp_path):
    save_burst(tmp_path / "process", frames(moves(3)), ending=".jpg")
    result, [form] = legacy("superresolution", cwd=tmp_path)
    if "Hugin is not installed" in result.stderr or "hugin-tools" in result.stderr:
        pytest.skip("needs Hugin: sudo apt-get install hugin-tools")
    assert result.returncode == 0, result.stderr
    assert form == "new form: geosr burst process superresolution --method mean --method median"
    images = {path.name for path in (tmp_path / "superresolution").glob("*.tif")}
    assert images == {"mean.tif", "median.tif"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["eval_superres_net", "--data_path", "none"], "there is no folder 'none'"),
        (["eval_superres_net", "--data_path", "empty"], "no .tif files in 'empty'; name another ending with --img_ext"),
        (["eval_superres_net", "--data_path", "in", "--num_FB_layers", "3"], "--num_fb_layers must be 2"),
        (["eval_superres_net", "--data_path", "in", "--pretrained_path", "old"], "holds checkpoints of TensorFlow 1"),
        (["eval_superres_net", "--data_path", "in", "--pretrained_path", "in"], "there is no .keras file in 'in/x4'"),
        (
            ["create_training_dataset", "--data_path", "in", "--tile_size_w", "200"],
            "tiles are square here, got 200 x 400",
        ),
        (["train_superres_net", "--data_path", "in"], "there is no folder 'in/x2/Training'; geosr dataset makes it"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(tmp_path, args, message):
    for name in ("empty", "in", "old/x4/ckpts"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "in" / "a.tif").write_bytes((DATA / "neon_osbs_rgb.tif").read_bytes())
    (tmp_path / "old" / "x4" / "ckpts" / "final.index").touch()
    result, _ = legacy(*args, cwd=tmp_path)
    assert message in one_line_error(result)


def test_a_set_of_the_original_is_converted_first(tmp_path):
    (tmp_path / "Training_Data" / "x2" / "Training").mkdir(parents=True)
    (tmp_path / "Training_Data" / "x2" / "Training" / "data_001.tfrecords").write_bytes(b"no records")
    result, [form] = legacy("train_superres_net", "--tile_size_w", 96, "--tile_size_h", 96, cwd=tmp_path)
    convert, train = form.removeprefix("new form: ").split(" && ")
    assert convert == "geosr dataset convert Training_Data/x2 Training_Data_converted --size 96"
    assert train.startswith("geosr train Training_Data_converted Training_Results --scale 2")
    assert "data_001.tfrecords" in one_line_error(result)


def test_restore_needs_a_folder(tmp_path):
    (tmp_path / "Training_Data" / "x2" / "Training").mkdir(parents=True)
    result, _ = legacy("train_superres_net", "--restore", cwd=tmp_path)
    assert result.returncode == 2
    assert "--restore needs --pretrained_path" in result.stderr


@pytest.mark.parametrize(
    ("args", "option"),
    [
        (["eval_superres_net", "--upsampling_factor", "1"], "--upsampling_factor"),
        (["create_training_dataset", "--upsampling_factor", "12"], "--upsampling_factor"),
        (["create_training_dataset", "--tile_size_w", "8", "--tile_size_h", "8"], "--tile_size_"),
        (["train_superres_net", "--tile_size_w", "8", "--tile_size_h", "8"], "--tile_size_"),
        (["train_superres_net", "--learning_rate", "0"], "--learning_rate"),
    ],
)
def test_misuse_is_told_of_the_option_that_was_typed(args, option):
    result = CliRunner().invoke(program, args)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}" in result.output
    assert "new form" not in result.output


@pytest.mark.parametrize(("name", "output"), [(".", "images_x3"), ("../images/", "images_x3"), ("in/..", "images_x3")])
def test_results_of_the_folder_one_is_in_go_beside_it(tmp_path, monkeypatch, name, output):
    (tmp_path / "images" / "in").mkdir(parents=True)
    (tmp_path / "images" / "a.tif").write_text("no raster")
    monkeypatch.chdir(tmp_path / "images")
    result = CliRunner().invoke(program, ["eval_superres_net", "--data_path", name, "--upsampling_factor", "3"])
    folder = shlex.split(result.output.splitlines()[0])[5]
    assert (tmp_path / "images" / folder).resolve() == tmp_path / output
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["a.tif", "in"]


def test_photos_that_are_not_there_are_said(tmp_path):
    result, _ = legacy("superresolution", cwd=tmp_path)
    assert one_line_error(result).startswith("Error: there is no file or folder 'process'; ")
