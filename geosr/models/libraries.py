"""TensorFlow, Keras and OpenVINO, loaded on first use, without messages on stderr and without telemetry."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from threading import Lock
from typing import Any

from geosr.errors import ModelError
from geosr.quiet import silent_stderr

_loading = Lock()


def tensorflow() -> Any:
    """Return the tensorflow module."""
    return _load("tensorflow")


def keras() -> Any:
    """Return the keras module, loaded with the backend that KERAS_BACKEND names."""
    return _load("keras")


def openvino() -> Any:
    """Return the openvino module, whose import would otherwise send telemetry and create a folder in the home."""
    with _loading:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        return import_module("openvino")


def _load(name: str) -> Any:
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # A module that another thread is loading is in sys.modules before it is complete.
    with _loading:
        try:
            if name in sys.modules or level != "3":
                return import_module(name)
            with silent_stderr():
                return import_module(name)
        except ModuleNotFoundError as error:
            raise ModelError(f"{name} needs {error.name!r}, which is not installed; is KERAS_BACKEND set?") from error
        except ValueError as error:
            raise ModelError(f"KERAS_BACKEND must be tensorflow, jax or torch: {error}") from error
