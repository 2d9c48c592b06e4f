import errno
import hashlib
import json
import time
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from geosr import models, pools
from geosr.dataset import job as dataset
from geosr.dataset import records
from geosr.dataset.options import Options as DatasetOptions
from geosr.errors import DatasetError, ModelError, OptionError, OutputError, TrainingError
from geosr.models import cards, inference
from geosr.rasters.resample import enlarge, shrink
from geosr.training import batches, job
from geosr.training.options import Options
from tests.conftest import texture

QUICK = Options(model="tiny", epochs=2, batch=4, crop=12, rate=1e-3)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(models.MODELS, "tiny", "tests.tiny:build")


@pytest.fixture
def data(make_raster, tmp_path):
    scenes = [make_raster(texture(2, 100, 100, seed=i), f"s{i}.tif", crs=None) for i in range(3)]
    dataset.build(scenes, tmp_path / "data", DatasetOptions(size=32, validation=0.3))
    return tmp_path / "data"


@pytest.mark.slow
def test_training_ends_with_a_model_checkpoints_and_logs(data, tmp_path):
    reports = []
    path = job.train(
        data, tmp_path / "runs", QUICK, report=lambda epoch, epochs, log: reports.append((epoch, dict(log)))
    )
    assert path == tmp_path / "runs" / "x2" / "tiny_x2.keras"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert inference.digest_in(path.with_suffix(".onnx").read_bytes()) == digest
    assert models.shape(models.load(path)) == (2, 1)
    assert not models.load(path, compiled=True).compiled  # no optimizer travels with it
    assert sorted(p.name for p in (path.parent / "ckpts").iterdir()) == ["epoch-0001.keras", "epoch-0002.keras"]
    assert [epoch for epoch, _ in reports] == [1, 2]
    assert {"loss", "val_psnr", "val_psnr_bicubic", "learning_rate"} <= set(reports[0][1])


