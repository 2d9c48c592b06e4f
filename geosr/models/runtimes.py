"""The runtimes of networks: TensorFlow, OpenVINO or ONNX Runtime. Each is loaded on first use."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from geosr import machine, models
from geosr.errors import ModelError
from geosr.grid import Block
from geosr.models import libraries
from geosr.quiet import silent_stderr

FILES = {
    ".keras": ("tensorflow", "openvino", "onnx"),
    ".onnx": ("openvino", "onnx"),
    ".xml": ("openvino",),
    "": ("tensorflow",),
}
"""The backends for each kind of model file, by its ending; a SavedModel is a folder."""

CODE = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".hdf5", ".pb", ".npy", ".joblib"}
"""Kinds of files that can hold code or weights without their network."""

_MODULES = {"openvino": "openvino", "onnx": "onnxruntime"}
_AT_ONCE = 2**21
"""Pixels of small blocks that keep a GPU busy."""
_PROBED = 8
"""Rows and columns of the block that shows how a network enlarges."""


class OutOfMemory(Exception):
    """The device has no room for what was asked of it at once."""


@dataclass(frozen=True)
class Runtime:
    """A network that can be called with blocks (n, bands, rows, cols) of float32."""

    forward: Callable[[Block], Block]
    bands: int | None
    """The number of bands of its input; None: any."""
    at_once: int = 1
    """Pixels of as many blocks as are computed at a time, or of one; on a processor that one is fastest."""

    def __call__(self, blocks: Block) -> Block:
        """The blocks enlarged, as many at a time as there is memory for.

        Raises:
            ModelError: there is not even memory for one, or the network cannot take them.
        """
        first, step, done = 0, max(1, min(len(blocks), self.at_once // prod(blocks.shape[2:]))), list[Block]()
        while first < len(blocks):
            try:
                done.append(self.forward(np.ascontiguousarray(blocks[first : first + step], np.float32)))
                first += step
            except OutOfMemory as error:
                if step == 1:
                    size = " x ".join(map(str, blocks.shape[1:]))
                    raise ModelError(
                        f"there is not enough memory for the network with a block of {size}; give a smaller --tile"
                    ) from error
                step //= 2
            except Exception as error:
                size, reason = " x ".join(map(str, blocks.shape[1:])), " ".join(str(error).split())[:160]
                raise ModelError(f"the network cannot take a block of {size} (bands, rows, cols): {reason}") from error
        return np.concatenate(done)


def choose(path: Path, wanted: str = "auto") -> str:
    """The backend that computes a model file.

    Raises:
        ModelError: the wanted one does not read such files, or no backend does.
    """
    kind = "" if path.is_dir() else path.suffix.lower()
    if kind in CODE:
        raise ModelError(
            f"{os.fspath(path)!r} may hold code, which is never executed, or weights alone; export the network to ONNX"
        )
    if kind not in FILES or (not kind and not path.is_dir()):
        raise ModelError(f"no model {os.fspath(path)!r}; give a .keras, .onnx or .xml file, or a name of geosr models")
    if wanted == "auto":
        there = [name for name in FILES[kind] if name == "tensorflow" or _is_there(name)]
        return (there or FILES[kind])[0]
    if wanted not in FILES[kind]:
        raise ModelError(f"{os.fspath(path)!r} runs on {' or '.join(FILES[kind])}, not on {wanted}")
    return wanted


def gpu_memory(name: str) -> int:
    """Bytes of the GPU that a backend computes on; 0: it computes on the processor. Without a GPU it is not loaded."""
    memory = machine.gpu_memory()
    if memory and name == "tensorflow" and libraries.keras().backend.backend() == name:
        return memory if libraries.tensorflow().config.list_physical_devices("GPU") else 0
    if memory and name == "onnx" and _is_there(name):
        return memory if "CUDAExecutionProvider" in import_module(_MODULES[name]).get_available_providers() else 0
    return 0


def precise(path: Path, name: str, precision: str) -> str:
    """The precision that is meant: `auto` is the fastest that the device has for the file, else float32."""
    if precision != "auto":
        return precision
    if name != "tensorflow" or path.suffix != ".keras" or not models.is_own(path):
        return "float32"
    if gpu_memory(name):
        return "float16"
    return "bfloat16" if machine.is_fast_in_bfloat16() else "float32"


def load(path: Path, name: str = "auto", *, precision: str = "float32", trust: bool = False) -> Runtime:
    """The network in a model file, ready to be called.

    Raises:
        ModelError: the backend is not installed, or cannot load the file.
    """
    name = choose(path, name)
    check(path, name, precision)
    if name == "tensorflow":
        return _tensorflow(path, precision, trust)
    return (_openvino if name == "openvino" else _onnx)(import_module(_MODULES[name]), path, trust)


def check(path: Path, name: str, precision: str = "float32") -> None:
    """Refuse a model file that is not there, and a backend that is not installed or does not have the precision.

    Raises:
        ModelError: it says what to do.
    """
    if not path.exists():
        raise ModelError(f"no model {os.fspath(path)!r}; give a file that is there, or a name that geosr models lists")
    if precision != "float32" and (name != "tensorflow" or path.suffix != ".keras"):
        raise ModelError(
            f"--precision {precision} needs a .keras file on tensorflow; leave it out, or quantize instead"
        )
    needed = [_MODULES[name]] if name in _MODULES else []
    needed += ["tf2onnx"] if name == "onnx" and path.suffix == ".keras" else []
    for module in needed:
        if not _is_there(module):
            raise ModelError(f"{module!r} is not installed: pip install 'geosr[{name}]'")


def scale_of(runtime: Runtime, bands: int, path: Path) -> int:
    """Return the enlargement of a network, measured on a block.

    Raises:
        ModelError: it does not take blocks of any size, or does not enlarge them evenly.
    """
    input_shape = (1, bands, _PROBED, 2 * _PROBED)
    try:
        output_shapes = [
            runtime(np.zeros((1, bands, rows, 2 * rows), np.float32)).shape for rows in (_PROBED, 3 * _PROBED)
        ]
    except ModelError as error:
        raise ModelError(f"{os.fspath(path)!r} does not take blocks of any size: {error}") from error
    scale = output_shapes[0][2] // _PROBED if len(output_shapes[0]) == 4 else 0
    if scale < 1 or any(
        shape != (1, bands, scale * rows, 2 * scale * rows)
        for shape, rows in zip(output_shapes, (_PROBED, 3 * _PROBED), strict=True)
    ):
        raise ModelError(
            f"{os.fspath(path)!r} gives {output_shapes[0]} for {input_shape}; it must enlarge by a whole factor"
        )
    return scale


def channels_first(model: Any) -> Any:
    """A Keras network that takes and gives (n, bands, rows, cols), as ONNX networks do."""
    keras = libraries.keras()
    taken = keras.Input((model.input_shape[-1], None, None), name="lr")
    output = model(keras.layers.Permute((2, 3, 1), name="channels_last")(taken))
    return keras.Model(taken, keras.layers.Permute((3, 1, 2), name="channels_first")(output), name=model.name)


def as_onnx(model: Any, path: Path) -> None:
    """Write a Keras network as an ONNX file that takes and gives (n, bands, rows, cols).

    Raises:
        ModelError: what is needed for it is not installed, or the network has an operation that ONNX lacks.
    """
    keras = libraries.keras()
    if keras.backend.backend() == "tensorflow" and not _is_there("tf2onnx"):
        raise ModelError("'tf2onnx' is not installed: pip install 'geosr[onnx]'")
    first = channels_first(model)
    spec = keras.InputSpec(shape=(None, *first.input_shape[1:]), dtype="float32", name="lr")
    with silent_stderr():
        first.export(os.fspath(path), format="onnx", verbose=False, input_signature=[spec])


def from_keras(openvino: Any, model: Any) -> Any:
    """A Keras network as OpenVINO's, that takes and gives (n, bands, rows, cols)."""
    first = channels_first(model)
    with silent_stderr():
        return openvino.convert_model(first)


