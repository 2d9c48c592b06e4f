import gzip
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from geosr.cli.main import main
from geosr.dataset import formats, job, records
from geosr.dataset.options import Options
from geosr.dataset.records import Sample
from geosr.errors import DatasetError
from geosr.grid import Window
from geosr.rasters.radiometry import fixed
from tests.conftest import texture


def sample(seed=0, dtype="uint16"):
    images = {"gt": texture(3, 12, 12, seed=seed), "down": texture(3, 6, 6), "bic_up": texture(3, 12, 12)}
    return Sample(
        **{k: v.astype(dtype) for k, v in images.items()},
        range=fixed(0, 300, 3),
        scene="a.tif",
        window=Window(1, 2, 12, 12),
        bands=(4, 3, 2),
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_a_sample_comes_back_as_it_was(dtype):
    made = sample(dtype=dtype)
    again = records.decode(records.encode(made))
    for name in records.IMAGES:
        assert (getattr(again, name) == getattr(made, name)).all()
        assert getattr(again, name).dtype == dtype
    assert (again.range, again.scene, again.window, again.scale) == (made.range, made.scene, made.window, 2)
    assert again.bands == (4, 3, 2)


def test_a_scale_of_nothing_is_no_sample():
    example = records.encode(sample())
    values = {
        name: value[0] if isinstance(value[0], bytes) else value for name, value in records.features(example).items()
    }
    with pytest.raises(DatasetError, match="its scale is 0"):
        records.decode(records.serialise({**values, "scale": [0]}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dtype", b"O"),
        ("dtype", b"float16"),
        ("dtype", b"i4,i4"),
        ("dtype", b"\xff\xfe"),
        ("shape", [2**62, 2**62, 3]),
        ("shape", [12, 12]),
        ("shape", [-1, 12, 3]),
        ("scale", [2**62]),
        ("scale", [3]),
        ("range", b""),
        ("range", np.full(6, np.nan).tobytes()),
        ("transform", np.full(6, np.inf).tobytes()),
        ("transform", b"\0" * 8),
        ("window", [0, 0, 2**62, 1]),
        ("window", []),
        ("bands", [-(2**63)]),
        ("gt", b""),
        ("crs", b"\xff"),
    ],
)
def test_values_out_of_all_bounds_are_no_sample(name, value):
    features = records.features(records.encode(sample()))
    values = {key: v[0] if isinstance(v[0], bytes) else v for key, v in features.items()}
    with pytest.raises(DatasetError, match=r"^a record is not a sample of geosr: ."):
        records.decode(records.serialise({**values, name: value}))


@pytest.mark.slow
def test_a_shard_that_unpacks_without_end_is_refused_in_little_memory(tmp_path):
    path = tmp_path / "geosr-train.tfrecord-00000-of-00001"
    piece = gzip.compress(b"\0" * 2**20)
    path.write_bytes(piece * 3 * 2**10)
    assert path.stat().st_size < 7e6
    script = (
        "import resource, sys; from geosr.dataset import records; from geosr.errors import DatasetError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: records.read(sys.argv[1])\n"
        "except DatasetError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    text, more = done.stdout.splitlines()
    assert "unpacks to more than 1.1 GB, which no shard does; if you trust it, unpack it with gunzip" in text
    assert int(more) < 100_000


def test_an_example_needs_no_side_knowledge():
    import tensorflow as tf

    features = tf.train.Example.FromString(records.encode(sample())).features.feature
    rows, cols, bands = features["shape"].int64_list.value
    pixels = np.frombuffer(features["gt"].bytes_list.value[0], features["dtype"].bytes_list.value[0].decode())
    assert (pixels.reshape(rows, cols, bands) == sample().gt.transpose(1, 2, 0)).all()


def test_samples_are_read_over_all_shards_by_number(tmp_path):
    for k in range(3):
        some = b"".join(records.framed(records.encode(sample(4 * k + i))) for i in range(4))
        (tmp_path / f"set.tfrecord-{k:05d}-of-00003").write_bytes(some)
    assert [s.gt[0, 0, 0] for s in records.read(tmp_path)] == [sample(seed).gt[0, 0, 0] for seed in range(12)]


def test_the_one_set_of_a_folder_is_found(tmp_path):
    with pytest.raises(DatasetError, match="no training set in"):
        records.sets_in(tmp_path)
    for scale in (2, 3):
        (tmp_path / f"x{scale}").mkdir()
        (tmp_path / f"x{scale}" / records.CARD).write_text(json.dumps(CARD))
        assert records.sets_in(tmp_path / f"x{scale}") == tmp_path / f"x{scale}"
        if scale == 2:
            assert records.sets_in(tmp_path) == tmp_path / "x2"
    with pytest.raises(DatasetError, match=r"several training sets; name one of .*x2, .*x3"):
        records.sets_in(tmp_path)


def test_a_truncated_or_foreign_shard_is_named_with_the_record(tmp_path):
    import tensorflow as tf

    path = tmp_path / "set.tfrecord-00000-of-00001"
    path.write_bytes(b"".join(records.framed(records.encode(sample(seed))) for seed in range(3)))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=r"set\.tfrecord-00000-of-00001', record 2: it is truncated"):
        records.read(tmp_path)
    path.write_bytes(b"II*\0 a TIFF, say, of some length")
    with pytest.raises(DatasetError, match="record 0: it is damaged, or no TFRecord file"):
        records.read(tmp_path)
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"something else")
    with pytest.raises(DatasetError, match="record 0: a record is not a sample"):
        list(records.read(tmp_path))