@pytest.mark.slow
def test_the_logs_hold_scores_the_rate_and_pictures_of_each_epoch_once(data, tmp_path):
    """Read by TensorFlow, as TensorBoard does."""
    import tensorflow as tf

    reports = []

    def stop(epoch, epochs, log):
        reports.append((epoch, log))
        if len(reports) == 3:
            raise KeyboardInterrupt

    options = replace(QUICK, epochs=4)
    with pytest.raises(KeyboardInterrupt):
        job.train(data, tmp_path / "runs", options, report=stop)
    time.sleep(1)  # a file of logs is called after its second
    job.train(data, tmp_path / "runs", options, report=stop)
    numbers, pictures = {}, {}
    for path in sorted((tmp_path / "runs" / "x2" / "Log").glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            if event.session_log.status == event.session_log.START:
                numbers = {key: value for key, value in numbers.items() if key[1] < event.step}
            for value in event.summary.value:
                if value.HasField("image"):
                    pictures[value.tag, event.step] = tf.io.decode_png(value.image.encoded_image_string).numpy()
                else:
                    assert (value.tag, event.step) not in numbers
                    numbers[value.tag, event.step] = value.simple_value
    assert {step for _, step in numbers} == {1, 2, 3, 4}
    for epoch, log in dict(reports).items():
        for name in ("loss", "val_psnr", "val_psnr_bicubic", "val_ssim_score_bicubic", "learning_rate"):
            assert numbers[name, epoch] == pytest.approx(log[name], rel=1e-5)
    low, high = batches.whole_tiles(records.read(data / "x2" / "Validation"), bands=1, most=9)
    picture = pictures["tile_0", 4]
    assert picture.shape == (32, 4 * 32, 3)
    assert np.abs(picture[:, 64:96, 0] / 255.0 - np.clip(high[0, ..., 0], 0, 1)).max() < 0.005
    assert np.abs(picture[:, :32, 0] / 255.0 - np.clip(enlarge(low[0, ..., 0], 2), 0, 1)).max() < 0.005


def test_a_full_disk_is_said_and_the_program_ends(data, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("geosr.training.log.framed", full)
    with pytest.raises(OutputError, match=r"no space left in .*Log'; free some and run the same command again"):
        job.train(data, tmp_path / "runs", QUICK)


@pytest.mark.slow
def test_a_run_that_has_ended_keeps_its_scores(data, tmp_path):
    path = job.train(data, tmp_path / "runs", QUICK)
    before = json.loads(path.with_suffix(".json").read_text())["scores"]
    assert {"val_psnr", "val_psnr_bicubic"} <= set(before)
    job.train(data, tmp_path / "runs", QUICK)
    assert json.loads(path.with_suffix(".json").read_text())["scores"] == pytest.approx(before)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_an_interrupted_run_goes_on_after_its_last_epoch(data, tmp_path, optimizer):
    options = replace(QUICK, epochs=4, optimizer=optimizer)
    complete = job.train(data, tmp_path / "whole", options)

    def stop(epoch, epochs, log):
        if epoch == 3:
            raise KeyboardInterrupt

    reports = []
    with pytest.raises(KeyboardInterrupt):
        job.train(data, tmp_path / "cut", options, report=stop)
    cut = job.train(data, tmp_path / "cut", options, report=lambda epoch, *_: reports.append(epoch))
    assert reports == [3, 4]
    saved = [models.load(path.parent / "ckpts" / "epoch-0004.keras", compiled=True) for path in (complete, cut)]
    assert int(saved[0].optimizer.iterations) == int(saved[1].optimizer.iterations) > 0
    for a, b in zip(models.load(complete).get_weights(), models.load(cut).get_weights(), strict=True):
        assert np.abs(a - b).max() < 1e-4


@pytest.mark.slow
def test_a_damaged_file_of_options_is_said_in_one_line(data, tmp_path):
    job.train(data, tmp_path / "runs", replace(QUICK, epochs=1))
    (tmp_path / "runs" / "x2" / job.OPTIONS).write_text('{"epochs": 1,')
    with pytest.raises(OptionError, match=r"options\.json' is no YAML or JSON file"):
        job.train(data, tmp_path / "runs", QUICK)


@pytest.mark.slow
def test_a_run_goes_on_with_the_options_it_began_with(data, tmp_path):
    path = job.train(data, tmp_path / "runs", replace(QUICK, epochs=1))
    for other, message in (
        ({"crop": 10}, "crop 12, not 10"),
        ({"epochs": 2}, "epochs 1, not 2"),
        ({"fine_tune": str(path)}, "fine_tune None, not "),
    ):
        with pytest.raises(OptionError, match=rf"has {message}.*; give the same options, another folder, or --restart"):
            job.train(data, tmp_path / "runs", replace(QUICK, **{"epochs": 1} | other))
    with pytest.raises(OptionError, match=r"epoch-0002\.keras' is beyond the last epoch, 1; give a larger --epochs"):
        job.train(data, tmp_path / "runs", replace(QUICK, epochs=1), restore=path.parent / "ckpts" / "epoch-0002.keras")
    job.train(data, tmp_path / "runs", replace(QUICK, crop=10), restart=True)


@pytest.mark.slow
def test_what_a_run_began_with_stays_noted(data, tmp_path):
    begin = job.train(data, tmp_path / "first", replace(QUICK, epochs=1))
    path = job.train(data, tmp_path / "runs", options := replace(QUICK, epochs=1, fine_tune=str(begin)))
    versions = json.loads(path.with_name(job.OPTIONS).read_text())["made with"]
    assert versions["fine_tune sha256"] == cards.digest_of(begin)
    begin.unlink()
    job.train(data, tmp_path / "runs", options)
    assert json.loads(path.with_name(job.OPTIONS).read_text())["made with"] == versions


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_stops_with_the_last_good_weights(data, tmp_path, monkeypatch):
    class Spoilt(batches.Batches):
        def __iter__(self):
            for number, (low, high) in enumerate(super().__iter__()):
                yield low, high * np.float32("nan" if number > 9 else 1)

    with monkeypatch.context() as patch, pytest.raises(TrainingError, match="not a number; the last good weights are"):
        patch.setattr(job, "Batches", Spoilt)
        job.train(data, tmp_path / "runs", replace(QUICK, epochs=4))
    checkpoints = list((tmp_path / "runs" / "x2" / "ckpts").iterdir())
    assert len(checkpoints) == 2
    for path in checkpoints:
        assert all(np.isfinite(weight).all() for weight in models.load(path).get_weights())
    assert not (tmp_path / "runs" / "x2" / "tiny_x2.keras").exists()
    with pytest.raises(TrainingError, match="not a number in the first epoch; take a lower --rate"):
        job.train(data, tmp_path / "others", replace(QUICK, rate=1e20))


@pytest.mark.slow
def test_bfloat16_training_is_taken_up_and_ends_in_float32(data, tmp_path):
    options = replace(QUICK, precision="mixed_bfloat16")

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.train(data, tmp_path / "runs", options, report=lambda epoch, *_: epoch == 2 and stop())
    model = models.load(job.train(data, tmp_path / "runs", options))
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


@pytest.mark.slow
def test_the_loss_falls(data, tmp_path):
    losses = []
    options = replace(QUICK, epochs=8, loss="ssim")
    job.train(data, tmp_path / "runs", options, report=lambda epoch, epochs, log: losses.append(log["loss"]))
    assert losses[-1] < losses[0]


def test_input_and_truth_are_cropped_flipped_and_turned_together(data):
    sample = records.read(data / "x2" / "Training").sample(0)
    crops = set()
    for seed in range(40):
        low, high = batches.augment(sample, 12, 1, np.random.default_rng(seed))
        assert low.shape == (12, 12, 1)
        assert high.shape == (24, 24, 1)
        assert np.abs(shrink(high[..., 0], 2) - low[..., 0])[2:-2, 2:-2].max() < 0.01
        crops.add(low.tobytes())
    assert len(crops) > 30


def test_bicubic_s_score_is_scikit_image_s(data):
    from skimage.metrics import peak_signal_noise_ratio

    low, high = batches.whole_tiles(records.read(data / "x2" / "Validation"), bands=1, most=9)
    assert low.shape == (9, 16, 16, 1)
    scores = [
        peak_signal_noise_ratio(truth[..., 0], enlarge(image[..., 0], 2), data_range=1)
        for image, truth in zip(low, high, strict=True)
    ]
    assert job.bicubic_scores(low, high, 2)["val_psnr_bicubic"] == pytest.approx(np.mean(scores), abs=1e-3)


@pytest.mark.slow
def test_a_run_begins_with_the_weights_it_is_to_fine_tune(data, tmp_path, caplog):
    start = job.train(data, tmp_path / "first", QUICK)
    models.save(models.build("tiny", 3), tmp_path / "other.keras")
    other = replace(QUICK, fine_tune=str(tmp_path / "other.keras"), epochs=1)
    job.train(data, tmp_path / "other", other)
    assert "1 layers of" in caplog.text
    caplog.clear()
    still = replace(QUICK, fine_tune=str(start), epochs=1, rate=1e-12, average=0.0)
    second = models.load(job.train(data, tmp_path / "second", still))
    assert "do not fit" not in caplog.text
    for before, after in zip(models.load(start).get_weights(), second.get_weights(), strict=True):
        assert np.abs(before - after).max() < 1e-6


@pytest.mark.slow
def test_what_is_kept_is_the_average_of_the_weights(data, tmp_path):
    # With a moving average that never moves, it is what the run began with.
    start = job.train(data, tmp_path / "first", QUICK)
    options = replace(QUICK, fine_tune=str(start), average=0.9999999)
    average = models.load(job.train(data, tmp_path / "second", options))
    moved = models.load(job.train(data, tmp_path / "third", replace(options, average=0.0)))
    start = models.load(start).get_weights()
    assert max(np.abs(a - b).max() for a, b in zip(start, moved.get_weights(), strict=True)) > 1e-3
    assert max(np.abs(a - b).max() for a, b in zip(start, average.get_weights(), strict=True)) < 2e-3


@pytest.mark.slow
def test_the_options_of_a_run_repeat_it(data, tmp_path):
    first = job.train(data, tmp_path / "first", replace(QUICK, loss="l1+0.1*ssim", schedule="step", decay=1e-5))
    stored = job.read_options(first.with_name(job.OPTIONS))
    second = job.train(data, tmp_path / "second", Options(**stored))
    for a, b in zip(models.load(first).get_weights(), models.load(second).get_weights(), strict=True):
        assert np.abs(a - b).max() < 1e-5


def test_the_smallest_crop_is_that_of_the_command_line():
    assert replace(QUICK, crop=8).crop == 8
    with pytest.raises(OptionError, match="crop must be a whole number of 8 or more, got 7"):
        replace(QUICK, crop=7)


def test_a_file_of_options_may_be_yaml_and_is_checked(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("model: idn\nepochs: 3\n")
    assert job.read_options(path) == {"model": "idn", "epochs": 3}
    path.write_text('{"rate": 1e-05}')
    assert job.read_options(path) == {"rate": 1e-5}
    for text, message in (
        ("epoch: 3", "has epoch, which is no option"),
        ("- 1", "must hold options"),
        ("a: [", "no YAML"),
    ):
        path.write_text(text)
        with pytest.raises(OptionError, match=message):
            job.read_options(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "[" * 3000, '{"epochs": ' * 5000, '{"epochs": ' + "[" * 200])
def test_options_that_are_nested_without_end_are_refused(tmp_path, text):
    (tmp_path / "options.yml").write_text(text)
    with pytest.raises(OptionError, match=r"options\.yml' is (nested too deeply for options|no YAML or JSON file)"):
        job.read_options(tmp_path / "options.yml")


def test_every_batch_depends_on_seed_and_number_alone(data):
    examples = records.read(data / "x2" / "Training")
    settings = {"batch": 4, "crop": 12, "bands": 1, "seed": 3}
    complete = list(islice(iter(batches.Batches(examples, **settings)), 12))
    with pools.threads(3) as pool:
        later = list(islice(iter(batches.Batches(examples, **settings, first=7, pool=pool)), 5))
    for (a, b), (c, d) in zip(complete[7:], later, strict=True):
        assert (a == c).all()
        assert (b == d).all()
    assert (complete[0][0] != next(iter(batches.Batches(examples, **settings | {"seed": 4})))[0]).any()


def test_a_pass_sees_every_tile_once(data):
    examples, order = records.read(data / "x2" / "Training"), []

    class Recorder:
        def __len__(self):
            return len(examples)

        def sample(self, number):
            order.append(number)
            return examples.sample(number)

    numbers = batches.Batches(Recorder(), batch=1, crop=12, bands=1, seed=0)
    for number in range(2 * len(examples)):
        numbers.draw(number)
    first, second = order[: len(examples)], order[len(examples) :]
    assert sorted(first) == sorted(second) == list(range(len(examples)))
    assert first != second


def test_a_run_can_begin_with_the_weights_of_another_scale(random_idn):
    model = models.build("idn", 4)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    models.begin_with(model, models.load(random_idn(2)))
    source = {layer.name: layer.get_weights() for layer in models.load(random_idn(2)).layers}
    assert (model.get_layer("conv3_1").get_weights()[0] == source["conv3_1"][0]).all()
    assert not (model.get_layer("conv3_1").get_weights()[0] == before["conv3_1"][0]).all()


@pytest.mark.slow
def test_what_does_not_fit_is_refused_before_the_work(data, tmp_path, random_idn):
    with pytest.raises(DatasetError, match=r"smaller than the crop of 48 x 2 pixels; use --crop 16"):
        job.train(data, tmp_path / "runs", replace(QUICK, crop=48))
    with pytest.raises(DatasetError, match="make one with geosr dataset"):
        job.train(tmp_path, tmp_path / "runs", QUICK)
    with pytest.raises(DatasetError, match=r"tiles of 2 bands but the network takes 3"):
        job.train(data, tmp_path / "runs", replace(QUICK, bands=3))
    for path, name in ((random_idn(2, 3), "epoch-0001.keras"), (random_idn(2, 1), "epoch-0002.keras")):
        checkpoint = tmp_path / name
        checkpoint.write_bytes(path.read_bytes())
        with pytest.raises(ModelError, match="checkpoint of another network: layer"):
            job.train(data, tmp_path / "runs", QUICK, restore=checkpoint)
    larger = tmp_path / "epoch-0001.keras"
    larger.write_bytes(random_idn(4).read_bytes())
    with pytest.raises(ModelError, match="checkpoint of another network: its scale is 4"):
        job.train(data, tmp_path / "others", replace(QUICK, model="idn"), restore=larger)
    (data / "x2").rename(data / "x4")
    with pytest.raises(DatasetError, match="is for scale 2, not 4; change --scale"):
        job.train(data, tmp_path / "runs", replace(QUICK, scale=4))
    (data / "x4").rename(data / "x2")
    with pytest.raises(OptionError, match="begin with it by --fine-tune"):
        job.train(data, tmp_path / "runs", QUICK, restore=random_idn(2, 1))
    with pytest.raises(OptionError, match="give one of them"):
        job.train(data, tmp_path / "runs", QUICK, restore=random_idn(2, 1), restart=True)


@pytest.mark.slow
def test_going_on_from_an_older_checkpoint_replaces_the_newer_ones(data, tmp_path):
    job.train(data, tmp_path / "runs", replace(QUICK, epochs=3))
    folder = tmp_path / "runs" / "x2" / "ckpts"

    def stop(epoch, epochs, log):
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.train(data, tmp_path / "runs", replace(QUICK, epochs=3), restore=folder / "epoch-0001.keras", report=stop)
    assert sorted(path.name for path in folder.iterdir()) == ["epoch-0001.keras", "epoch-0002.keras"]


@pytest.mark.slow
def test_strays_and_truncated_checkpoints_are_passed_over(data, tmp_path, caplog):
    folder = job.train(data, tmp_path / "runs", QUICK).parent / "ckpts"
    (folder / "epoch-last.keras").write_bytes(b"mine")
    newest = folder / "epoch-0002.keras"
    newest.write_bytes(newest.read_bytes()[:2000])
    epochs = []
    # The set's own folder is taken too.
    job.train(data / "x2", tmp_path / "runs", QUICK, report=lambda epoch, *_: epochs.append(epoch))
    assert epochs == [2]
    assert f"epoch-last.keras in '{folder}' are no checkpoints and are passed over" in caplog.text
    assert f"a checkpoint is damaged and is passed over: '{newest}' is no .keras file" in caplog.text
    assert models.load(newest, compiled=True).optimizer
    assert (folder / "epoch-last.keras").read_bytes() == b"mine"
    with pytest.raises(OptionError, match=r"got '.*ckpts/epoch-last\.keras'; begin with it by --fine-tune"):
        job.train(data, tmp_path / "runs", QUICK, restore=folder / "epoch-last.keras")
    for path in (newest, folder / "epoch-0001.keras"):
        path.write_bytes(b"")
    with pytest.raises(ModelError, match=r"no checkpoint in '.*ckpts' can be read; begin anew with --restart"):
        job.train(data, tmp_path / "runs", QUICK)
    assert newest.exists()


@pytest.mark.slow
def test_a_damaged_shard_is_said_in_one_line(data, tmp_path):
    [shard] = records.shards(data / "x2" / "Training")
    content = bytearray(shard.read_bytes())
    content[5000:5100] = bytes(100)
    shard.write_bytes(content)
    with pytest.raises(DatasetError, match=r"record \d: it is damaged"):
        job.train(data, tmp_path / "runs", QUICK)


@pytest.mark.slow
def test_a_network_for_sensors_is_trained_resumed_and_told_a_sensor(data, tmp_path, monkeypatch):
    options = Options(model="span_for_sensors", epochs=1, batch=2, crop=8)
    job.train(data, tmp_path / "runs", options)
    path = job.train(data, tmp_path / "runs", replace(options, epochs=1))
    card = cards.of(path)
    assert card.knows_sensors
    assert card.commands[0].startswith("geosr train")
    assert inference.digest_in(path.with_suffix(".onnx").read_bytes()) == hashlib.sha256(path.read_bytes()).hexdigest()
    stored = job.read_options(path.parent / "options.json")
    assert tuple(stored["mtf"]) == options.mtf
    with pytest.raises(OptionError, match="has mtf"):
        job.train(data, tmp_path / "runs", replace(options, mtf=(0.2, 0.3)))