def _tensorflow(path: Path, precision: str, trust: bool) -> Runtime:
    if path.is_dir():
        return _saved_model(path, trust)
    model = models.load(path, trust=trust)
    if precision != "float32":
        model = models.in_precision(model, f"mixed_{precision}")
    predict = model.predict_on_batch
    if libraries.keras().backend.backend() == "tensorflow":
        tensorflow = libraries.tensorflow()
        tensorflow.config.experimental.enable_tensor_float_32_execution(False)
        # Traced once, for blocks of any shape: else those of the first would be rounded in another way.
        signature = tensorflow.TensorSpec((None, *model.input_shape[1:]), tensorflow.float32)
        predict = tensorflow.function(partial(model, training=False), input_signature=[signature])

    def forward(blocks: Block) -> Block:
        with out_of_memory():
            output: Block = np.asarray(predict(blocks.transpose(0, 2, 3, 1)))
        return output.transpose(0, 3, 1, 2)

    return Runtime(forward, model.input_shape[-1], _at_once("tensorflow"))


def _saved_model(path: Path, trust: bool) -> Runtime:
    if not trust:
        raise ModelError(
            f"{os.fspath(path)!r} is a SavedModel, which can execute anything; if you trust who made it, say --trust"
        )
    tensorflow = libraries.tensorflow()
    try:
        loaded = tensorflow.saved_model.load(os.fspath(path))
        ((name, taken),) = loaded.signatures["serving_default"].structured_input_signature[1].items()
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(
            f"{os.fspath(path)!r} is no SavedModel with one input and a signature 'serving_default'"
        ) from error

    def forward(blocks: Block) -> Block:
        with out_of_memory():
            inputs = {name: tensorflow.constant(blocks.transpose(0, 2, 3, 1))}
            (output,) = loaded.signatures["serving_default"](**inputs).values()
        result: Block = np.asarray(output).transpose(0, 3, 1, 2)
        return result

    return Runtime(forward, taken.shape[-1], _at_once("tensorflow"))


