"""A network trained on a set of geosr.dataset: checkpoints, TensorBoard logs, and a .keras file at the end.

Runs on any Keras backend (KERAS_BACKEND).
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from geosr import __version__, models, pools
from geosr.dataset import formats, records
from geosr.dataset.formats import Samples
from geosr.engine import Pool, Progress
from geosr.errors import DatasetError, ModelError, OptionError, TrainingError
from geosr.files import json_text, json_value, listed, write_file
from geosr.models import cards, conditioning, inference, libraries
from geosr.rasters.resample import enlarge
from geosr.training.batches import Batches, Images, SimulatedBatches, whole_tiles
from geosr.training.log import EventLog, new_folder
from geosr.training.options import Options

log = logging.getLogger(__name__)

CHECKPOINTS = 3
NAME = re.compile(r"epoch-(\d+)\.keras")
"""Name of a checkpoint."""
VALIDATION_TILES = 400
"""Largest number of tiles in an epoch's validation, spread over the set."""
OPTIONS = "options.json"
NOTES = ("data", "data sha256", "made with", "restore")
"""Entries of that file beside the options: the set and its card's digest, versions, the checkpoint of --restore."""

Report = Callable[[int, int, Mapping[str, float]], None]
"""Called after each epoch with its number, the number of epochs, and the epoch's scores; it may raise, to cancel."""


def train(
    data: str | os.PathLike[str],
    runs: str | os.PathLike[str],
    options: Options,
    *,
    restore: str | os.PathLike[str] | None = None,
    restart: bool = False,
    report: Report | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train on DATA/x<scale>, or the set DATA; return the path of RUNS/x<scale>/<model>_x<scale>.keras.

    A checkpoint is written to RUNS/x<scale>/ckpts after each epoch, and a run that was interrupted goes on from
    the newest that can be read, or from `restore` (`restart` begins anew). TensorBoard logs go to
    RUNS/x<scale>/Log: the losses, PSNR and SSIM beside bicubic's, the learning rate, and pictures of the first
    validation tiles. `progress` counts steps.

    Raises:
        DatasetError: the set is missing, empty, for another scale, or has tiles smaller than the crop.
        ModelError: a checkpoint or the model to fine-tune is of another network.
        OptionError: the run to go on with has other options, or the backend has no parallel devices.
        TrainingError: the loss became infinite or not a number.
    """
    if restore and restart:
        raise OptionError("--restore goes on with a run and --restart begins anew; give one of them")
    given, folder = Path(data), Path(runs) / f"x{options.scale}"
    data = given if (given / records.CARD).exists() else given / f"x{options.scale}"
    training, validation = _examples(data, options)
    checkpoints = folder / "ckpts"
    if restore:
        _epoch_within(Path(restore), options)
    steps = max(1, len(training) // options.batch)
    model = _compiled(options, steps)
    if restore:
        first = _restore(model, models.load(Path(restore), compiled=True), Path(restore), options)
    else:
        first = 0 if restart else _resume(model, checkpoints, options)
    if not first and options.fine_tune:
        source = models.load(cards.path_of(options.fine_tune, options.scale))
        missing = models.begin_with(model, source if conditioning.is_conditioned(model) else conditioning.plain(source))
        if missing:
            log.warning("%d layers of %r do not fit: they begin at random", missing, options.fine_tune)
    new_folder(checkpoints)
    _write_options(folder / OPTIONS, _record(options, data, restore), resume=first > 0)
    _clear(folder, last=first)
    validation_tiles = _validation_tiles(validation, options)
    with pools.threads(2) as pool:
        batches = _batches(training, options, conditioning.is_conditioned(model), first=first * steps, pool=pool)
        scores = _run(
            model,
            batches,
            validation_tiles,
            folder=folder,
            options=options,
            epochs=range(first, options.epochs),
            steps=steps,
            report=report,
            progress=progress,
        )
    path = folder / f"{options.model}_x{options.scale}.keras"
    return _save_result(
        model, path, scores=scores, training_data=os.fspath(data), commands=[_command(given, folder, options)]
    )


def _batches(
    training: Samples, options: Options, conditioned: bool, *, first: int, pool: Pool
) -> Batches | SimulatedBatches:
    """Return the batches from a number on: of the set's own inputs, or simulated for a network for sensors."""
    if conditioned:
        return SimulatedBatches(training, options, first=first, pool=pool)
    names = ("batch", "crop", "bands", "seed")
    return Batches(training, **{name: getattr(options, name) for name in names}, first=first, pool=pool)


def _examples(data: Path, options: Options) -> tuple[Samples, Samples]:
    """Return the training and the validation examples, and refuse those that do not fit the options."""
    scale = records.read_card(data)["scale"]
    if scale != options.scale:
        raise DatasetError(f"the set in {os.fspath(data)!r} is for scale {scale}, not {options.scale}; change --scale")
    training, validation = (formats.split(data, name) for name in records.SPLITS)
    if not len(training):
        raise DatasetError(f"{os.fspath(data)!r} has no training tiles")
    sample = training.sample(0)
    size, bands = sample.gt.shape[-1], sample.gt.shape[0]
    if size < options.crop * options.scale:
        raise DatasetError(
            f"tiles of {size} pixels are smaller than the crop of {options.crop} x {options.scale} pixels; "
            f"use --crop {size // options.scale} or make the set with a larger --size"
        )
    if options.bands not in (1, bands):
        raise DatasetError(f"the set has tiles of {bands} bands but the network takes {options.bands}; change --bands")
    return training, validation


def _validation_tiles(validation: Samples, options: Options) -> tuple[Images, Images] | None:
    """Return the tiles that are validated on, as many as the devices can share."""
    if not len(validation):
        return None
    low, high = whole_tiles(validation, bands=options.bands, most=VALIDATION_TILES)
    count = len(low)
    if options.parallel:
        count -= count % len(libraries.keras().distribution.list_devices())
    return (low[:count], high[:count]) if count else None


def _compiled(options: Options, steps: int) -> Any:
    """Return the network with its optimizer and loss."""
    keras = libraries.keras()
    from geosr.models import optimizers
    from geosr.models.losses import Mixture, psnr, ssim_score
    from geosr.models.schedules import Schedule

    if options.parallel:
        _share_batches(options.batch)
    keras.utils.set_random_seed(options.seed)
    model = models.build(options.model, options.scale, options.bands, precision=options.precision)
    total = steps * options.epochs
    optimizer = optimizers.build(
        options.optimizer,
        Schedule(options.schedule, options.rate, total, max(1, int(options.warmup * total))),
        decay=options.decay,
        clip=options.clip,
        average=options.average,
    )
    model.compile(optimizer, loss=Mixture(options.loss), metrics=[psnr, ssim_score])
    optimizer.build(model.trainable_variables)
    return model


def _share_batches(batch: int) -> None:
    keras = libraries.keras()
    if keras.backend.backend() != "jax":
        raise OptionError("--parallel needs KERAS_BACKEND=jax, the backend whose devices Keras can share a batch among")
    devices = keras.distribution.list_devices()
    if batch % len(devices):
        raise OptionError(f"a batch of {batch} cannot be shared among {len(devices)} devices; change --batch")
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))


