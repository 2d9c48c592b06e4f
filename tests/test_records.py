import numpy as np
import pytest
from conftest import texture

from geosr import records
from geosr.errors import DatasetError
from geosr.grid import Window
from geosr.radiometry import fixed
from geosr.records import Sample


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
        (tmp_path / f"x{scale}" / records.CARD).touch()
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


def test_missing_shards_and_empty_folders_are_said(tmp_path):
    with pytest.raises(DatasetError, match="make one with geosr dataset"):
        records.shards(tmp_path)
    (tmp_path / "set.tfrecord-00000-of-00002").touch()
    with pytest.raises(DatasetError, match="shards are missing"):
        records.shards(tmp_path)
