"""A network trained on a set made by geosr.dataset: checkpoints, TensorBoard logs, and a .keras file at the end.

Runs on any Keras backend (KERAS_BACKEND).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from geosr import __version__, models, pools
from geosr.dataset import records
from geosr.dataset.records import Examples
from geosr.engine import Progress
from geosr.errors import DatasetError, ModelError, OptionError, OutputError, TrainingError
from geosr.files import write_error, write_file
from geosr.models import cards, libraries
from geosr.rasters.resample import enlarge
from geosr.training.batches import Batches, Images, held_out
from geosr.training.options import Options

log = logging.getLogger(__name__)

KEPT_CHECKPOINTS = 3
VALIDATION_TILES = 400
"""Most tiles that an epoch's validation looks at, spread over the set."""
OPTIONS = "options.json"
NOTED = ("data", "data sha256", "made with", "restore")
"""What stands there beside the options: the set and its card's digest, versions, the checkpoint that was given."""
SHOWN_TILES = 4
"""Validation tiles whose pictures go to the TensorBoard logs."""

Report = Callable[[int, int, Mapping[str, float]], None]
"""Called after each epoch with its number, the number of epochs, and the epoch's log."""


@dataclass(frozen=True, slots=True)
class Show:
    """Who is told how a run gets on; either may raise, to cancel."""

    report: Report | None = None
    progress: Progress | None = None


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
    """Trains on DATA/x<scale> and returns the path of RUNS/x<scale>/<model>_x<scale>.keras.

    A checkpoint is written to RUNS/x<scale>/ckpts after each epoch, and a run that was interrupted goes on from
    the newest, or from `restore` (`restart` begins anew). TensorBoard logs go to RUNS/x<scale>/Log: the losses,
    PSNR and SSIM beside bicubic's, the learning rate, and pictures of the first validation tiles. `progress` counts
    steps.

    Raises:
        DatasetError: the set is missing, empty, for another scale, or has tiles smaller than the crop.
        ModelError: a checkpoint or the model to fine-tune is of another network.
        OptionError: the run to go on with has other options, or the backend has no parallel devices.
        TrainingError: the loss became infinite or not a number.
    """
    if restore and restart:
        raise OptionError("--restore goes on with a run and --restart begins anew; give one of them")
    data, folder = Path(data) / f"x{options.scale}", Path(runs) / f"x{options.scale}"
    training, validation = _examples(data, options)
    checkpoints = folder / "ckpts"
    found = None if restart else max(checkpoints.glob("epoch-*.keras"), key=_epoch, default=None)
    newest = Path(restore) if restore else found
    first = _epoch(newest) if newest else 0
    if newest and first > options.epochs:
        raise OptionError(f"{os.fspath(newest)!r} is beyond the last epoch, {options.epochs}; give a larger --epochs")
    steps = max(1, len(training) // options.batch)
    model = _compiled(options, steps)
    if newest:
        _restore(model, newest)
    elif options.fine_tune:
        missing = models.begin_with(model, models.load(cards.path_of(options.fine_tune, options.scale)))
        if missing:
            log.warning("%d layers of %r do not fit: they begin at random", missing, options.fine_tune)
    _folder(checkpoints)
    _keep_options(folder / OPTIONS, _told(options, data, restore), resumed=newest is not None)
    _clear(folder, after=first)
    known = _held_out(validation, options)
    with pools.threads(2) as pool:
        batches = Batches(
            training,
            batch=options.batch,
            crop=options.crop,
            bands=options.bands,
            seed=options.seed,
            first=first * steps,
            pool=pool,
        )
        epochs, show = range(first, options.epochs), Show(report, progress)
        scores = _run(model, batches, known, folder, options, epochs, steps, show)
    path = folder / f"{options.model}_x{options.scale}.keras"
    return _kept(model, path, scores=scores, training_data=os.fspath(data), commands=[_command(data, folder, options)])


def _examples(data: Path, options: Options) -> tuple[Examples, Examples]:
    """The training and the validation examples, seen to fit the options."""
    scale = records.read_card(data)["scale"]
    if scale != options.scale:
        raise DatasetError(f"the set in {os.fspath(data)!r} is for scale {scale}, not {options.scale}; change --scale")
    training, validation = (records.split(data, name) for name in records.SPLITS)
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


def _held_out(validation: Examples, options: Options) -> tuple[Images, Images] | None:
    """The tiles that are validated on, as many as the devices can share."""
    if not len(validation):
        return None
    low, high = held_out(validation, bands=options.bands, most=VALIDATION_TILES)
    whole = len(low)
    if options.parallel:
        whole -= whole % len(libraries.keras().distribution.list_devices())
    return (low[:whole], high[:whole]) if whole else None


def _compiled(options: Options, steps: int) -> Any:
    """The network with its optimizer and loss."""
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
    batches: Batches,
    known: tuple[Images, Images] | None,
    folder: Path,
    options: Options,
    epochs: range,
    steps: int,
    show: Show,
) -> dict[str, float]:
    """Trains through the epochs, each ending with a validation, logs and a checkpoint; the last epoch's scores."""
    keras = libraries.keras()
    average = keras.callbacks.SwapEMAWeights() if options.average else keras.callbacks.Callback()
    average.set_model(model)
    bicubic = bicubic_scores(*known, options.scale) if known else {}
    feed, scores = iter(batches), {}
    with Log(folder / "Log", epochs.start + 1) as log:
        for epoch in epochs:
            sums: Counter[str] = Counter()
            for step in range(1, steps + 1):
                model.reset_metrics()  # Keras before 3.15 tells means over all steps, and over validations too
                told = model.train_on_batch(*next(feed), return_dict=True)
                if not np.isfinite(told["loss"]):
                    raise _diverged(folder / "ckpts")
                sums.update({name: float(value) for name, value in told.items()})
                if show.progress:
                    show.progress(epoch * steps + step, steps * options.epochs)
            means = {name: value / steps for name, value in sums.items()}
            means["learning_rate"] = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
            if known:
                average.on_test_begin()
                scores = _scores(model, known, options.batch) | bicubic
                log.pictures(model, known, epoch + 1)
                average.on_test_end()
            log.numbers(means | scores, epoch + 1)
            if show.report:
                show.report(epoch + 1, options.epochs, means | scores)
            if not _finite(model):
                raise _diverged(folder / "ckpts")
            _checkpoint(model, folder / "ckpts", epoch + 1)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    # A run that had ended before is scored again.
    return scores or (_scores(model, known, options.batch) | bicubic if known else {})


