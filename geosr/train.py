"""A network trained on a set made by geosr.dataset: checkpoints, TensorBoard logs, and a .keras file at the end."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr import backend, models, records
from geosr.errors import DatasetError, ModelError, OptionError, OutputError, TrainingError
from geosr.models import cards
from geosr.records import Sample
from geosr.resample import enlarge

log = logging.getLogger(__name__)

KEPT_CHECKPOINTS = 3
VALIDATION_TILES = 400
"""Most tiles that an epoch's validation looks at, spread over the set."""

Report = Callable[[int, int, Mapping[str, float]], None]
"""Called after each epoch with its number, the number of epochs, and the epoch's log."""

Images = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Options:
    """How a network is trained; written beside it so that the run can be repeated."""

    scale: int = 2
    model: str = "idn"
    bands: int = 1
    """1: a network for any band, trained on all bands of the set in turn."""
    epochs: int = 50
    batch: int = 16
    crop: int = 48
    """Rows and columns of the low-resolution input, cut at random from a tile."""
    rate: float = 1e-3
    """Adam's learning rate after the warm-up; it decays to 0 along a cosine."""
    warmup: float = 0.02
    """Share of the steps in which the rate rises from 0."""
    loss: str = "l1"
    precision: str = "float32"
    """float32, or mixed_bfloat16 where the processor has it; the result is float32."""
    seed: int = 0