def _run(
    model: Any,
    batches: Batches | SimulatedBatches,
    validation: tuple[Images, Images] | None,
    *,
    folder: Path,
    options: Options,
    epochs: range,
    steps: int,
    report: Report | None,
    progress: Progress | None,
) -> dict[str, float]:
    """Train through the epochs, each ending with a validation, logs and a checkpoint; return the last scores."""
    keras = libraries.keras()
    average = keras.callbacks.SwapEMAWeights() if options.average else keras.callbacks.Callback()
    average.set_model(model)
    bicubic = bicubic_scores(*validation, options.scale) if validation else {}
    feed, scores, checkpoints, total = iter(batches), {}, folder / "ckpts", steps * options.epochs
    with EventLog(folder / "Log", epochs.start + 1) as events:
        for epoch in epochs:
            ahead = range(epoch * steps + 1, (epoch + 1) * steps + 1)
            means = _epoch_means(model, feed, ahead, checkpoints=checkpoints, total=total, progress=progress)
            means["learning_rate"] = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
            if validation:
                average.on_test_begin()
                scores = _scores(model, validation, options.batch) | bicubic
                events.pictures(model, validation, epoch + 1)
                average.on_test_end()
            events.scalars(means | scores, epoch + 1)
            if report:
                report(epoch + 1, options.epochs, means | scores)
            if not _finite(model):
                raise _diverged(checkpoints)
            _checkpoint(model, checkpoints, epoch + 1)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    # A run that had ended before is scored again.
    return scores or (_scores(model, validation, options.batch) | bicubic if validation else {})


