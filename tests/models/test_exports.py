import pytest
from click.testing import CliRunner

from geosr.cli.main import main
from geosr.errors import ModelError
from geosr.models import cards, exports


@pytest.mark.slow
@pytest.mark.parametrize("name", ["net.onnx", "net.tflite", "net"])
def test_an_exported_network_gives_the_same_values(tmp_path, name):
    result = CliRunner().invoke(main, ["models", "export", "span", str(tmp_path / name)])
    assert result.exit_code == 0, result.output
    assert float(result.output.split("by ")[1].split()[0]) < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == [name]
    result = CliRunner().invoke(main, ["models", "export", "span", str(tmp_path / name)])
    assert result.exit_code == 1


@pytest.mark.slow
def test_a_saved_model_is_replaced_only_if_it_is_one(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("keep")
    command = ["models", "export", "span", "--overwrite"]
    assert CliRunner().invoke(main, [*command, str(tmp_path / "mine")]).exit_code == 1
    assert (tmp_path / "mine" / "notes").exists()
    for _ in range(2):
        assert CliRunner().invoke(main, [*command, str(tmp_path / "saved")]).exit_code == 0


@pytest.mark.slow
def test_an_exported_network_that_differs_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setitem(exports.READERS, ".onnx", lambda path: lambda blocks: blocks.repeat(2, 2).repeat(2, 3))
    with pytest.raises(ModelError, match=r"differ by .* more than 1e-04"):
        exports.export(cards.shipped_path("span", 2), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ModelError, match=r"must end in \.onnx or \.tflite"):
        exports.export(cards.shipped_path("span", 2), tmp_path / "net.doc")
