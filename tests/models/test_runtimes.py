"""Networks on each backend, people's own networks, and how far they see."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from geosr import Options, machine, models, super_resolve
from geosr.cli.main import main
from geosr.errors import ModelError, OptionError
from geosr.models import cards, exports, runtimes
from geosr.models import libraries as backend
from geosr.models.computing import Computing
from geosr.models.runtimes import Runtime
from geosr.quality import verify
from geosr.rasters.radiometry import fixed
from geosr.superresolve import stac, upscalers
from tests.conftest import DATA, texture
from tests.models.networks import convolve, write_network

pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'geosr[onnx]'")


@pytest.mark.parametrize("blend", [False, True])
def test_a_stac_item_tells_of_the_very_file(tmp_path, make_raster, blend):
    pytest.importorskip("rio_stac", reason="needs rio-stac: pip install 'geosr[stac]'")
    path, _ = write_network(tmp_path / "net.onnx", "mean" if blend else "plain")
    options = Options(model=str(path), computing=Computing(blend=blend))
    job = super_resolve(make_raster(texture(1, 80, 90)), tmp_path / "out.tif", options)
    item = stac.item(job, tmp_path / "out.tif")
    [low] = item["properties"]["mlm:input"]
    assert low["input"]["dim_order"] == ["batch", "channel", "height", "width"]
    assert item["properties"]["mlm:framework"] == "OpenVINO"
    assert item["assets"]["model"]["type"].endswith("application=onnx")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", "onnx"])
@pytest.mark.parametrize("name", ["span", "idn"])
def test_every_backend_gives_what_tensorflow_gives(name, backend):
    path = cards.shipped_path(name, 2)
    blocks = np.random.default_rng(0).random((2, 1, 40, 56), np.float32)
    assert np.abs(runtimes.load(path, backend)(blocks) - runtimes.load(path, "tensorflow")(blocks)).max() < 1e-5


@pytest.mark.parametrize("backend", ["openvino", "onnx"])
@pytest.mark.parametrize("bands", [1, 3])
def test_a_network_of_ones_own_is_seen_and_computed(tmp_path, backend, bands):
    path, weight = write_network(tmp_path / "net.onnx", bands=bands)
    network = upscalers.load_upscaler(str(path), computing=Computing(backend=backend))
    assert (network.scale, network.halo, network.bands) == (2, 3, None if bands == 1 else 3)
    block = np.random.default_rng(1).random((bands, 30, 40), np.float32)
    assert np.abs(network(block[None], fixed(0, 1, bands))[0] - convolve(block, weight)).max() < 1e-5


@pytest.mark.parametrize("kind", ["mean", "pooled"])
def test_a_network_without_a_halo_is_blended_only_on_request(tmp_path, make_raster, kind):
    path, _ = write_network(tmp_path / "net.onnx", kind)
    with pytest.raises(ModelError, match=r"tiles would not be exact; --blend"):
        upscalers.load_upscaler(str(path))
    assert upscalers.load_upscaler(str(path), computing=Computing(halo=20)).halo == 20
    source = make_raster(texture(1, 300, 200))
    results = []
    for tile in (128, 192, 320, 100):
        options = Options(model=str(path), computing=Computing(blend=True), tile=tile)
        super_resolve(source, tmp_path / f"{tile}.tif", options)
        with rasterio.open(tmp_path / f"{tile}.tif") as out:
            results.append(out.read().astype(int))
            assert out.tags()["GEOSR_MODEL"].endswith("each on openvino blended yes")
    assert max(np.abs(image - results[0]).max() for image in results) <= 1
    checks = verify.verify_output(source, tmp_path / "100.tif", model=str(path)).checks
    assert [check.ok for check in checks if check.name == "computed again"] == [True]
    with pytest.raises(OptionError, match="give one of the two"):
        Computing(blend=True, halo=4)


def test_a_network_that_takes_only_even_sizes_is_refused_in_one_line(tmp_path):
    path, _ = write_network(tmp_path / "net.onnx", "even")
    with pytest.raises(ModelError, match=r"tiles would not be exact; --blend"):
        upscalers.load_upscaler(str(path))
    network = upscalers.load_upscaler(str(path), computing=Computing(halo=8))
    with pytest.raises(ModelError, match="cannot take a block of 1 x 30 x 31") as error:
        network(np.zeros((1, 1, 30, 31), "float32"), fixed(0, 1, 1))
    assert "\n" not in str(error.value)
    blended = upscalers.load_upscaler(str(path), computing=Computing(blend=True))
    assert blended(np.zeros((1, 1, 200, 201), "float32"), fixed(0, 1, 1)).shape == (1, 1, 400, 402)


def test_blending_what_has_a_halo_changes_it_little_and_leaves_no_seam(tmp_path):
    path, weight = write_network(tmp_path / "net.onnx")
    block = np.random.default_rng(0).random((1, 192 + 128, 128 + 128), np.float32)
    blended = upscalers.load_upscaler(str(path), computing=Computing(blend=True))
    result = blended(block[None], fixed(0, 1, 1))[0][:, 128:-128, 128:-128]
    assert np.abs(result - convolve(block, weight)[:, 128:-128, 128:-128]).max() < 0.02


def test_tiled_equals_whole_of_a_network_of_ones_own(tmp_path, make_raster):
    path, _ = write_network(tmp_path / "net.onnx", bands=3)
    source = make_raster(texture(3, 150, 170))
    results = []
    for tile in (64, 256):
        super_resolve(source, tmp_path / f"{tile}.tif", Options(model=str(path), tile=tile))
        with rasterio.open(tmp_path / f"{tile}.tif") as out:
            results.append(out.read().astype(int))
    assert np.abs(results[0] - results[1]).max() <= 1
    assert (results[0] != results[1]).mean() < 1e-4


@pytest.mark.slow
def test_what_was_made_on_another_backend_is_verified_on_it(tmp_path, make_raster):
    source, output = make_raster(texture(1, 80, 90)), tmp_path / "out.tif"
    super_resolve(source, output, Options(model="span", computing=Computing(backend="onnx")))
    report = verify.verify_output(source, output)
    assert all(check.ok for check in report.checks), report


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("net.pt", "may hold code, which is never executed"),
        ("net.h5", "may hold code, which is never executed"),
        ("net.doc", "give a .keras, .onnx or .xml file"),
        ("text.onnx", "no network that can be loaded"),
        ("none.onnx", "no model"),
    ],
)
def test_what_is_no_network_is_refused_in_one_line(tmp_path, name, message):
    if not name.startswith("none"):
        (tmp_path / name).write_text("import os")
    with pytest.raises(ModelError, match=message) as error:
        upscalers.load_upscaler(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_a_network_of_one_size_is_refused(tmp_path):
    path, _ = write_network(tmp_path / "net.onnx", "of one size")
    with pytest.raises(ModelError, match="of any size"):
        upscalers.load_upscaler(str(path))


def test_a_backend_that_does_not_fit_or_is_not_installed_is_said(tmp_path, monkeypatch):
    path, _ = write_network(tmp_path / "net.onnx")
    with pytest.raises(ModelError, match="runs on openvino or onnx, not on tensorflow"):
        upscalers.load_upscaler(str(path), computing=Computing(backend="tensorflow"))
    with pytest.raises(OptionError, match="backend must be one of"):
        Computing(backend="theano")
    monkeypatch.setattr(runtimes, "_MODULES", {"openvino": "not_there", "onnx": "not_here"})
    with pytest.raises(ModelError, match="pip install not_there"):
        runtimes.load(path)
    with pytest.raises(ModelError, match=r"--precision bfloat16 needs a .keras file"):
        runtimes.load(path, precision="bfloat16")


def test_the_fastest_precision_is_what_the_device_is_known_for(tmp_path, monkeypatch):
    own, other = cards.shipped_path("span", 2), tmp_path / "net.onnx"

    def precision_of(path, backend, flags, gpu=0):
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        monkeypatch.setattr(machine, "PROCESSOR", tmp_path / "cpuinfo")
        monkeypatch.setattr(runtimes, "gpu_memory", lambda name: gpu)
        return runtimes.precise(path, backend, "auto")

    assert precision_of(own, "tensorflow", "fpu amx_bf16 amx_tile") == "bfloat16"
    assert precision_of(own, "tensorflow", "fpu avx2") == "float32"
    assert precision_of(own, "tensorflow", "fpu avx2", gpu=2**33) == "float16"
    assert precision_of(own, "openvino", "fpu amx_bf16") == precision_of(other, "onnx", "fpu amx_bf16") == "float32"
    # Which one it is belongs to what an output says of itself.
    (tmp_path / "cpuinfo").write_text("flags : amx_bf16")
    computing = Computing(backend="tensorflow", precision="auto")
    assert upscalers.load_upscaler("span", computing=computing).identity.computing.precision == "bfloat16"


def test_the_preferred_backend_is_the_first_that_is_installed_and_has_the_precision(monkeypatch):
    path = cards.shipped_path("span", 2)
    assert runtimes.choose(path) == "openvino"
    assert runtimes.choose(path, precision="bfloat16") == "tensorflow"
    monkeypatch.setattr(runtimes, "gpu_memory", lambda name: 2**33 * (name == "onnx"))
    assert runtimes.choose(path) == "onnx"
    monkeypatch.setattr(runtimes, "_MODULES", {"openvino": "not_there", "onnx": "not_here"})
    assert runtimes.choose(path) == "tensorflow"


def test_a_gpu_s_library_is_asked_only_where_there_is_a_gpu(monkeypatch):
    monkeypatch.setattr(machine, "gpu_memory", lambda: 0)
    monkeypatch.setattr(backend, "tensorflow", lambda: pytest.fail("loaded"))
    assert runtimes.gpu_memory("tensorflow") == runtimes.gpu_memory("onnx") == 0
    # A driver alone is not enough: the library may be one for processors.
    monkeypatch.setattr(machine, "gpu_memory", lambda: 2**33)
    for devices, size in (([], 0), (["GPU:0"], 2**33)):
        config = SimpleNamespace(list_physical_devices=lambda kind, devices=devices: devices)
        library = SimpleNamespace(config=config)
        monkeypatch.setattr(backend, "tensorflow", lambda library=library: library)
        assert runtimes.gpu_memory("tensorflow") == size
    assert runtimes.gpu_memory("openvino") == 0


def test_a_network_is_traced_once_for_blocks_of_any_shape(monkeypatch):
    """Another graph for the first shape would round some of its values in another way."""
    model, shapes = models.load(cards.shipped_path("span", 2)), []

    class Counted:
        inputs, predict_on_batch = model.inputs, model.predict_on_batch

        def __call__(self, blocks, training):
            shapes.append(blocks[0].shape)
            return model(blocks, training=training)

    monkeypatch.setattr(models, "load", lambda *_, **__: Counted())
    network = runtimes.load(cards.shipped_path("span", 2), "tensorflow")
    for rows, cols in ((16, 20), (24, 16), (32, 32)):
        assert network(np.zeros((1, 1, rows, cols), np.float32)).shape == (1, 1, 2 * rows, 2 * cols)
    assert len(shapes) == 1


@pytest.mark.slow
def test_less_precision_stays_near_and_keeps_what_bicubic_keeps():
    path = cards.shipped_path("span", 2)
    blocks = np.random.default_rng(0).random((1, 1, 40, 40), np.float32)
    less, full = (runtimes.load(path, precision=precision)(blocks) for precision in ("bfloat16", "float32"))
    assert less.dtype == np.float32
    assert 0 < np.abs(less - full).max() < 0.05
    # The bicubic enlargement and the sum are in float32: only what the network adds is rounded.
    slope = np.linspace(0, 1, 120, dtype=np.float32)[None, None, None].repeat(120, axis=2)
    less, full = (runtimes.load(path, precision=precision)(slope) for precision in ("bfloat16", "float32"))
    assert np.abs(less - full)[..., 60:-60, 60:-60].max() < 0.002


@pytest.mark.slow
def test_a_saved_model_is_loaded_only_if_it_is_trusted(tmp_path):
    exports.export(cards.shipped_path("span", 2), tmp_path / "saved")
    with pytest.raises(ModelError, match=r"which can execute anything.*--trust"):
        upscalers.load_upscaler(f"{tmp_path}/saved")
    network = upscalers.load_upscaler(f"{tmp_path}/saved", computing=Computing(trust=True))
    assert (network.scale, network.halo) == (2, 21)
    blocks = np.random.default_rng(0).random((1, 1, 40, 56), np.float32)
    assert (
        np.abs(network(blocks, fixed(0, 1, 1)) - upscalers.load_upscaler("span")(blocks, fixed(0, 1, 1))).max() < 1e-5
    )


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("Failed to allocate memory for requested buffer")])
def test_out_of_memory_halves_the_batch_and_the_same_blocks_run_again(error):
    sizes = []

    def forward(blocks):
        sizes.append(len(blocks))
        if len(blocks) > 2:
            raise error
        return blocks.repeat(2, 2).repeat(2, 3)

    blocks = np.random.default_rng(0).random((7, 1, 4, 4), np.float32)
    assert (Runtime(forward, 1, at_once=8 * 16)(blocks) == blocks.repeat(2, 2).repeat(2, 3)).all()
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]


def test_a_block_that_finds_no_memory_at_all_names_the_tile():
    def forward(blocks):
        raise MemoryError

    with pytest.raises(ModelError, match="block of 1 x 4 x 4; give a smaller --tile"):
        Runtime(forward, 1, at_once=32)(np.zeros((2, 1, 4, 4), np.float32))


@pytest.mark.slow
def test_a_network_in_8_bits_says_what_it_costs_and_tiles_as_the_whole(tmp_path, make_raster):
    pytest.importorskip("nncf", reason="needs nncf: pip install 'geosr[quantize]'")
    with rasterio.open(DATA / "landsat8_great_salt_lake.tif") as scene:
        pixels = scene.read(1, window=((0, 200), (0, 400)))
    scenes = [str(make_raster(pixels[None, :, col : col + 200], f"{col}.tif")) for col in (0, 200)]
    output = tmp_path / "idn_int8_x2.xml"
    command = ["models", "quantize", "idn", str(output), *scenes, "--tiles", "20", "--json"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    card = cards.of(output)
    assert card.psnr_cost == content["cost"] == round(content["psnr"] - content["quantized_psnr"], 4)
    assert (card.name, card.halo, card.scale) == ("idn_int8", 30, 2)
    # With sums and the bicubic enlargement in 8 bits too it is 2.7 dB; a noisy scene would hide it.
    assert abs(content["cost"]) < 0.05
    results = []
    for tile in (64, 256):
        super_resolve(scenes[0], tmp_path / f"t{tile}.tif", Options(model=str(output), tile=tile))
        with rasterio.open(tmp_path / f"t{tile}.tif") as out:
            results.append(out.read().astype(int))
    assert np.abs(results[0] - results[1]).max() <= 1
    assert "exists" in CliRunner().invoke(main, command).output
    few = CliRunner().invoke(main, [*command, "--overwrite", "--keep", "40"])
    assert few.exit_code != 0 and "31 convolutions: none is left" in few.output
