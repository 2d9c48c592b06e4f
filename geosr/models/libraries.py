"""TensorFlow and Keras, loaded on first use and without their chatter on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from threading import Lock
from typing import Any

from geosr.errors import ModelError

_loading, _stderr = Lock(), Lock()


def tensorflow() -> Any:
    """The tensorflow module."""
    return _load("tensorflow")


def keras() -> Any:
    """The keras module, and the backend that KERAS_BACKEND names."""
    return _load("keras")


def _load(name: str) -> Any:
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # A module that another thread is loading is in sys.modules before it is whole.
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


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Nothing reaches stderr, not even from libraries in C that write to the descriptor, as TensorFlow's do."""
    with _stderr:
        yield from _without_stderr()


def _without_stderr() -> Iterator[None]:
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