def _scores(model: Any, known: tuple[Images, Images], batch: int) -> dict[str, float]:
    found = model.evaluate(*known, batch_size=batch, return_dict=True, verbose=0)
    return {f"val_{name}": float(value) for name, value in found.items()}


def _diverged(checkpoints: Path) -> TrainingError:
    if not any(checkpoints.glob("epoch-*.keras")):
        return TrainingError("the loss became infinite or not a number in the first epoch; take a lower --rate")
    return TrainingError(
        f"the loss became infinite or not a number; the last good weights are in {os.fspath(checkpoints)!r}: "
        "begin a run in another folder with one of them (--fine-tune) and a lower --rate"
    )


def _checkpoint(model: Any, folder: Path, epoch: int) -> None:
    """Writes weights and optimizer, and removes the oldest."""
    models.save(model, folder / f"epoch-{epoch:04d}.keras")
    for old in sorted(folder.glob("epoch-*.keras"), key=_epoch)[:-KEPT_CHECKPOINTS]:
        old.unlink()


class Log:
    """The TensorBoard logs of a run from an epoch on, which take the place of older ones; a context manager.

    Raises:
        OutputError: they cannot be written, as for want of space.
    """

    def __init__(self, folder: Path, epoch: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        # Not its SummaryWriter, whose thread dies on a full disk, and the program then never ends.
        self._folder = folder
        self._writer = EventsWriter(os.fspath(_folder(folder) / "events"))
        self._write(epoch, file_version="brain.Event:2")
        self._write(epoch, session_log=SessionLog(status=SessionLog.START))

    def numbers(self, values: Mapping[str, float], epoch: int) -> None:
        from tensorboardX.summary import scalar

        for name, value in values.items():
            self._write(epoch, summary=scalar(name, value))
        try:
            self._writer.flush()
        except OSError as error:
            raise write_error(self._folder, error) from error

    def pictures(self, model: Any, known: tuple[Images, Images], epoch: int) -> None:
        """Of the first tiles; see `picture`."""
        from tensorboardX.summary import image

        low, high = (images[:SHOWN_TILES] for images in known)
        enlarged = libraries.keras().ops.convert_to_numpy(model(low, training=False))
        for number, made in enumerate(enlarged):
            shown = picture(low[number], made, high[number])
            self._write(epoch, summary=image(f"tile {number}", shown, dataformats="HWC"))

    def _write(self, epoch: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        try:
            self._writer.write_event(Event(wall_time=time.time(), step=epoch, **content))
        except OSError as error:
            raise write_error(self._folder, error) from error

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what matters was flushed, or could not be
            self._writer.close()


def _kept(model: Any, result: Path, *, scores: dict[str, float], **told: Any) -> Path:
    """Writes the network for inference and its card."""
    models.save(models.folded(model), result)
    if scores and scores["val_psnr"] <= scores["val_psnr_bicubic"]:
        log.warning("the network is no better than bicubic on the validation tiles; train it for more epochs")
    card = cards.describe(result, cards.digest_of(result))
    today = date.today().isoformat()
    cards.write(replace(card, purpose="trained with geosr train", date=today, scores=scores, **told), result)
    return result


def _command(data: Path, folder: Path, options: Options) -> str:
    """What makes the same run again: geosr train, with the options that are not the defaults."""
    words = ["geosr", "train", os.fspath(data.parent), os.fspath(folder.parent)]
    for field in fields(Options):
        value = getattr(options, field.name)
        if value != field.default:
            words += [f"--{field.name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)


def picture(low: Images, made: Images, high: Images) -> Any:
    """Side by side the first band of bicubic, result, truth, and the result's error ten times as strong: uint8."""
    bicubic = enlarge(low[..., 0], high.shape[0] // low.shape[0])
    error = 0.5 + 10 * (made[..., 0] - high[..., 0])
    row = np.hstack([bicubic, made[..., 0], high[..., 0], error])
    return (np.clip(row, 0, 1)[..., None].repeat(3, axis=2) * 255).astype(np.uint8)


def bicubic_scores(low: Images, high: Images, scale: int) -> dict[str, float]:
    """The mean PSNR in dB (at most 100 for an image) and SSIM of bicubic enlargements of `low`."""
    keras = libraries.keras()
    from geosr.models.losses import psnr, ssim_score

    made = enlarge(low.transpose(0, 3, 1, 2), scale).transpose(0, 2, 3, 1)
    scores: dict[str, list[float]] = {"val_psnr_bicubic": [], "val_ssim_score_bicubic": []}
    for truth, image in zip(high, made, strict=True):
        for score, values in zip((psnr, ssim_score), scores.values(), strict=True):
            values.append(float(keras.ops.convert_to_numpy(score(truth[None], image[None]))[0]))
    return {name: float(np.mean(values)) for name, values in scores.items()}


def _finite(model: Any) -> bool:
    return all(np.isfinite(weight).all() for weight in model.get_weights())


def _clear(folder: Path, *, after: int) -> None:
    """Removes the checkpoints of epochs after `after`, which a run now makes again; with 0 the logs too."""
    for path in (folder / "ckpts").glob("epoch-*.keras"):
        if _epoch(path) > after:
            path.unlink()
    if not after:
        for path in (folder / "Log").rglob("events*"):
            path.unlink()


def _epoch(checkpoint: Path) -> int:
    number = re.fullmatch(r"epoch-(\d+)", checkpoint.stem)
    if not number:
        raise OptionError(
            f"a checkpoint is called epoch-0007.keras, got {checkpoint.name!r}; begin with it by --fine-tune"
        )
    return int(number[1])


def _restore(model: Any, path: Path) -> None:
    """Weights and optimizer state of a checkpoint; the learning rate goes on along this run's schedule."""
    saved = models.load(path, compiled=True)
    mine, given = (
        {layer.name: [w.shape for w in layer.weights] for layer in one.layers if layer.weights}
        for one in (model, saved)
    )
    other = [f"layer {name!r} is not the same" for name in {**mine, **given} if mine.get(name) != given.get(name)]
    if not other and models.shape(saved) != models.shape(model):
        other = [f"its scale is {models.shape(saved)[0]}"]
    if other:
        raise ModelError(
            f"{os.fspath(path)!r} is a checkpoint of another network: {other[0]}; choose another folder or --restart"
        )
    model.set_weights(saved.get_weights())
    try:
        for mine, theirs in zip(model.optimizer.variables, saved.optimizer.variables, strict=True):
            mine.assign(theirs)
    except (ValueError, AttributeError) as error:
        raise ModelError(
            f"{os.fspath(path)!r} was trained in another way; choose another folder, or begin with it by --fine-tune"
        ) from error


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {os.fspath(path)!r}: {error.strerror}") from error
    return path


def _told(options: Options, data: Path, restore: str | os.PathLike[str] | None) -> dict[str, Any]:
    """The options as they are written beside the result, with what else it depends on: see NOTED."""
    keras = libraries.keras()
    made: dict[str, Any] = {"geosr": __version__, "keras": keras.version(), "backend": keras.backend.backend()}
    if options.fine_tune and (begun := cards.path_of(options.fine_tune, options.scale)).is_file():
        made["fine_tune sha256"] = cards.digest_of(begun)
    card = hashlib.sha256((data / records.CARD).read_bytes()).hexdigest()
    noted = {"data": os.fspath(data), "data sha256": card, "made with": made}
    return asdict(options) | noted | ({"restore": os.fspath(restore)} if restore else {})


def _keep_options(path: Path, now: dict[str, Any], *, resumed: bool) -> None:
    """Writes the options; a run goes on with those that it began with."""
    before = _read(path) if resumed and path.exists() else {}
    if before:
        for name in sorted({*now} - {"data", "made with", "restore", "parallel"}):
            if before.get(name) != now[name]:
                raise OptionError(
                    f"the run in {os.fspath(path.parent)!r} has {name} {before.get(name)}, not {now[name]}; "
                    "give the same options, another folder, or --restart"
                )
    # What a run began with stays noted.
    began = {"made with": before["made with"]} if "made with" in before else {}
    write_file(path, (json.dumps(before | now | began, indent=1) + "\n").encode())


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        text = path.read_text()
        # YAML takes a number like 1e-05, as JSON writes it, for a text.
        content = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise OptionError(f"{os.fspath(path)!r} is no YAML or JSON file: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise OptionError(f"{os.fspath(path)!r} must hold options and their values, as epochs: 50")
    return content


def read_options(path: Path) -> dict[str, Any]:
    """The options in a YAML or JSON file, as a run writes it or a hand did; what a run noted beside is left out.

    Raises:
        OptionError: it is no such file, or has an option that is none.
    """
    content = _read(path)
    known = {field.name for field in fields(Options)}
    chosen = {name: value for name, value in content.items() if name not in NOTED}
    if wrong := sorted(set(map(str, chosen)) - known):
        raise OptionError(
            f"{os.fspath(path)!r} has {', '.join(wrong)}, which is no option; there are {', '.join(sorted(known))}"
        )
    return chosen