def test_a_set_that_has_fewer_samples_than_it_says_is_none(make_raster, tmp_path):
    job.build([make_raster(texture(1, 64, 64))], tmp_path, Options(size=16, validation=0))
    folder = tmp_path / "x2"
    card = json.loads((folder / records.CARD).read_text())
    card["tiles"]["Training"] += 1
    (folder / records.CARD).write_text(json.dumps(card))
    with pytest.raises(DatasetError, match="Training' holds 16 samples, and the set's card says 17; make the set"):
        formats.split(folder, "Training")


def test_missing_shards_and_empty_folders_are_said(tmp_path):
    with pytest.raises(DatasetError, match="make one with geosr dataset"):
        records.shards(tmp_path)
    (tmp_path / "set.tfrecord-00000-of-00002").touch()
    with pytest.raises(DatasetError, match="shards are missing"):
        records.shards(tmp_path)


CARD = {
    "scale": 2,
    "size": 32,
    "tiles": {"Training": 4, "Validation": 0},
    "scenes": [{"file": "a.tif", "bands": 1, "dtype": "uint8", "range": "0,255"}],
}


def damaged(name, value):
    return json.dumps(CARD | {name: value})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (json.dumps({"scale": 2}), "it has no 'size'"),
        (damaged("scale", "2"), "its 'scale' is '2'"),
        (damaged("size", True), "its 'size' is True"),
        (damaged("tiles", {"Training": 4}), "its 'tiles' have no 'Validation'"),
        (damaged("tiles", {"Training": 4, "Validation": None}), "its 'tiles' for 'Validation' are None"),
        (damaged("scenes", None), "its 'scenes' is None"),
        (damaged("scenes", ["a.tif"]), "scene 1 is 'a.tif'"),
        (damaged("scenes", [{"file": "a.tif"}]), "scene 1 has no 'bands'"),
        (damaged("options", None), "its 'options' is None"),
        (damaged("left_out", {"nodata": None}), "its 'left_out' holds what is no number"),
        (damaged("left_out", {"nodata": -1}), "its 'left_out' holds what is no number"),
        (damaged("scale", 2**40), "its tiles are of 32 pixels, degraded by 1099511627776"),
        (damaged("size", -1), "its tiles are of -1 pixels, degraded by 2"),
        (damaged("tiles", {"Training": 10**400, "Validation": 0}), f"its 'tiles' for 'Training' are {10**400}"),
        (damaged("degradation", {"scale": 2}), "its 'degradation' is {'scale': 2}"),
        (damaged("version", None), "its 'version' is None"),
        (damaged("scenes", [{**CARD["scenes"][0], "names": [{}]}]), "the 'names' of scene 1 are [{}]"),
        ('{"options": ' * 500 + "1" + "}" * 500, "it is no JSON"),
        ("[1, 2]", "it is no JSON object"),
        ("{", "it is no JSON"),
        ("", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
    ],
)
def test_a_damaged_card_is_named_with_what_is_wrong(tmp_path, text, told):
    (tmp_path / records.CARD).write_text(json.dumps(CARD))
    assert records.read_card(tmp_path) == CARD
    (tmp_path / records.CARD).write_text(text)
    message = rf"^the card '.*dataset\.json' is damaged: {re.escape(told)}; make the set again with geosr dataset$"
    for read in (records.read_card, records.sets_in):
        with pytest.raises(DatasetError, match=message):
            read(tmp_path)


def test_bytes_that_are_no_text_are_no_card(tmp_path):
    (tmp_path / records.CARD).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="is damaged: it is no JSON"):
        records.read_card(tmp_path)


def test_a_set_that_is_not_there_is_said_in_words(tmp_path):
    with pytest.raises(DatasetError, match=r"^no training set in '.*none'; make one with geosr dataset$"):
        records.read_card(tmp_path / "none")


@pytest.mark.parametrize("words", [["info"], ["audit", "-q"], ["preview"]])
def test_all_commands_refuse_a_damaged_card_alike(tmp_path, words):
    (tmp_path / "x2").mkdir()
    (tmp_path / "x2" / records.CARD).write_text('{"scale": 2}')
    sheet = [str(tmp_path / "sheet.png")] if words == ["preview"] else []
    done = CliRunner().invoke(main, ["dataset", *words, str(tmp_path), *sheet])
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: the card {str(tmp_path / 'x2' / 'dataset.json')!r} is damaged: it has no")
    assert len(done.output.splitlines()) == 1


def test_a_file_that_cannot_be_read_is_named_once(tmp_path):
    with pytest.raises(DatasetError, match=r"^'[^']*none' cannot be read: No such file or directory$"):
        records.Examples([tmp_path / "none"])
    (tmp_path / "short").write_bytes(gzip.compress(b"something")[:-9])
    (tmp_path / "changed").write_bytes(gzip.compress(b"something")[:12] + b"\xff" * 20)
    for name in ("short", "changed"):
        with pytest.raises(DatasetError, match=rf"{name}' cannot be read: "):
            records.Examples([tmp_path / name])
