"""The runtimes of networks: TensorFlow, OpenVINO or ONNX Runtime. Each is loaded on first use."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from geosr import machine, models
from geosr.errors import ModelError
from geosr.grid import Block
from geosr.models import conditioning, inference, libraries, onnx_files

FILES = {
    ".keras": ("openvino", "onnx", "tensorflow"),
    ".onnx": ("openvino", "onnx"),
    ".xml": ("openvino",),
    "": ("tensorflow",),
}
"""The backends for each kind of model file, by its ending, the preferred one first; a SavedModel is a folder."""

CODE = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".hdf5", ".pb", ".npy", ".joblib"}
"""Kinds of files that can hold code or weights without their network."""

_MODULES = {"openvino": "openvino", "onnx": "onnxruntime"}
_SENSOR = "sensor"
"""The name of the second input of networks that are told about the sensor."""
_AT_ONCE = 2**21
"""Pixels of small blocks that keep a GPU busy."""
_PROBED = 8
"""Rows and columns of the block that shows how a network enlarges."""


@dataclass(frozen=True)
class Runtime:
    """A network that can be called with blocks (n, bands, rows, cols) of float32."""

    forward: Callable[[Block], Block]
    bands: int | None
    """Bands of its input; None: any."""
    at_once: int = 1
    """Pixels of as many blocks as are computed at a time, or of one; on a processor that one is fastest."""

    def __call__(self, blocks: Block) -> Block:
        """Return the enlarged blocks, computing as many at a time as there is memory for.

        Raises:
            ModelError: there is no memory for even one block, or the network cannot take them.
        """
        size = " x ".join(map(str, blocks.shape[1:]))
        first, step, results = 0, max(1, min(len(blocks), self.at_once // prod(blocks.shape[2:]))), list[Block]()
        while first < len(blocks):
            try:
                results.append(self.forward(np.ascontiguousarray(blocks[first : first + step], np.float32)))
                first += step
            except Exception as error:
                if not _is_out_of_memory(error):
                    reason = " ".join(str(error).split())[:160]
                    message = f"the network cannot take a block of {size} (bands, rows, cols): {reason}"
                    raise ModelError(message) from error
                if step == 1:
                    message = f"there is not enough memory for the network with a block of {size}"
                    raise ModelError(f"{message}; give a smaller --tile") from error
                step //= 2
        return np.concatenate(results)


def channels_last(predict: Callable[[Block], Any]) -> Callable[[Block], Block]:
    """Return the function of blocks (n, bands, rows, cols) that `predict` is of (n, rows, cols, bands)."""

    def forward(blocks: Block) -> Block:
        output: Block = np.asarray(predict(blocks.transpose(0, 2, 3, 1)))
        return output.transpose(0, 3, 1, 2)

    return forward


def choose(path: Path, backend: str = "auto", precision: str = "float32") -> str:
    """Return the backend that computes a model file; auto is the first that is installed and has the precision.

    ONNX Runtime comes first where it finds a GPU. TensorFlow is chosen only for 16 bits, which the others lack.

    Raises:
        ModelError: `backend` does not read such files, or no backend does.
    """
    kind = "" if path.is_dir() else path.suffix.lower()
    if kind in CODE:
        raise ModelError(
            f"{os.fspath(path)!r} may hold code, which is never executed, or weights alone; export the network to ONNX"
        )
    if kind not in FILES or (not kind and not path.is_dir()):
        raise ModelError(f"no model {os.fspath(path)!r}; give a .keras, .onnx or .xml file, or a name of geosr models")
    if backend == "auto":
        if kind == ".keras" and precision in ("bfloat16", "float16"):
            return "tensorflow"
        installed = [name for name in FILES[kind] if _is_installed(name)] or FILES[kind]
        return next((name for name in installed if name == "onnx" and gpu_memory(name)), installed[0])
    if backend not in FILES[kind]:
        raise ModelError(f"{os.fspath(path)!r} runs on {' or '.join(FILES[kind])}, not on {backend}")
    return backend


def gpu_memory(backend: str) -> int:
    """Return the bytes of the GPU that a backend computes on; 0 for the processor. Without a GPU nothing is loaded."""
    memory = machine.gpu_memory()
    if memory and backend == "tensorflow" and libraries.keras().backend.backend() == backend:
        return memory if libraries.tensorflow().config.list_physical_devices("GPU") else 0
    if memory and backend == "onnx" and _is_installed(backend):
        return memory if "CUDAExecutionProvider" in import_module(_MODULES[backend]).get_available_providers() else 0
    return 0


def precise(path: Path, backend: str, precision: str) -> str:
    """Return the precision to compute in: for `auto` the fastest that the device has for the file, or float32."""
    if precision != "auto":
        return precision
    if backend != "tensorflow" or path.suffix != ".keras" or not models.is_own(path):
        return "float32"
    if gpu_memory(backend):
        return "float16"
    return "bfloat16" if machine.is_fast_in_bfloat16() else "float32"


def load(
    path: Path,
    backend: str = "auto",
    *,
    precision: str = "float32",
    trust: bool = False,
    sensor: Sequence[float] | None = None,
) -> Runtime:
    """Return the network in a model file, ready to be called.

    `sensor` are the numbers that a network conditioned on one is told; by default those of conditioning.REFERENCE.

    Raises:
        ModelError: the backend is not installed, or cannot load the file.
    """
    backend = choose(path, backend, precision)
    check(path, backend, precision)
    if backend == "tensorflow":
        return _tensorflow(path, precision, trust, sensor)
    network = inference.content_of(path, trust=trust) if path.suffix == ".keras" else path
    if path.suffix.lower() == ".onnx":
        onnx_files.check(path)
    return of_onnx(network, backend, name=os.fspath(path), sensor=sensor)


def of_onnx(
    network: bytes | Path, backend: str, *, name: str = "network", sensor: Sequence[float] | None = None
) -> Runtime:
    """Return the runtime of a network in ONNX or in a file of OpenVINO, on OpenVINO or ONNX Runtime.

    Raises:
        ModelError: the backend cannot load the network, which the message calls `name`.
    """
    return (_openvino if backend == "openvino" else _onnx)(network, name, sensor)


def check(path: Path, backend: str, precision: str = "float32") -> None:
    """Refuse a missing model file, and a backend that is not installed or lacks the precision.

    Raises:
        ModelError: the message says what to do.
    """
    if not path.exists():
        raise ModelError(f"no model {os.fspath(path)!r}; give a file that is there, or a name that geosr models lists")
    if precision != "float32" and (backend != "tensorflow" or path.suffix != ".keras"):
        raise ModelError(
            f"--precision {precision} needs a .keras file on tensorflow; leave it out, or quantize instead"
        )
    if backend in _MODULES and not _is_installed(backend):
        raise ModelError(f"{_MODULES[backend]!r} is not installed: pip install {_MODULES[backend]}")


def scale_of(runtime: Runtime, bands: int, path: Path) -> int:
    """Return the enlargement of a network, measured on a block.

    Raises:
        ModelError: it does not take blocks of any size, or does not enlarge them evenly.
    """
    inputs = [(1, bands, rows, 2 * rows) for rows in (_PROBED, 3 * _PROBED)]
    try:
        outputs = [runtime(np.zeros(shape, np.float32)).shape for shape in inputs]
    except ModelError as error:
        raise ModelError(f"{os.fspath(path)!r} does not take blocks of any size: {error}") from error
    scale = outputs[0][2] // _PROBED if len(outputs[0]) == 4 else 0
    if scale < 1 or outputs != [(1, bands, scale * rows, scale * cols) for _, _, rows, cols in inputs]:
        raise ModelError(f"{os.fspath(path)!r} gives {outputs[0]} for {inputs[0]}; it must enlarge by a whole factor")
    return scale


def difference(first: Runtime, other: Runtime, bands: int) -> float:
    """Return the largest difference of two networks on noise of two sizes; over their results, if these exceed 1."""
    random = np.random.default_rng(0)
    largest = 0.0
    for size in ((64, 48), (37, 80)):
        block = random.random((1, bands, *size), np.float32)
        one, two = first(block), other(block)
        largest = max(largest, float(np.abs(one - two).max() / max(1, np.abs(one).max())))
    return largest


def _tensorflow(path: Path, precision: str, trust: bool, sensor: Sequence[float] | None) -> Runtime:
    if path.is_dir():
        return _saved_model(path, trust)
    model = models.load(path, trust=trust)
    return of_keras(models.in_precision(model, f"mixed_{precision}") if precision != "float32" else model, sensor)


def of_keras(model: Any, sensor: Sequence[float] | None = None) -> Runtime:
    """Return the runtime of a Keras network in memory, on Keras' backend."""
    image, *others = model.inputs
    rows = [libraries.keras().ops.convert_to_tensor(_row(sensor))] if others else []

    def with_sensor(images: Any) -> Any:
        return [images, *rows] if rows else images

    def predict(images: Block) -> Any:
        return model.predict_on_batch(with_sensor(images))

    if libraries.keras().backend.backend() == "tensorflow":
        tensorflow = libraries.tensorflow()
        tensorflow.config.experimental.enable_tensor_float_32_execution(False)
        # Traced once, for blocks of any shape: else those of the first would be rounded in another way.
        predict = tensorflow.function(
            lambda images: model(with_sensor(images), training=False),
            input_signature=[tensorflow.TensorSpec((None, *image.shape[1:]), tensorflow.float32)],
        )

    return Runtime(channels_last(predict), image.shape[-1], _at_once("tensorflow"))