def _epoch_means(
    model: Any,
    feed: Iterator[tuple[Any, Images]],
    steps: range,
    *,
    checkpoints: Path,
    total: int,
    progress: Progress | None,
) -> dict[str, float]:
    """Train through the steps of one epoch, and return the means of its loss and metrics."""
    sums: Counter[str] = Counter()
    for step in steps:
        model.reset_metrics()  # Keras before 3.15 gives means over all steps, and over validations too
        values = model.train_on_batch(*next(feed), return_dict=True)
        if not np.isfinite(values["loss"]):
            raise _diverged(checkpoints)
        sums.update({name: float(value) for name, value in values.items()})
        if progress:
            progress(step, total)
    return {name: value / len(steps) for name, value in sums.items()}


def _scores(model: Any, validation: tuple[Images, Images], batch: int) -> dict[str, float]:
    low, high = validation
    scores = model.evaluate(conditioning.inputs(model, low), high, batch_size=batch, return_dict=True, verbose=0)
    return {f"val_{name}": float(value) for name, value in scores.items()}


def _diverged(checkpoints: Path) -> TrainingError:
    if not any(checkpoints.glob("epoch-*.keras")):
        return TrainingError("the loss became infinite or not a number in the first epoch; take a lower --rate")
    return TrainingError(
        f"the loss became infinite or not a number; the last good weights are in {os.fspath(checkpoints)!r}: "
        "begin a run in another folder with one of them (--fine-tune) and a lower --rate"
    )


def _checkpoint(model: Any, folder: Path, epoch: int) -> None:
    """Write weights and optimizer, and remove the oldest checkpoints."""
    models.save(model, folder / f"epoch-{epoch:04d}.keras")
    for path in _checkpoints(folder)[CHECKPOINTS:]:
        path.unlink()


def _save_result(model: Any, result: Path, *, scores: dict[str, float], **card_fields: Any) -> Path:
    """Write the network for inference, also as the file that runtimes read, and its card."""
    network = models.fold(model)
    models.save(network, result)
    if libraries.keras().backend.backend() == "tensorflow":
        inference.write(network, result)
    else:
        log.info("only TensorFlow writes the inference file; it is written to the cache when the network is first used")
    if scores and scores["val_psnr"] <= scores["val_psnr_bicubic"]:
        log.warning(
            "the network is no better than bicubic on the validation tiles; train it longer: in another folder, with "
            "--fine-tune %s",
            result,
        )
    card = cards.describe(result, cards.digest_of(result))
    today = date.today().isoformat()
    cards.write(replace(card, purpose="trained with geosr train", date=today, scores=scores, **card_fields), result)
    return result


def _command(data: Path, folder: Path, options: Options) -> str:
    """Return the command that repeats the run: geosr train, with the options that are not the defaults."""
    words = ["geosr", "train", os.fspath(data), os.fspath(folder.parent)]
    for field in fields(Options):
        value = getattr(options, field.name)
        if value != field.default:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [f"--{field.name.replace('_', '-')}", *([] if value is True else [text])]
    return shlex.join(words)


def bicubic_scores(low: Images, high: Images, scale: int) -> dict[str, float]:
    """Return the mean PSNR in dB (at most 100 for an image) and SSIM of bicubic enlargements of `low`."""
    keras = libraries.keras()
    from geosr.models.losses import psnr, ssim_score

    bicubic = enlarge(low.transpose(0, 3, 1, 2), scale).transpose(0, 2, 3, 1)
    scores: dict[str, list[float]] = {"val_psnr_bicubic": [], "val_ssim_score_bicubic": []}
    for truth, image in zip(high, bicubic, strict=True):
        for score, values in zip((psnr, ssim_score), scores.values(), strict=True):
            values.append(float(keras.ops.convert_to_numpy(score(truth[None], image[None]))[0]))
    return {name: float(np.mean(values)) for name, values in scores.items()}


def _finite(model: Any) -> bool:
    return all(np.isfinite(weight).all() for weight in model.get_weights())


def _clear(folder: Path, *, last: int) -> None:
    """Remove the checkpoints of epochs beyond `last`, which a run makes again; with 0 the logs too."""
    for path in _checkpoints(folder / "ckpts"):
        if _epoch(path) > last:
            path.unlink()
    if not last:
        for path in (folder / "Log").rglob("events*"):
            path.unlink()


def _epoch(checkpoint: Path) -> int:
    number = NAME.fullmatch(checkpoint.name)
    if not number:
        raise OptionError(
            f"a checkpoint is called epoch-0007.keras, got {os.fspath(checkpoint)!r}; begin with it by --fine-tune"
        )
    return int(number[1])