def _openvino(openvino: Any, path: Path, trust: bool) -> Runtime:
    core = openvino.Core()
    # On processors with bfloat16 it would be taken without being asked for.
    config = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"} | _threads("INFERENCE_NUM_THREADS")
    try:
        if path.suffix == ".keras":
            network = from_keras(openvino, models.load(path, trust=trust))
        else:
            network = core.read_model(path)
        compiled = core.compile_model(network, "CPU", config)
        channels = network.inputs[0].partial_shape[1]
    except RuntimeError as error:
        raise ModelError(f"OpenVINO cannot load {os.fspath(path)!r}: {' '.join(str(error).split())[:200]}") from error

    def forward(blocks: Block) -> Block:
        with out_of_memory():
            result: Block = compiled(blocks)[0]
        return result

    return Runtime(forward, channels.get_length() if channels.is_static else None)


def _onnx(onnxruntime: Any, path: Path, trust: bool) -> Runtime:
    session_options = onnxruntime.SessionOptions()
    session_options.log_severity_level = 3
    session_options.intra_op_num_threads = next(iter(_threads("n").values()), 0)
    with tempfile.TemporaryDirectory() as folder:
        file = path
        if path.suffix == ".keras":
            file = Path(folder) / "network.onnx"
            as_onnx(models.load(path, trust=trust), file)
        try:
            session = onnxruntime.InferenceSession(os.fspath(file), session_options, providers=_providers(onnxruntime))
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"ONNX Runtime cannot load {os.fspath(path)!r}: {reason}") from error
    taken = session.get_inputs()[0]

    def forward(blocks: Block) -> Block:
        with out_of_memory():
            result: Block = session.run(None, {taken.name: blocks})[0]
        return result

    channels = taken.shape[1] if len(taken.shape) == 4 else None
    return Runtime(forward, channels if isinstance(channels, int) else None, _at_once("onnx"))


@contextmanager
def out_of_memory() -> Iterator[None]:
    """Turns what the backends raise for want of memory into OutOfMemory."""
    try:
        yield
    except Exception as error:
        known = isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"
        if known or "allocate memory" in str(error).lower():
            raise OutOfMemory from error
        raise


def _providers(onnxruntime: Any) -> list[Any]:
    """Those that compute in float32: a GPU would take 19 bits for it."""
    providers = [("CUDAExecutionProvider", {"use_tf32": "0"}), ("CPUExecutionProvider", {})]
    return [provider for provider in providers if provider[0] in onnxruntime.get_available_providers()]


def _threads(name: str) -> dict[str, int]:
    """The number of threads that a process may use, where that is said, as in workers of a cluster."""
    number = os.environ.get("OMP_NUM_THREADS", "")
    return {name: int(number)} if number.isdecimal() and int(number) else {}


def _at_once(name: str) -> int:
    return _AT_ONCE if gpu_memory(name) else 1


def _is_there(name: str) -> bool:
    return find_spec(_MODULES.get(name, name)) is not None