def _saved_model(path: Path, trust: bool) -> Runtime:
    if not trust:
        raise ModelError(
            f"{os.fspath(path)!r} is a SavedModel, which can execute anything; if you trust who made it, say --trust"
        )
    tensorflow = libraries.tensorflow()
    try:
        network = tensorflow.saved_model.load(os.fspath(path))
        ((name, image),) = network.signatures["serving_default"].structured_input_signature[1].items()
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(
            f"{os.fspath(path)!r} is no SavedModel with one input and a signature 'serving_default'"
        ) from error

    def predict(images: Block) -> Any:
        (output,) = network.signatures["serving_default"](**{name: tensorflow.constant(images)}).values()
        return output

    return Runtime(channels_last(predict), image.shape[-1], _at_once("tensorflow"))


def _openvino(network: bytes | Path, name: str, sensor: Sequence[float] | None) -> Runtime:
    openvino = libraries.openvino()
    core = openvino.Core()
    # On processors with bfloat16 it would be taken without being asked for.
    config = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"} | _threads("INFERENCE_NUM_THREADS")
    try:
        model = core.read_model(network)
        for parameter in model.get_parameters():
            # As a constant the sensor is folded into the weights when the network is compiled.
            if parameter.friendly_name == _SENSOR:
                parameter.output(0).replace(openvino.opset13.constant(_row(sensor)).output(0))
                model.remove_parameter(parameter)
        compiled = core.compile_model(model, "CPU", config)
        channels = model.inputs[0].partial_shape[1]
    except Exception as error:
        raise ModelError(f"OpenVINO cannot load {name!r}: {' '.join(str(error).split())[:200]}") from error

    return Runtime(lambda blocks: compiled(blocks)[0], channels.get_length() if channels.is_static else None)


