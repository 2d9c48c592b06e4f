"""Sets of the original program: written here as it wrote them, with TensorFlow and pickle."""

import json
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from click.testing import CliRunner

from geosr.cli.main import main
from geosr.dataset import convert, records
from geosr.errors import DatasetError, OptionError
from geosr.rasters.resample import enlarge, shrink
from tests.conftest import texture

MEANS = {"gt": 0.41, "down": 0.42, "bic_up": 0.43}


def triples(count, bands=1, size=24, scale=2, top=1.0):
    """Images (rows, cols, bands) of each record, in float32."""
    made = []
    for seed in range(count):
        gt = texture(bands, size, size, seed=seed).astype(np.float32) / 255
        down = shrink(gt, scale)
        images = (gt, down, enlarge(down, scale))
        made.append({n: top * im.transpose(1, 2, 0) for n, im in zip(records.IMAGES, images, strict=True)})
    return made


def write_old(path, made, means=MEANS, names=records.IMAGES):
    import tensorflow as tf

    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in made:
            strings = {
                name: (one[image] - np.asarray(means[image])).astype(np.float32).tobytes()
                for name, image in zip(names, records.IMAGES, strict=True)
            }
            feature = {n: tf.train.Feature(bytes_list=tf.train.BytesList(value=[s])) for n, s in strings.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return path


def pickled(path, means, protocol=4):
    path.write_bytes(pickle.dumps(means, protocol=protocol))
    return path


def same(found, made):
    for one, wanted in zip(sorted(found, key=lambda s: int(s.scene.rpartition("#")[2])), made, strict=True):
        for name in records.IMAGES:
            assert np.allclose(getattr(one, name), wanted[name].transpose(2, 0, 1), atol=1e-6)


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("names", [records.IMAGES, ("a", "b", "c"), ("image/hr", "image/lr", "image/bicubic")])
def test_old_records_come_back_as_they_were_before_their_means_were_taken(tmp_path, bands, scale, names):
    made = triples(5, bands, 24, scale)
    write_old(tmp_path / "old" / "train.tfrecord", made, names=names)
    pickled(tmp_path / "old" / "mean_values.pickle", MEANS)
    summary = convert.convert_sets([tmp_path / "old"], tmp_path / "out", size=24)
    assert summary.tiles == {"Training": 5, "Validation": 0}
    found = list(records.read(tmp_path / "out" / f"x{scale}" / "Training"))
    same(found, made)
    assert {s.scale for s in found} == {scale}
    assert found[0].range.high == (1.0,) * bands
    assert records.read_card(tmp_path / "out" / f"x{scale}")["scenes"][0]["bands"] == bands


def test_files_in_a_folder_called_validation_validate(tmp_path):
    write_old(tmp_path / "x2" / "Training" / "a.tfrecords", triples(4))
    write_old(tmp_path / "x2" / "Validation" / "b.tfrecords", triples(2))
    means = pickled(tmp_path / "means.pickle", MEANS)
    summary = convert.convert_sets([tmp_path / "x2"], tmp_path / "out", size=24, means=means)
    assert summary.tiles == {"Training": 4, "Validation": 2}


def test_a_file_that_is_named_validates_by_its_folder(tmp_path):
    paths = [write_old(tmp_path / split / "a.tfrecords", triples(2 + i)) for i, split in enumerate(("x", "val"))]
    means = pickled(tmp_path / "means.pickle", MEANS)
    summary = convert.convert_sets(paths, tmp_path / "out", size=24, means=means)
    assert summary.tiles == {"Training": 2, "Validation": 3}
    told = [sample.scene for split in summary.tiles for sample in records.read(tmp_path / "out" / "x2" / split)]
    assert sorted(told) == [
        "val/a.tfrecords#0",
        "val/a.tfrecords#1",
        "val/a.tfrecords#2",
        "x/a.tfrecords#0",
        "x/a.tfrecords#1",
    ]


def test_values_of_8_bits_have_their_range(tmp_path):
    means = {name: 255 * value for name, value in MEANS.items()}
    old = write_old(tmp_path / "a.tfrecord", triples(2, top=255.0), means)
    convert.convert_sets([old], tmp_path / "out", size=24, means=pickled(tmp_path / "m.pickle", means))
    assert next(iter(records.read(tmp_path / "out" / "x2" / "Training"))).range.high == (255.0,)


NUMPY = {name: np.float32(value) for name, value in MEANS.items()}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "means",
    [
        MEANS,
        NUMPY,
        OrderedDict(MEANS),
        list(MEANS.values()),
        tuple(NUMPY.values()),
        np.array(list(MEANS.values())),
        np.array(list(MEANS.values()), ">f4"),
        {name: np.array([value, value, value]) for name, value in MEANS.items()},
        {"hr": 0.41, "lr": 0.42, "up": 0.43},
    ],
    ids=str,
)
def test_means_are_read_however_they_were_pickled(tmp_path, means, protocol):
    found = convert.read_means(pickled(tmp_path / "means.pickle", means, protocol))
    for name, value in MEANS.items():
        assert found[name] == pytest.approx(value, abs=1e-6)


