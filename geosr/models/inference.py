"""Inference files: the networks of .keras files as ONNX, which small runtimes read without TensorFlow.

The inference file of `net.keras` is `net.onnx` beside it, where that names the .keras file's digest; shipped and newly
trained networks have theirs. Otherwise the network is converted once, and kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from geosr import models
from geosr.errors import ModelError, OutputError
from geosr.files import write_file
from geosr.models import libraries, onnx_files
from geosr.quiet import silent_stderr

log = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""Largest difference of a converted network, for values from 0 to 1."""
DIGEST = "geosr_keras_sha256"
"""The metadata of an inference file that holds the digest of its .keras file."""


def content_of(path: Path, *, trust: bool = False) -> bytes:
    """Return the content of the inference file of a .keras file; without one, convert the network and cache it.

    Raises:
        ModelError: the .keras file cannot be read, loaded or converted.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"cannot read {os.fspath(path)!r}: {error.strerror or error}") from error
    cached = cache_folder() / f"{digest}.onnx"
    for file in (path.with_suffix(".onnx"), cached):
        with suppress(OSError):
            content = file.read_bytes()
            if digest_in(content) == digest:
                return content
    log.info("%s: converting the network for inference, once", path)
    content = converted(models.load(path, trust=trust), digest)
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_file(cached, content)
    except (OSError, OutputError) as error:
        log.info("%s: the converted network is not cached: %s", path, error)
    return content


def write(model: Any, path: Path) -> None:
    """Write the inference file of a .keras file, which holds the model, beside it.

    Raises:
        ModelError: the model cannot be converted.
        OutputError: the file cannot be written.
    """
    write_file(path.with_suffix(".onnx"), converted(model, hashlib.sha256(path.read_bytes()).hexdigest()))


def converted(model: Any, digest: str) -> bytes:
    """Return a Keras network as ONNX that takes and gives (n, bands, rows, cols), with the .keras file's digest.

    Raises:
        ModelError: the network has an operation that ONNX lacks, or gives other values on OpenVINO.
    """
    from geosr.models import runtimes

    with tempfile.TemporaryDirectory(prefix="geosr-") as folder:
        file = Path(folder) / "network.onnx"
        as_onnx(model, file)
        message = onnx_files.model_proto().FromString(file.read_bytes())
    message.metadata_props.add(key=DIGEST, value=digest)
    content = bytes(message.SerializeToString())
    original, copy = runtimes.of_keras(model), runtimes.of_onnx(content, "openvino")
    largest = runtimes.difference(original, copy, model.inputs[0].shape[-1])
    if not largest <= TOLERANCE:
        raise ModelError(
            f"{model.name!r} gives values that differ by {largest:.1e} on OpenVINO, more than {TOLERANCE:.0e}; compute "
            "it with --backend tensorflow"
        )
    return content


def as_onnx(model: Any, path: Path) -> None:
    """Write a Keras network as an ONNX file that takes and gives (n, bands, rows, cols); other inputs stay.

    Raises:
        ModelError: the network has an operation that ONNX lacks.
    """
    keras = libraries.keras()
    first = channels_first(model)
    inputs = [keras.InputSpec(shape=x.shape, dtype="float32", name=x.name) for x in first.inputs]
    signature = [inputs] if len(inputs) > 1 else inputs
    try:
        with silent_stderr():
            first.export(os.fspath(path), format="onnx", verbose=False, input_signature=signature)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{model.name!r} cannot be converted to ONNX; compute it with --backend tensorflow: {reason}"
        ) from error


def channels_first(model: Any) -> Any:
    """Return the Keras network as one that takes and gives (n, bands, rows, cols), as ONNX networks do."""
    keras = libraries.keras()
    image = keras.Input((model.inputs[0].shape[-1], None, None), name="lr")
    others = [keras.Input(x.shape[1:], name=x.name) for x in model.inputs[1:]]
    last = keras.layers.Permute((2, 3, 1), name="channels_last")(image)
    output = model([last, *others] if others else last)
    output = keras.layers.Permute((3, 1, 2), name="channels_first")(output)
    return keras.Model([image, *others] if others else image, output, name=model.name)


def digest_in(content: bytes) -> str | None:
    """Return the digest of the .keras file that an ONNX network was converted from; None if it does not say."""
    try:
        items = onnx_files.model_proto().FromString(content).metadata_props
    except DecodeError:
        return None
    return next((item.value for item in items if item.key == DIGEST), None)


def cache_folder() -> Path:
    """Return the folder of geosr in the user's cache, by the convention of the system."""
    try:
        home = Path.home()
    except RuntimeError:  # the user has none
        return Path(tempfile.gettempdir()) / f"geosr-{os.getpid()}"
    folders = {
        "win32": os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local",
        "darwin": home / "Library" / "Caches",
    }
    return Path(folders.get(sys.platform) or os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "geosr"
