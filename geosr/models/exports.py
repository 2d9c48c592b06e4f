"""Networks written for other programs, and in 8 bits: each compared with the one that it was made of."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from geosr import models
from geosr.errors import ModelError, OutputError
from geosr.grid import Block
from geosr.models import cards, conditioning, inference, libraries, runtimes
from geosr.models.runtimes import Runtime
from geosr.quiet import silent_stderr

TOLERANCE = 1e-4
"""Largest difference of an exported network, for values from 0 to 1."""


def export(source: Path, output: Path) -> float:
    """Write a .keras network as ONNX, LiteRT (.tflite) or a SavedModel (a folder); return the largest difference.

    ONNX takes and gives (n, bands, rows, cols), the others (n, rows, cols, bands), float32, the scene's values as 0..1.

    Raises:
        ModelError: the network cannot be written in this format, or gives other values there; no file is left then.
    """
    model = conditioning.plain(models.load(source))
    if output.suffix not in WRITERS:
        raise ModelError(f"{os.fspath(output)!r} must end in .onnx or .tflite, or be a folder, which has no ending")
    with tempfile.TemporaryDirectory(dir=output.absolute().parent, prefix=".geosr-") as folder:
        draft = Path(folder) / output.name
        try:
            WRITERS[output.suffix](model, draft)
        except ModelError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{os.fspath(source)!r} cannot be written as {output.name!r}: {reason}") from error
        largest = runtimes.difference(
            runtimes.load(source, "tensorflow"), READERS[output.suffix](draft), model.input_shape[-1]
        )
        if not largest <= TOLERANCE:
            raise ModelError(
                f"the exported network gives values that differ by {largest:.1e}, more than {TOLERANCE:.0e}"
            )
        try:
            if is_saved_model(output):
                shutil.rmtree(output)
            draft.replace(output)
        except OSError as error:
            raise OutputError(f"cannot write {os.fspath(output)!r}: {error.strerror}") from error
    return largest


def quantize(source: Path, output: Path, tiles: Iterable[Block], *, kept: int = 1) -> None:
    """Write a network as OpenVINO's in 8 bits (.xml and .bin), calibrated on tiles (bands, rows, cols) from 0 to 1.

    Only convolutions become 8 bits, without the `kept` first and last ones: the first sees the image itself, which may
    hold more than 8 bits, and costs next to nothing. Sums, products and the bicubic enlargement stay in 32 bits.

    Raises:
        ModelError: OpenVINO or NNCF is not installed, or no convolution is left.
    """
    try:
        openvino, nncf = libraries.openvino(), import_module("nncf")
    except ImportError as error:
        raise ModelError(f"{error.name!r} is not installed: pip install 'geosr[quantize]'") from error
    logging.getLogger("nncf").setLevel("ERROR")
    network = openvino.Core().read_model(_plain_content(source) if source.suffix == ".keras" else source)
    operations = [(operation.get_type_name(), operation.get_friendly_name()) for operation in network.get_ordered_ops()]
    # The bicubic enlargement is a convolution too, of the image itself, and keeps its precision.
    convolutions = [name for kind, name in operations if kind == "Convolution" and "/bicubic" not in name]
    targets = set(convolutions[kept : len(convolutions) - kept])
    if not targets:
        raise ModelError(
            f"{os.fspath(source)!r} has {len(convolutions)} convolutions: none is left for 8 bits with --keep {kept}"
        )
    with redirect_stdout(sys.stderr):  # where it shows how far it is
        quantized = nncf.quantize(
            network,
            nncf.Dataset([np.ascontiguousarray(tile[None], np.float32) for tile in tiles]),
            subset_size=1000,
            preset=nncf.QuantizationPreset.MIXED,
            fast_bias_correction=True,
            ignored_scope=nncf.IgnoredScope(names=[name for _, name in operations if name not in targets]),
        )
    openvino.save_model(quantized, output, compress_to_fp16=False)


def _plain_content(source: Path) -> bytes:
    """Return a .keras network in ONNX; a conditioned one as the plain network for conditioning.REFERENCE."""
    if not cards.of(source).knows_sensors:
        return inference.content_of(source)
    return inference.converted(conditioning.plain(models.load(source)), cards.digest_of(source))


def is_saved_model(path: Path) -> bool:
    """Return True for a folder as TensorFlow writes networks."""
    return (path / "saved_model.pb").is_file()


def _write(model: Any, path: Path, kind: str) -> None:
    with silent_stderr():
        model.export(os.fspath(path), format=kind, verbose=False)


def _read_litert(path: Path) -> Runtime:
    tensorflow = libraries.tensorflow()
    with silent_stderr():
        network = tensorflow.lite.Interpreter(os.fspath(path))
    (image,), (output,) = network.get_input_details(), network.get_output_details()

    def predict(images: Block) -> Any:
        network.resize_tensor_input(image["index"], images.shape)
        network.allocate_tensors()
        network.set_tensor(image["index"], images)
        network.invoke()
        return network.get_tensor(output["index"])

    return Runtime(runtimes.channels_last(predict), int(image["shape_signature"][-1]))


WRITERS: dict[str, Callable[[Any, Path], None]] = {
    ".onnx": inference.as_onnx,
    ".tflite": partial(_write, kind="litert"),
    "": partial(_write, kind="tf_saved_model"),
}
READERS: dict[str, Callable[[Path], Runtime]] = {
    ".onnx": runtimes.load,
    ".tflite": _read_litert,
    "": lambda path: runtimes.load(path, trust=True),
}
"""Readers of exported networks, to compare them by."""