def _onnx(network: bytes | Path, name: str, sensor: Sequence[float] | None) -> Runtime:
    onnxruntime = import_module(_MODULES["onnx"])
    session_options = onnxruntime.SessionOptions()
    session_options.log_severity_level = 4
    session_options.intra_op_num_threads = next(iter(_threads("n").values()), 0)
    try:
        providers = _providers(onnxruntime)
        # A second try on the same processor only prints what the exception says.
        again = int(len(providers) > 1)
        session = onnxruntime.InferenceSession(network, session_options, providers=providers, enable_fallback=again)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"ONNX Runtime cannot load {name!r}: {reason}") from error
    image, *others = session.get_inputs()
    more = {_SENSOR: _row(sensor)} if _SENSOR in [other.name for other in others] else {}
    channels = image.shape[1] if len(image.shape) == 4 else None
    bands = channels if isinstance(channels, int) else None
    return Runtime(lambda blocks: session.run(None, {image.name: blocks, **more})[0], bands, _at_once("onnx"))


def _row(sensor: Sequence[float] | None) -> Block:
    return np.array([sensor or conditioning.REFERENCE], np.float32)


def _is_out_of_memory(error: Exception) -> bool:
    """Return True for the errors by which the backends refuse a computation that needs more memory than there is."""
    typical = isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"
    return typical or "allocate memory" in str(error).lower()


def _providers(onnxruntime: Any) -> list[Any]:
    """Return the providers, set to compute in float32 on a GPU, which would take 19 bits for it."""
    providers = [("CUDAExecutionProvider", {"use_tf32": "0"}), ("CPUExecutionProvider", {})]
    return [provider for provider in providers if provider[0] in onnxruntime.get_available_providers()]


def _threads(name: str) -> dict[str, int]:
    """Return the number of threads a process may use, where OMP_NUM_THREADS limits it, as in workers of a cluster."""
    number = os.environ.get("OMP_NUM_THREADS", "")
    return {name: int(number)} if number.isdecimal() and int(number) else {}


def _at_once(backend: str) -> int:
    return _AT_ONCE if gpu_memory(backend) else 1


def _is_installed(name: str) -> bool:
    return find_spec(_MODULES.get(name, name)) is not None
