"""The networks and the training on the other Keras backends, each in a process of its own."""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from geosr import models
from geosr.dataset import job
from geosr.dataset.options import Options
from geosr.models import conditioning
from tests.conftest import texture

PICTURE = """
import sys
from pathlib import Path
import numpy as np
from geosr import models
from geosr.models import conditioning, libraries
model = models.load(Path(sys.argv[1]))
made = model.predict_on_batch(conditioning.inputs(model, np.load(sys.argv[2])))
np.save(sys.argv[3], libraries.keras().ops.convert_to_numpy(made))
assert "tensorflow" not in sys.modules, "TensorFlow was loaded"
"""


def needs(name):
    return pytest.param(
        name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed: pip install {name}")
    )


def run(backend, *arguments, **more):
    environment = os.environ | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""} | more
    process = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=500)
    assert process.returncode == 0, process.stderr
    return process


def test_a_backend_that_keras_does_not_have_is_one_line():
    environment = os.environ | {"KERAS_BACKEND": "foo"}
    words = [sys.executable, "-m", "geosr", "models", "export", "span", "nowhere.onnx"]
    process = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    [line] = process.stderr.splitlines()
    assert "KERAS_BACKEND must be tensorflow, jax or torch" in line


@pytest.mark.slow
@pytest.mark.parametrize("backend", [needs("jax"), needs("torch")])
@pytest.mark.parametrize("name", list(models.MODELS))
def test_a_weight_file_gives_the_same_pictures_on_every_backend(backend, name, tmp_path):
    import keras

    keras.utils.set_random_seed(0)
    model = models.build(name, 2)
    # Random weights that make a difference: the last layers of both networks begin with (nearly) nothing.
    model.set_weights([w + np.random.default_rng(0).normal(0, 0.02, w.shape) for w in model.get_weights()])
    models.save(models.fold(model), tmp_path / "m.keras")
    x = np.random.default_rng(1).random((1, 40, 44, 1), "float32")
    np.save(tmp_path / "x.npy", x)
    run(backend, "-c", PICTURE, str(tmp_path / "m.keras"), str(tmp_path / "x.npy"), str(tmp_path / "y.npy"))
    here = models.load(tmp_path / "m.keras")
    here = np.asarray(here(conditioning.inputs(here, x)))
    other = np.load(tmp_path / "y.npy")
    assert np.abs(here).max() > 0.5
    assert np.abs(here - other).max() < 1e-5


@pytest.fixture
def data(make_raster, tmp_path):
    scenes = [make_raster(texture(1, 100, 100, seed=i), f"s{i}.tif", crs=None) for i in range(3)]
    job.build(scenes, tmp_path / "data", Options(size=32, validation=0.3))
    return tmp_path / "data"


@pytest.mark.slow
@pytest.mark.parametrize("backend", [needs("jax"), needs("torch")])
def test_a_training_runs_and_goes_on_without_tensorflow(backend, data, tmp_path):
    command = ["-X", "importtime", "-m", "geosr", "train", str(data), str(tmp_path / "runs")]
    quick = ["--batch", "4", "--crop", "12", "--loss", "l1+0.1*ms-ssim"]
    first = run(backend, *command, *quick, "--epochs", "2")
    assert "epoch 1 of 2" in first.stderr
    assert "| tensorflow\n" not in first.stderr
    # As if it had been interrupted in its second epoch.
    (tmp_path / "runs" / "x2" / "ckpts" / "epoch-0002.keras").unlink()
    second = run(backend, *command, *quick, "--epochs", "2")
    assert "epoch 2 of 2" in second.stderr
    assert "epoch 1 of 2" not in second.stderr
    assert models.shape(models.load(tmp_path / "runs" / "x2" / "span_x2.keras")) == (2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("backend", [needs("jax")])
def test_a_batch_shared_among_devices_trains_as_one_device_does(backend, data, tmp_path):
    quick = ["--epochs", "1", "--crop", "12", "--batch", "4", "--loss", "l1+0.1*ssim"]
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    run(backend, "-m", "geosr", "train", str(data), str(alone), *quick)
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    run(backend, "-m", "geosr", "train", str(data), str(shared), *quick, "--parallel", **flags)
    one, two = (models.load(runs / "x2" / "span_x2.keras") for runs in (alone, shared))
    assert models.shape(two) == (2, 1)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        assert np.abs(a - b).max() < 1e-5
