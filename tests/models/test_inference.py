"""Inference files: found beside .keras files, converted once into the cache, and the only road without TensorFlow."""

import hashlib
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import rasterio
from scipy.ndimage import correlate

from geosr import models
from geosr.errors import ModelError
from geosr.models import cards, conditioning, inference, runtimes
from tests.conftest import texture

RUN = """
import socket, sys
def refuse(*arguments): raise AssertionError("something calls home")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = refuse
from geosr.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print("LOADED", {"tensorflow", "keras", "openvino", "onnxruntime", "openvino_telemetry.main"} & sys.modules.keys())
"""


def run(*words, home):
    environment = os.environ | {"HOME": str(home), "XDG_CACHE_HOME": "", "LOCALAPPDATA": str(home)}
    words = [sys.executable, "-c", RUN, *map(str, words)]
    process = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return process.stdout.rpartition("LOADED")[2].strip()


SENSOR = (0.71, 0.26, 0.004)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr(inference, "cache_folder", lambda: folder)
    return folder


@pytest.fixture
def copy(tmp_path):
    """A .keras file without an inference file."""
    path = tmp_path / "net.keras"
    shutil.copyfile(cards.shipped_path("span", 2), path)
    return path


def test_a_scene_is_super_resolved_without_tensorflow_and_without_a_call_home(make_raster, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    scene = make_raster(texture(1, 40, 50))
    assert run("superresolve", scene, tmp_path / "out.tif", home=home) == "{'openvino'}"
    with rasterio.open(tmp_path / "out.tif") as out:
        assert (out.width, out.height) == (100, 80)
        assert " each on openvino" in out.tags()["GEOSR_MODEL"]
    assert not list(home.iterdir())


@pytest.mark.slow
def test_a_network_of_ones_own_loads_tensorflow_once(make_raster, tmp_path, copy):
    home = tmp_path / "home"
    home.mkdir()
    cards.write(cards.of(cards.shipped_path("span", 2)), copy)
    scene = make_raster(texture(1, 40, 50))
    results = []
    for loaded in (("keras", "openvino", "tensorflow"), ("openvino",)):
        names = run("superresolve", scene, tmp_path / "out.tif", "-m", copy, "--overwrite", home=home)
        assert sorted(eval(names)) == sorted(loaded)
        with rasterio.open(tmp_path / "out.tif") as out:
            results.append(out.read())
    assert (results[0] == results[1]).all()
    [cached] = home.rglob("*.onnx")
    assert cached.name == hashlib.sha256(copy.read_bytes()).hexdigest() + ".onnx"


@pytest.mark.parametrize("path", sorted(cards.WEIGHTS.glob("*.keras")), ids=lambda path: path.stem)
def test_a_shipped_inference_file_is_the_keras_network(path):
    content = path.with_suffix(".onnx").read_bytes()
    onnx.checker.check_model(onnx.load_from_string(content))
    assert inference.digest_in(content) == hashlib.sha256(path.read_bytes()).hexdigest()
    blocks = (texture(1, 40, 56) / 255)[None].astype(np.float32)
    model = models.load(path)
    sensor = {"sensor": np.array([SENSOR], np.float32)} if conditioning.is_conditioned(model) else {}
    [output] = onnxruntime.InferenceSession(content).run(None, {"lr": blocks, **sensor})
    images = conditioning.inputs(model, blocks.transpose(0, 2, 3, 1), SENSOR)
    reference = np.asarray(model(images)).transpose(0, 3, 1, 2)
    assert np.ptp(reference) > 0.5
    assert np.abs(output - reference).max() < 1e-5


def test_a_network_is_converted_once(copy, cache, monkeypatch):
    content = inference.content_of(copy)
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()
    assert inference.digest_in(content) == digest
    assert [path.name for path in cache.iterdir()] == [f"{digest}.onnx"]
    monkeypatch.setattr(models, "load", lambda *_, **__: pytest.fail("converted again"))
    assert inference.content_of(copy) == content


@pytest.mark.parametrize("content", [b"", b"not onnx", "another"])
def test_a_file_beside_it_that_is_not_of_this_network_is_ignored(copy, cache, content):
    if content == "another":
        content = cards.shipped_path("span", 3).with_suffix(".onnx").read_bytes()
    copy.with_suffix(".onnx").write_bytes(content)
    assert inference.digest_in(inference.content_of(copy)) == hashlib.sha256(copy.read_bytes()).hexdigest()
    assert copy.with_suffix(".onnx").read_bytes() == content


def test_a_cache_that_cannot_be_written_is_done_without(copy, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(inference, "cache_folder", lambda: tmp_path / "file" / "cache")
    assert inference.digest_in(inference.content_of(copy))


def test_a_converted_network_that_differs_is_refused(copy, monkeypatch):
    monkeypatch.setattr("geosr.models.runtimes.difference", lambda *_: 2e-5)
    with pytest.raises(ModelError, match=r"differ by 2\.0e-05 on OpenVINO.*--backend tensorflow"):
        inference.converted(models.load(copy), "")


@pytest.fixture
def told(tmp_path):
    """A network whose kernel depends on three numbers of a sensor, and the kernels of those."""
    import keras

    class Told(keras.layers.Layer):
        def build(self, shapes):
            self.kernels = self.add_weight(shape=(3, 3, 3, 1, 4), initializer="glorot_uniform")

        def call(self, inputs):
            image, sensor = inputs
            kernel = keras.ops.tensordot(sensor[0], self.kernels, 1)
            return keras.ops.conv(image, kernel, padding="same", data_format="channels_last")

        def compute_output_shape(self, shapes):
            return (*shapes[0][:-1], 4)

    inputs = [keras.Input((None, None, 1), name="lr"), keras.Input((3,), name="sensor")]
    layer = Told()
    output = keras.layers.UpSampling2D(2)(layer(inputs)[..., :1])
    return keras.Model(inputs, output), np.asarray(layer.kernels)[..., 0, 0]


@pytest.mark.parametrize("backend", ["openvino", "onnx", "keras"])
def test_a_network_is_told_of_the_sensor_on_every_backend(told, backend):
    model, kernels = told
    sensor = (0.9, 0.5, 0.01)
    if backend == "keras":
        network = runtimes.of_keras(model, sensor)
    else:
        network = runtimes.of_onnx(inference.converted(model, ""), backend, sensor=sensor)
    block = np.random.default_rng(0).random((2, 1, 20, 30), np.float32)
    expected = [correlate(image, np.tensordot(sensor, kernels, 1), mode="constant") for image in block[:, 0]]
    assert np.abs(network(block)[:, 0, ::2, ::2] - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("system", "variables", "folder"),
    [
        ("linux", {"XDG_CACHE_HOME": ""}, ".cache/geosr"),
        ("linux", {"XDG_CACHE_HOME": "/elsewhere"}, "/elsewhere/geosr"),
        ("darwin", {}, "Library/Caches/geosr"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/geosr"),
    ],
)
def test_the_cache_lies_where_the_system_has_it(monkeypatch, tmp_path, system, variables, folder):
    monkeypatch.setattr(sys, "platform", system)
    for name, value in (variables | {"HOME": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    assert inference.cache_folder() == tmp_path / folder