def train(
    data: str | os.PathLike[str],
    runs: str | os.PathLike[str],
    options: Options,
    *,
    start: str | os.PathLike[str] | None = None,
    restore: str | os.PathLike[str] | None = None,
    restart: bool = False,
    report: Report | None = None,
) -> Path:
    """Trains on DATA/x<scale> and returns the path of RUNS/x<scale>/<model>_x<scale>.keras.

    A checkpoint is written to RUNS/x<scale>/ckpts after each epoch, and a run that was interrupted goes on from
    the newest, or from `restore` (`restart` begins anew). `start` names a .keras file whose weights a new run
    begins with, layer by layer where the shapes are the same; it may be for another scale. TensorBoard logs go to
    RUNS/x<scale>/Log, with the validation PSNR beside bicubic's.

    Raises:
        DatasetError: the set is missing, empty, for another scale, or has tiles smaller than the crop.
        ModelError: a checkpoint or `start` is of another network.
        OptionError: the run to go on with has other options.
        TrainingError: the loss became infinite or not a number.
    """
    keras = backend.keras()
    from geosr.models.losses import LOSSES, psnr

    data, folder = Path(data) / f"x{options.scale}", Path(runs) / f"x{options.scale}"
    tiles = _checked_card(data, options)["tiles"]
    checkpoints = _folder(folder / "ckpts")
    name = f"{options.model}_x{options.scale}"
    keras.utils.set_random_seed(options.seed)
    steps = max(1, tiles["Training"] // options.batch)

    model = models.build(options.model, options.scale, options.bands, precision=options.precision)
    optimizer = keras.optimizers.Adam(_schedule(options, steps), clipnorm=1.0)
    model.compile(optimizer, loss=LOSSES[options.loss], metrics=[psnr])
    optimizer.build(model.trainable_variables)
    if restore and restart:
        raise OptionError("--restore goes on with a run and --restart begins anew; give one of them")
    newest = Path(restore) if restore else None if restart else _newest(checkpoints)
    first = _epoch(newest) if newest else 0
    if newest:
        _restore(model, newest)
    elif start:
        begin_with(model, Path(start))
    _keep_options(folder / "options.json", _told(options, data, start), resumed=newest is not None)
    held_out = validation_pairs(data / "Validation", tiles["Validation"], options) if tiles["Validation"] else None
    pairs = training_pairs(data / "Training", options, first=first * steps * options.batch)
    _clear(folder, after=first)
    try:
        history = model.fit(
            pairs,
            epochs=options.epochs,
            initial_epoch=first,
            steps_per_epoch=steps,
            validation_data=held_out,
            validation_batch_size=options.batch,
            callbacks=_callbacks(folder, checkpoints, held_out, options, report),
            verbose=0,
            shuffle=False,  # tf.data does it
        )
    except backend.tensorflow().errors.OpError as error:
        raise DatasetError(f"the training set in {os.fspath(data)!r} cannot be read: {error.message}") from error
    if not _finite(model):
        raise TrainingError(
            f"the loss became infinite or not a number; the last good weights are in {os.fspath(checkpoints)!r}: "
            "begin a run in another folder with one of them (--start) and a lower --rate"
        )
    result = folder / f"{name}.keras"
    plain = models.build(options.model, options.scale, options.bands)
    plain.set_weights(model.get_weights())
    models.save(plain, result)
    scores = {name: values[-1] for name, values in history.history.items() if name.startswith("val_psnr")}
    if scores and scores["val_psnr"] <= scores["val_psnr_bicubic"]:
        log.warning("the network is no better than bicubic on the validation tiles; train it for more epochs")
    card = cards.describe(result, cards.digest_of(result))
    cards.write(replace(card, purpose="trained with geosr train", training_data=os.fspath(data), scores=scores), result)
    return result


def training_pairs(folder: Path, options: Options, *, first: int = 0) -> Any:
    """An endless tf.data.Dataset of batches (input, truth), randomly cropped, flipped and turned.

    How the sample with a number is cropped and turned depends on the seed and that number alone; which tile it is, on
    the seed and on `first`, the number that the training goes on with.
    """
    tf = backend.tensorflow()
    crop, bands = options.crop, options.bands

    def drawn(number: Any, example: Any) -> Any:
        def draw(number: Any, example: bytes) -> tuple[Images, Images]:
            rng = np.random.default_rng((options.seed, int(number)))
            return augmented(records.decode(example), crop, bands, rng)

        low, high = tf.numpy_function(draw, (number, example), (tf.float32, tf.float32))
        side = crop * options.scale
        return tf.ensure_shape(low, (crop, crop, bands)), tf.ensure_shape(high, (side, side, bands))

    paths = [os.fspath(path) for path in records.shards(folder)]
    files = tf.data.Dataset.from_tensor_slices(paths)
    examples = (
        files.interleave(tf.data.TFRecordDataset, cycle_length=4).shuffle(2048, seed=options.seed + first).repeat()
    )
    return (
        examples.enumerate(first)
        .map(drawn, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(options.batch, drop_remainder=True)
        .prefetch(4)
    )


def augmented(sample: Sample, crop: int, bands: int, rng: np.random.Generator) -> tuple[Images, Images]:
    """A random crop of the sample, flipped and turned at random: (rows, cols, bands) of input and truth, 0..1.

    A network of one band gets a band drawn at random.
    """
    k = sample.scale
    row, col = (int(rng.integers(side - crop + 1)) for side in sample.down.shape[1:])
    chosen = [int(rng.integers(sample.gt.shape[0]))] if bands == 1 else list(range(bands))
    values = sample.range.bands(chosen)
    low = values.normalise(sample.down[chosen, row : row + crop, col : col + crop])
    high = values.normalise(sample.gt[chosen, row * k : (row + crop) * k, col * k : (col + crop) * k])
    turns, mirror = int(rng.integers(4)), bool(rng.integers(2))

    def turned(block: Images) -> Images:
        block = np.rot90(block, turns, (1, 2))
        return np.ascontiguousarray((block[:, :, ::-1] if mirror else block).transpose(1, 2, 0))

    return turned(low), turned(high)


def validation_pairs(folder: Path, count: int, options: Options) -> tuple[Images, Images]:
    """Inputs and truths (n, rows, cols, bands) of tiles spread over the validation set of `count` tiles, 0..1.

    Of a tile, a network of one band gets one band: the first of the first tile, the second of the next, and so on.
    """
    step = -(-count // VALIDATION_TILES)
    pairs = []
    for number, sample in enumerate(islice(records.read(folder), 0, None, step)):
        bands = [number % sample.gt.shape[0]] if options.bands == 1 else list(range(options.bands))
        values = sample.range.bands(bands)
        pairs.append([values.normalise(block[bands]).transpose(1, 2, 0) for block in (sample.down, sample.gt)])
    low, high = zip(*pairs, strict=True)
    return np.stack(low), np.stack(high)


def begin_with(model: Any, path: Path) -> None:
    """Copies the weights of the network in `path` to the layers of the same name and shape.

    Raises:
        ModelError: the file holds another network: no layer fits.
    """
    other = {layer.name: layer.get_weights() for layer in models.load(path).layers}
    fitting = [
        layer
        for layer in model.layers
        if layer.weights and [w.shape for w in layer.weights] == [w.shape for w in other.get(layer.name, [])]
    ]
    if not fitting:
        raise ModelError(f"{os.fspath(path)!r} holds another network: none of its layers fits; choose another --start")
    for layer in fitting:
        layer.set_weights(other[layer.name])


def _checked_card(data: Path, options: Options) -> dict[str, Any]:
    card = records.read_card(data)
    if card["size"] < options.crop * options.scale:
        raise DatasetError(
            f"tiles of {card['size']} pixels are smaller than the crop of {options.crop} x {options.scale} pixels; "
            f"use --crop {card['size'] // options.scale} or make the set with a larger --size"
        )
    counts = {scene["bands"] for scene in card["scenes"]}
    if options.bands > 1 and counts != {options.bands}:
        raise DatasetError(f"the set has scenes of {sorted(counts)} bands but the network takes {options.bands}")
    if card["tiles"]["Training"] < 1:
        raise DatasetError(f"{os.fspath(data)!r} has no training tiles")
    return card


def _schedule(options: Options, steps: int) -> Any:
    schedules = backend.keras().optimizers.schedules
    total = steps * options.epochs
    warm = max(1, int(options.warmup * total))
    return schedules.CosineDecay(0.0, max(1, total - warm), warmup_target=options.rate, warmup_steps=warm)


def _callbacks(
    folder: Path, checkpoints: Path, held_out: tuple[Images, Images] | None, options: Options, report: Report | None
) -> list[Any]:
    keras = backend.keras()
    Callback: Any = keras.callbacks.Callback

    class Log(Callback):
        """Adds bicubic's PSNR on the validation tiles and the learning rate to an epoch's log, and reports it."""

        def on_train_begin(self, logs: Any = None) -> None:
            self.bicubic = bicubic_psnr(*held_out, options.scale) if held_out else None

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            if logs is not None:
                logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
                if self.bicubic is not None:
                    logs["val_psnr_bicubic"] = self.bicubic
                if report:
                    report(epoch + 1, options.epochs, logs)

    class Checkpoints(Callback):
        """Writes weights and optimizer after each epoch, under the final name only when whole."""

        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            if not _finite(self.model):
                return
            models.save(self.model, checkpoints / f"epoch-{epoch + 1:04d}.keras")
            for old in sorted(checkpoints.glob("epoch-*.keras"))[:-KEPT_CHECKPOINTS]:
                old.unlink()

    class Finite(Callback):
        """Stops the training when the loss is no longer a number."""

        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            if not np.isfinite((logs or {}).get("loss", 0.0)):
                self.model.stop_training = True

    log = folder / "Log"
    return [Log(), Checkpoints(), Finite(), keras.callbacks.TensorBoard(os.fspath(log))]


def bicubic_psnr(low: Images, high: Images, scale: int) -> float:
    """The mean PSNR in dB of bicubic enlargements of `low` (n, rows, cols, bands); at most 100 for an image."""
    from skimage.metrics import peak_signal_noise_ratio

    made = enlarge(low.transpose(0, 3, 1, 2), scale).transpose(0, 2, 3, 1)
    with np.errstate(divide="ignore"):
        scores = [peak_signal_noise_ratio(t, m, data_range=1) for t, m in zip(high, made, strict=True)]
    return float(np.mean(np.minimum(scores, 100)))


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


def _newest(checkpoints: Path) -> Path | None:
    return max(checkpoints.glob("epoch-*.keras"), default=None)


def _epoch(checkpoint: Path) -> int:
    number = re.fullmatch(r"epoch-(\d+)", checkpoint.stem)
    if not number:
        raise OptionError(f"a checkpoint is called epoch-0007.keras, got {checkpoint.name!r}; begin with it by --start")
    return int(number[1])


def _restore(model: Any, path: Path) -> None:
    """Weights and optimizer state of a checkpoint; the learning rate goes on along this run's schedule."""
    saved = models.load(path, compiled=True)
    try:
        model.set_weights(saved.get_weights())
        for mine, theirs in zip(model.optimizer.variables, saved.optimizer.variables, strict=True):
            mine.assign(theirs)
    except (ValueError, AttributeError) as error:
        raise ModelError(
            f"{os.fspath(path)!r} is a checkpoint of another network; choose another folder or --restart"
        ) from error


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {os.fspath(path)!r}: {error.strerror}") from error
    return path


def _told(options: Options, data: Path, start: str | os.PathLike[str] | None) -> dict[str, Any]:
    """The options as they are written beside the result, with the training set's fingerprint."""
    card = hashlib.sha256((data / records.CARD).read_bytes()).hexdigest()
    return asdict(options) | {"data": os.fspath(data), "data sha256": card, "start": start and os.fspath(start)}


def _keep_options(path: Path, now: dict[str, Any], *, resumed: bool) -> None:
    """Writes the options; a run goes on with those that it began with, but for the number of epochs."""
    if resumed and path.exists():
        before = json.loads(path.read_text())
        for name in sorted(set(now) - {"epochs", "data", "start"}):
            if before.get(name) != now[name]:
                raise OptionError(
                    f"the run in {os.fspath(path.parent)!r} has {name} {before.get(name)}, not {now[name]}; "
                    "give the same options, another folder, or --restart"
                )
    path.write_text(json.dumps(now, indent=1) + "\n")