class Harm:
    """Makes a file when it is unpickled."""

    def __init__(self, path, call=os.system):
        self.path, self.call = path, call

    def __reduce__(self):
        return self.call, (f"touch {self.path}",)


@pytest.mark.parametrize("call", [os.system, eval, exec, __import__, print])
@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("inside", [False, True])
def test_a_pickle_that_asks_for_code_is_refused_and_nothing_runs(tmp_path, call, protocol, inside):
    harm = Harm(tmp_path / "harmed", call)
    path = pickled(tmp_path / "means.pickle", {**MEANS, "more": harm} if inside else harm, protocol)
    with pytest.raises(OptionError, match=r"are not read: it asks for "):
        convert.read_means(path)
    assert not (tmp_path / "harmed").exists()


def test_numpy_s_own_doors_are_shut_too(tmp_path):
    """numpy's functions are not called by a pickle either, only stood in for."""
    for module, name in [
        ("numpy", "load"),
        ("numpy.f2py", "compile"),
        ("numpy", "memmap"),
        ("numpy.testing", "runstring"),
    ]:
        code = f"c{module}\n{name}\n(S'x'\ntR.".encode()
        (tmp_path / "means.pickle").write_bytes(code)
        with pytest.raises(OptionError, match=f"asks for {module}.{name}"):
            convert.read_means(tmp_path / "means.pickle")


@pytest.mark.parametrize(
    "content", [b"", b"no pickle", pickle.dumps(MEANS)[:-9], pickle.dumps([1, 2]), pickle.dumps(5)]
)
def test_what_holds_no_means_is_said(tmp_path, content):
    (tmp_path / "means.pickle").write_bytes(content)
    with pytest.raises(OptionError, match=r"means\.pickle"):
        convert.read_means(tmp_path / "means.pickle")


def test_a_pickle_of_deep_nesting_is_refused_before_it_is_read(tmp_path):
    nested = b"(" * 200_000 + b"t" * 200_000
    (tmp_path / "m.pickle").write_bytes(b"}" + nested + b"K\x01s.")
    with pytest.raises(OptionError, match=r"too large to hold three means|are not read"):
        convert.read_means(tmp_path / "m.pickle")