def _epoch_within(checkpoint: Path, options: Options) -> int:
    """Return the epoch of a checkpoint, which must not be beyond the last."""
    if (epoch := _epoch(checkpoint)) > options.epochs:
        raise OptionError(
            f"{os.fspath(checkpoint)!r} is beyond the last epoch, {options.epochs}; give a larger --epochs"
        )
    return epoch


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, the newest first."""
    return sorted(filter(lambda path: NAME.fullmatch(path.name), folder.glob("*")), key=_epoch, reverse=True)


def _resume(model: Any, folder: Path, options: Options) -> int:
    """Restore the newest checkpoint in a folder that can be read, and return its epoch; 0 if there are none.

    Raises:
        ModelError: none can be read.
    """
    paths = _checkpoints(folder)
    if strays := sorted(path.name for path in folder.glob("*") if path not in paths):
        log.warning("%s in %r are no checkpoints and are passed over", listed(strays), os.fspath(folder))
    for path in paths:
        try:
            checkpoint = models.load(path, compiled=True)
        except ModelError as error:
            log.warning("a checkpoint is damaged and is passed over: %s", error)
        else:
            return _restore(model, checkpoint, path, options)
    if paths:
        raise ModelError(f"no checkpoint in {os.fspath(folder)!r} can be read; begin anew with --restart")
    return 0


def _restore(model: Any, checkpoint: Any, path: Path, options: Options) -> int:
    """Take weights and optimizer state of a checkpoint, and return its epoch; the learning rate follows this run."""
    epoch = _epoch_within(path, options)
    first, second = (
        {layer.name: [w.shape for w in layer.weights] for layer in network.layers if layer.weights}
        for network in (model, checkpoint)
    )
    faults = [f"layer {name!r} is not the same" for name in first | second if first.get(name) != second.get(name)]
    if not faults and models.shape(checkpoint) != models.shape(model):
        faults = [f"its scale is {models.shape(checkpoint)[0]}"]
    if faults:
        raise ModelError(
            f"{os.fspath(path)!r} is a checkpoint of another network: {faults[0]}; choose another folder or --restart"
        )
    model.set_weights(checkpoint.get_weights())
    try:
        for variable, value in zip(model.optimizer.variables, checkpoint.optimizer.variables, strict=True):
            variable.assign(value)
    except (ValueError, AttributeError) as error:
        raise ModelError(
            f"{os.fspath(path)!r} was trained in another way; choose another folder, or begin with it by --fine-tune"
        ) from error
    return epoch


def _record(options: Options, data: Path, restore: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Return the options as they are written beside the result, with the entries of NOTES, on which it depends too."""
    keras = libraries.keras()
    versions: dict[str, Any] = {"geosr": __version__, "keras": keras.version(), "backend": keras.backend.backend()}
    if options.fine_tune and (path := cards.path_of(options.fine_tune, options.scale)).is_file():
        versions["fine_tune sha256"] = cards.digest_of(path)
    card = hashlib.sha256((data / records.CARD).read_bytes()).hexdigest()
    notes = {"data": os.fspath(data), "data sha256": card, "made with": versions}
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(options).items()}
    return values | notes | ({"restore": os.fspath(restore)} if restore else {})


def _write_options(path: Path, record: dict[str, Any], *, resume: bool) -> None:
    """Write the options, and refuse to resume a run that began with others."""
    original = _read(path) if resume and path.exists() else {}
    names = {*record} - {"data", "made with", "restore", "parallel"}
    if original and (changes := sorted(name for name in names if original.get(name) != record[name])):
        name = changes[0]
        raise OptionError(
            f"the run in {os.fspath(path.parent)!r} has {name} {original.get(name)}, not {record[name]}; "
            "give the same options, another folder, or --restart"
        )
    # The versions that a run began with stay.
    versions = {name: value for name, value in original.items() if name == "made with"}
    write_file(path, (json_text(original | record | versions) + "\n").encode())


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        text = path.read_text()
        # YAML takes a number like 1e-05, as JSON writes it, for a text.
        content = json_value(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except RecursionError as error:
        raise OptionError(f"{os.fspath(path)!r} is nested too deeply for options") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise OptionError(f"{os.fspath(path)!r} is no YAML or JSON file: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise OptionError(f"{os.fspath(path)!r} must hold options and their values, as epochs: 50")
    return content


def read_options(path: Path) -> dict[str, Any]:
    """Return the options in a YAML or JSON file, written by a run or by hand, without the entries of NOTES.

    Raises:
        OptionError: it is no such file, or has an unknown option.
    """
    names = {field.name for field in fields(Options)}
    values = {name: value for name, value in _read(path).items() if name not in NOTES}
    if unknown := sorted(set(map(str, values)) - names):
        raise OptionError(
            f"{os.fspath(path)!r} has {', '.join(unknown)}, which is no option; there are {', '.join(sorted(names))}"
        )
    return values
