"""The TensorBoard log of a training: an event file of TFRecords with tensorboard's messages."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from geosr.dataset.records import framed
from geosr.errors import OutputError
from geosr.files import write_error
from geosr.models import conditioning, libraries
from geosr.pictures import stretched
from geosr.rasters.resample import enlarge
from geosr.training.batches import Images

TILES = 4
"""Validation tiles whose pictures are logged."""


class EventLog:
    """The log of a run from an epoch on, which takes the place of older entries; a context manager.

    Raises:
        OutputError: it cannot be written, as for want of space.
    """

    def __init__(self, folder: Path, epoch: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._folder = new_folder(folder)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        try:
            self._file = (folder / name).open("ab")
        except OSError as error:
            raise write_error(folder, error) from error
        self._write(epoch, file_version="brain.Event:2")
        self._write(epoch, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Log numbers by name."""
        for name, value in values.items():
            self._write_summary(epoch, tag=name, simple_value=value)
        try:
            self._file.flush()
        except OSError as error:
            raise write_error(self._folder, error) from error

    def pictures(self, model: Any, validation: tuple[Images, Images], epoch: int) -> None:
        """Log the first tiles; see `comparison`."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        low, high = (images[:TILES] for images in validation)
        results = libraries.keras().ops.convert_to_numpy(model(conditioning.inputs(model, low), training=False))
        for number, result in enumerate(results):
            row, png = comparison(low[number], result, high[number]), BytesIO()
            Image.fromarray(row).save(png, "PNG")
            height, width, _ = row.shape
            image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png.getvalue())
            self._write_summary(epoch, tag=f"tile_{number}", image=image)

    def _write_summary(self, epoch: int, **value: Any) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._write(epoch, summary=Summary(value=[Summary.Value(**value)]))

    def _write(self, epoch: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        try:
            self._file.write(framed(Event(wall_time=time.time(), step=epoch, **content).SerializeToString()))
        except OSError as error:
            raise write_error(self._folder, error) from error

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what matters was flushed, or could not be
            self._file.close()


def comparison(low: Images, result: Images, high: Images) -> Any:
    """Return bicubic, result, truth, and the result's error ten times as strong, side by side: uint8 (rows, cols, 3).

    Of each, the first band is shown.
    """
    bicubic = enlarge(low[..., 0], high.shape[0] // low.shape[0])
    error = 0.5 + 10 * (result[..., 0] - high[..., 0])
    row = np.hstack([bicubic, result[..., 0], high[..., 0], error])
    return stretched(row, 0, 1)[..., None].repeat(3, axis=2)


def new_folder(path: Path) -> Path:
    """Create a folder, if it does not exist, and return it.

    Raises:
        OutputError: it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {os.fspath(path)!r}: {error.strerror}") from error
    return path