def test_a_folder_named_twice_is_converted_once(tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    pickled(old / "mean_values.pickle", MEANS)
    write_old(old / "a.tfrecord", triples(3))
    once = convert.convert_sets([old], tmp_path / "once", size=24)
    twice = convert.convert_sets([old / "a.tfrecord", old, old], tmp_path / "twice", size=24)
    assert twice.tiles == once.tiles
    assert twice.tiles["Training"] == 3


@pytest.mark.parametrize(
    "code",
    [
        b"(" * 950 + b"t" * 950 + b"K\x01K\x01\x87.",
        b"}" + b"(" * 900 + b"t" * 900 + b"K\x01s.",
        b"K\x01" + b"2\x86" * 400 + b"K\x01K\x01\x87.",
        b"}K\x01" + b"2\x86" * 400 + b"K\x01s.",
        b"}K\x01\x94" + b"".join(b"h%c\x86\x94" % i for i in range(200)) + b"K\x01s.",
        b"\x80\x04cnumpy\ndtype\nK\x01" + b"2\x86" * 60 + b"\x85R.",
        b"cnumpy\ndtype\nK\x01\x85\x94" + b"".join(b"h%ch%c\x86\x94" % (i, i) for i in range(60)) + b"\x85R.",
        b"}K\x01\x85\x94" + b"".join(b"h%ch%c\x86\x94" % (i, i) for i in range(200)) + b"K\x01s.",
        b"I%d\nK\x01K\x01\x87." % 10**400,
    ],
)
def test_a_pickle_that_is_nested_or_shared_again_and_again_is_refused_at_once(tmp_path, code):
    (tmp_path / "m.pickle").write_bytes(code)
    with pytest.raises(OptionError, match=r"m\.pickle' (holds no|is too large)|in '.*m\.pickle' are not read"):
        convert.read_means(tmp_path / "m.pickle")


def test_a_pickle_of_objects_is_no_means(tmp_path):
    with pytest.raises(OptionError, match=r"holds 'O8', no numbers|asks for"):
        convert.read_means(pickled(tmp_path / "m.pickle", np.array([0.1, None, "x"], object), 2))


def test_foreign_and_truncated_records_are_named(tmp_path):
    means = pickled(tmp_path / "means.pickle", MEANS)
    old = write_old(tmp_path / "a.tfrecord", triples(3))
    for size, told in [
        (25, r"a\.tfrecord', record 0: its 2304 bytes are no image of 25 x 25; change --size"),
        (12, r"bytes are no image of 12 x 12"),
    ]:
        with pytest.raises(DatasetError, match=told):
            convert.convert_sets([old], tmp_path / "out", size=size, means=means)
    content = old.read_bytes()
    old.write_bytes(content[:-7])
    with pytest.raises(DatasetError, match=r"a\.tfrecord', record 2: it is truncated"):
        convert.convert_sets([old], tmp_path / "out", size=24, means=means)
    old.write_bytes(content + records.framed(b"something else"))
    with pytest.raises(DatasetError, match=r"a\.tfrecord', record 3: it is no tf\.train\.Example"):
        convert.convert_sets([old], tmp_path / "out", size=24, means=means)
    old.write_bytes(content + records.framed(records.serialise({"one": b"1", "two": b"2"})))
    with pytest.raises(DatasetError, match=r"a\.tfrecord', record 3: it holds 2 strings, not three images"):
        convert.convert_sets([old], tmp_path / "out", size=24, means=means)
    with pytest.raises(OptionError, match=r"not beside the records; give them: --means mean_values\.pickle"):
        convert.convert_sets([old], tmp_path / "out", size=24)
    assert not (tmp_path / "out").exists()


def test_the_command_converts_and_the_set_can_be_looked_at(tmp_path):
    write_old(tmp_path / "old" / "Training" / "a.tfrecord", triples(6, 3))
    write_old(tmp_path / "old" / "Validation" / "a.tfrecord", triples(8, 3)[6:])
    means = pickled(tmp_path / "old" / "mean_values.pickle", MEANS)
    run = ["dataset", "convert", str(tmp_path / "old"), str(tmp_path / "out"), "--size", "24", "--means", str(means)]
    done = CliRunner().invoke(main, [*run, "--json", "-q"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["tiles"] == {"Training": 6, "Validation": 2}
    for words in (["info"], ["audit", "-q"]):
        done = CliRunner().invoke(main, ["dataset", *words, str(tmp_path / "out")])
        assert done.exit_code == 0, done.output


def test_means_are_looked_for_up_to_the_folder_that_is_given(tmp_path):
    write_old(tmp_path / "x2" / "Training" / "a.tfrecords", triples(3))
    pickled(tmp_path / "mean_values.pickle", MEANS)
    with pytest.raises(OptionError, match="give them: --means"):
        convert.convert_sets([tmp_path / "x2"], tmp_path / "out", size=24)
    pickled(tmp_path / "x2" / "mean_values.pickle", MEANS)
    for given in (tmp_path / "x2" / "Training", tmp_path / "x2" / "Training" / "a.tfrecords"):
        with pytest.raises(OptionError, match="give them: --means"):
            convert.convert_sets([given], tmp_path / "out", size=24)
    assert convert.convert_sets([tmp_path / "x2"], tmp_path / "out", size=24).tiles["Training"] == 3


def test_what_does_not_exist_is_named_once(tmp_path):
    done = CliRunner().invoke(main, ["dataset", "convert", "nope", str(tmp_path / "out"), "--size", "24"])
    assert (done.exit_code, done.output) == (1, "Error: 'nope' cannot be read: No such file or directory\n")


def test_folders_above_the_one_that_is_given_say_nothing(tmp_path):
    old = write_old(tmp_path / "val" / "old" / "a.tfrecord", triples(2)).parent
    means = pickled(tmp_path / "means.pickle", MEANS)
    summary = convert.convert_sets([old], tmp_path / "out", size=24, means=means)
    assert summary.tiles == {"Training": 2, "Validation": 0}
    with pytest.raises(DatasetError, match="nothing would train: all files are in folders called validation or val"):
        convert.convert_sets([old.parent], tmp_path / "none", size=24, means=means)
    assert not (tmp_path / "none").exists()


def test_an_interrupted_conversion_goes_on_with_what_is_left(tmp_path, monkeypatch):
    write_old(tmp_path / "old" / "Training" / "a.tfrecord", triples(5))
    write_old(tmp_path / "old" / "Validation" / "b.tfrecord", triples(2))
    pickled(tmp_path / "old" / "mean_values.pickle", MEANS)
    monkeypatch.setattr(convert, "BATCH", 2)
    whole, cut, told = tmp_path / "whole", tmp_path / "cut", []

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    def counted(task, **how):
        told.append(task.number)
        return original(task, **how)

    convert.convert_sets([tmp_path / "old"], whole, size=24)
    with pytest.raises(KeyboardInterrupt):
        convert.convert_sets([tmp_path / "old"], cut, size=24, progress=stop)
    assert not (cut / "x2" / "Training").exists()
    original = convert.encoded_part
    monkeypatch.setattr(convert, "encoded_part", counted)
    convert.convert_sets([tmp_path / "old"], cut, size=24)
    assert told == [3]
    made, wanted = (
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} for out in (cut, whole)
    )
    assert made == wanted


def test_bands_that_do_not_go_together_are_said(tmp_path):
    write_old(tmp_path / "old" / "a.tfrecord", triples(2))
    pickled(tmp_path / "old" / "mean_values.pickle", {name: np.full(3, value) for name, value in MEANS.items()})
    with pytest.raises(OptionError, match="holds means of three bands, and the records have 1"):
        convert.convert_sets([tmp_path / "old"], tmp_path / "out", size=24)
    pickled(tmp_path / "old" / "mean_values.pickle", MEANS)
    write_old(tmp_path / "old" / "b.tfrecord", triples(2, bands=3))
    with pytest.raises(DatasetError, match=r"b\.tfrecord', record 0: it has 3 bands, others 1; convert them by"):
        convert.convert_sets([tmp_path / "old"], tmp_path / "out", size=24)
