"""Sets as others read them: TensorFlow Datasets, plain tf.data, and rasterio for the pixels."""

import json
import sys

import numpy as np
import pytest
import rasterio
from affine import Affine

from geosr.dataset import job, records, storage
from geosr.dataset.options import Options
from geosr.errors import DatasetError
from tests.conftest import texture
from tests.dataset.helpers import at, training


def tfds():
    try:
        import tensorflow_datasets
    except ImportError:
        pytest.skip("needs TensorFlow Datasets: pip install tensorflow-datasets")
    return tensorflow_datasets


@pytest.fixture
def many_shards(monkeypatch):
    monkeypatch.setattr(storage, "SHARD_BYTES", 20_000)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "uint32"])
def test_tensorflow_datasets_loads_a_set_with_the_pixels_of_the_scene(make_raster, tmp_path, many_shards, dtype):
    scenes = [
        make_raster(texture(3, 96, 96, seed=i, dtype=dtype, high=200), f"s{i}.tif", transform=at(4e5 + 5000 * i, 5e6))
        for i in range(4)
    ]
    made = job.build(scenes, tmp_path / "out", Options(size=32, validation=0.3, test=0.2))
    assert len(made.tiles) == 3
    seen = set()
    for split, name in storage.TFDS_SPLITS.items():
        builder = tfds().builder_from_directory(str(tmp_path / "out" / "x2" / split))
        assert builder.info.splits[name].num_examples == made.tiles[split]
        for example in builder.as_dataset(split=name).as_numpy_iterator():
            col, row, width, height = example["window"].tolist()
            scene = example["scene"].decode()
            assert example["gt"].dtype == (np.int32 if dtype == "uint32" else dtype)
            with rasterio.open(tmp_path / scene) as data:
                wanted = data.read(window=((row, row + height), (col, col + width)))
                assert (example["gt"].transpose(2, 0, 1) == wanted).all()
                assert Affine(*example["transform"]) @ (0, 0) == data.transform @ (col, row)
                assert example["crs"].decode() == data.crs.to_wkt()
            assert example["down"].shape == (16, 16, 3)
            assert example["bic_up"].shape == (32, 32, 3)
            assert example["range"].shape == (6,)
            assert example["bands"].tolist() == [1, 2, 3]
            seen.add((split, scene, col, row))
    assert len(seen) == sum(made.tiles.values()) == 36
    assert len(list((tmp_path / "out" / "x2" / "Training").glob("*.tfrecord-*"))) > 3


def test_shards_are_even_and_named_as_they_should_be(make_raster, tmp_path, many_shards):
    job.build([make_raster(texture(1, 256, 256))], tmp_path / "out", Options(size=32, validation=0))
    paths = sorted((tmp_path / "out" / "x2" / "Training").glob("*.tfrecord-*"))
    count = len(paths)
    assert [path.name for path in paths] == [f"geosr-train.tfrecord-{k:05d}-of-{count:05d}" for k in range(count)]
    sizes = [path.stat().st_size for path in paths]
    assert max(sizes) < 1.5 * min(sizes)
    assert max(sizes) < 1.3 * 20_000


def test_gzip_is_smaller_read_as_the_same_and_not_offered_to_tensorflow_datasets(make_raster, tmp_path):
    path = make_raster(texture(1, 96, 96) // 64 * 64)
    for name, zipped in (("plain", False), ("zipped", True)):
        job.build([path], tmp_path / name, Options(size=32, validation=0, gzip=zipped))
    plain, zipped = (list((tmp_path / n / "x2" / "Training").iterdir()) for n in ("plain", "zipped"))
    assert {path.name for path in plain} - {path.name for path in zipped} == {"dataset_info.json", "features.json"}
    assert sum(p.stat().st_size for p in zipped) < 0.5 * sum(p.stat().st_size for p in plain if "tfrecord" in p.name)
    for one, other in zip(training(tmp_path / "plain"), training(tmp_path / "zipped"), strict=True):
        assert (one.gt == other.gt).all()


def test_a_summary_is_what_is_there(make_raster, tmp_path):
    scenes = [make_raster(texture(2, 96, 96, seed=i), f"s{i}.tif", transform=at(4e5 + 5000 * i, 5e6)) for i in range(4)]
    job.build(scenes, tmp_path / "out", Options(size=32, validation=0.25, min_valid=0.5))
    told = storage.summary(tmp_path / "out")
    assert json.loads(json.dumps(told)) == told
    assert (told["bands"], told["dtype"], told["size"], told["scale"], told["bic_up"]) == (2, "uint8", 32, 2, True)
    assert {split: found["tiles"] for split, found in told["splits"].items()} == {"Training": 27, "Validation": 9}
    assert {split: found["share"] for split, found in told["splits"].items()} == {"Training": 0.75, "Validation": 0.25}
    for split, found in told["splits"].items():
        files = (tmp_path / "out" / "x2" / split).glob("*.tfrecord-*")
        assert found["bytes"] == sum(path.stat().st_size for path in files)
    lines = "\n".join(storage.lines(told))
    assert "Validation: 9 tiles (25.0%)" in lines
    assert "s3.tif: 2 bands, uint8, range 0,255 0,255; " in lines
    assert "min_valid 0.5" in lines


def test_a_set_that_lost_its_shards_is_said(make_raster, tmp_path):
    job.build([make_raster(texture(1, 96, 96))], tmp_path / "out", Options(size=32, validation=0))
    [shard] = (tmp_path / "out" / "x2" / "Training").glob("*.tfrecord-*")
    shard.unlink()
    with pytest.raises(DatasetError, match=r"no training set in .*Training"):
        storage.summary(tmp_path / "out")


def test_a_part_comes_back_as_it_was(tmp_path):
    (tmp_path / "part").write_bytes(storage.pack({"a": [1, 2]}, [b"", b"one", b"two" * 100]))
    header, places = storage.unpack(tmp_path / "part")
    assert header == {"a": [1, 2]}
    assert [place.read() for place in places] == [b"", b"one", b"two" * 100]


def test_a_set_is_made_and_looked_at_without_tensorflow(make_raster, tmp_path):
    import subprocess

    scene = make_raster(texture(1, 64, 64))
    out = tmp_path / "out"
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from geosr.cli.main import main\n"
        f"for line in (['{scene}', '{out}', '--size', '32', '--validation', '0'], ['info', '{out}'],\n"
        f"    ['audit', '{out}'], ['preview', '{out}', '{tmp_path / 'a.png'}']):\n"
        "    done = CliRunner().invoke(main, ['dataset', *line])\n"
        "    assert done.exit_code == 0, done.output\n"
        "heavy = {name.partition('.')[0] for name in sys.modules} & {'tensorflow', 'keras', 'dask', 'jax', 'torch'}\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_reading_an_example_needs_no_side_knowledge(make_raster, tmp_path):
    job.build([make_raster(texture(2, 64, 64))], tmp_path / "out", Options(size=32, validation=0))
    [one, *_] = records.read(tmp_path / "out" / "x2" / "Training")
    found = records.features(records.encode(one))
    assert {"gt", "down", "bic_up", "dtype", "shape", "scale", "range", "scene", "window", "crs"} < set(found)
