"""ONNX files that nobody should give to a runtime."""

import time

import onnx
import pytest
from click.testing import CliRunner

from geosr.cli.main import main
from geosr.errors import ModelError
from geosr.models import cards, onnx_files
from tests.models.networks import write_network


@pytest.mark.parametrize("path", sorted(cards.WEIGHTS.glob("*.onnx")), ids=lambda path: path.stem)
def test_the_networks_that_ship_are_taken(path):
    onnx_files.check(path)


def opset(model, version):
    model.opset_import[0].version = version


def side(model, value):
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = value


def dims(model, *values):
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(values)


def elsewhere(model, name):
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: opset(model, 2**40), "version 1099511627776 of the operators"),
        (lambda model: opset(model, -1), "version -1 of the operators"),
        (lambda model: side(model, 2**40), r"its 'lr' has the shape \[0, 1, 1099511627776, 0\]"),
        (lambda model: side(model, -3), "its 'lr' has the shape"),
        (lambda model: dims(model, 2**40, 2**40), "its constant 'weight' has the shape"),
        (lambda model: dims(model, 2**20, 2**20), "its constant 'weight' has the shape"),
        (lambda model: elsewhere(model, "../../etc/passwd"), "is in '../../etc/passwd', which is not beside it"),
        (lambda model: elsewhere(model, "/etc/passwd"), "is in '/etc/passwd', which is not beside it"),
        (lambda model: model.graph.ClearField("input"), "no input, or no output"),
        (lambda model: model.graph.ClearField("output"), "no input, or no output"),
    ],
)
def test_what_is_out_of_all_bounds_is_refused_at_once(tmp_path, change, message):
    path, _ = write_network(tmp_path / "net.onnx")
    onnx_files.check(path)
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    begin = time.monotonic()
    with pytest.raises(ModelError, match=message):
        onnx_files.check(path)
    done = CliRunner().invoke(main, ["models", "show", str(path)])
    assert (done.exit_code, done.output.count("\n")) == (1, 1), done.output
    assert time.monotonic() - begin < 5


def test_other_files_are_no_networks(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match=r"net.onnx' is no ONNX file, or is damaged"):
        onnx_files.check(tmp_path / "net.onnx")
    with pytest.raises(ModelError, match="cannot read"):
        onnx_files.check(tmp_path / "none.onnx")


@pytest.mark.parametrize("backend", ["openvino", "onnx"])
def test_a_damaged_network_is_one_line_on_every_backend(make_raster, tmp_path, backend, capfd):
    if backend == "onnx":
        pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'geosr[onnx]'")
    path, _ = write_network(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:36]
    path.write_bytes(model.SerializeToString().replace(b"DepthToSpace", b"Depth\xff\xfeSpace"))
    words = ["superresolve", make_raster(), tmp_path / "out.tif", "--model", path, "--backend", backend]
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert done.output.count("\n") == 1
    assert "\x1b" not in capfd.readouterr().err
