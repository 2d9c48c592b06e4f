"""Optimizers that Keras does not have, on any backend.

Importing this module loads Keras.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from geosr.errors import OptionError
from geosr.models import OPTIMIZERS, registered


def build(name: str, rate: Any, *, decay: float, clip: float, average: float) -> keras.optimizers.Optimizer:
    """Return the optimizer `muon` or `adamw`, with a learning rate or its schedule.

    Raises:
        OptionError: there is no such optimizer.
    """
    if name not in OPTIMIZERS:
        raise OptionError(f"there is no optimizer {name!r}; choose {' or '.join(OPTIMIZERS)}")
    return registered(OPTIMIZERS[name])(
        rate, weight_decay=decay, clipnorm=clip or None, use_ema=average > 0, ema_momentum=average
    )


@keras.saving.register_keras_serializable("geosr")
class Muon(keras.optimizers.AdamW):
    """Orthogonal steps for the kernels of all layers but the first and the last; AdamW for everything else.

    A kernel (..., in, out) is a matrix whose columns are filters; the momentum of its gradients is replaced by nearly
    the closest orthogonal matrix. A step is as long as Adam's would be, so that rate and decay mean the same. Source:
    K. Jordan et al., Muon, 2024; J. Liu et al., Muon is Scalable for LLM Training, 2025 (the length of a step).
    """

    MOMENTUM = 0.95
    LENGTH = 0.2
    """Root mean square of a step at a rate of 1, as Adam's is measured to be."""

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        ends = {variable.path.split("/")[0] for variable in (variables[0], variables[-1])}
        self._momentum = {
            self._get_variable_index(variable): self.add_variable_from_reference(variable, name="gathered")
            for variable in variables
            if len(variable.shape) > 1 and variable.path.split("/")[0] not in ends
        }

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        momentum = self._momentum.get(self._get_variable_index(variable))
        if momentum is None:
            super().update_step(gradient, variable, learning_rate)
            return
        gradient = ops.cast(gradient, variable.dtype)
        self.assign(momentum, momentum * self.MOMENTUM + gradient)
        ahead = gradient + momentum * self.MOMENTUM
        rows, cols = math.prod(variable.shape[:-1]), variable.shape[-1]
        step = orthogonal(ops.reshape(ahead, (rows, cols))) * (self.LENGTH * max(rows, cols) ** 0.5)
        rate = ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, ops.reshape(rate * step, variable.shape))


def orthogonal(matrix: Any, steps: int = 5) -> Any:
    """Return the matrix (rows, cols) with the same singular vectors and singular values near 1, from 0.7 to 1.2.

    Newton and Schulz's iteration with K. Jordan's coefficients, which raise small values fastest.
    """
    rows, cols = matrix.shape
    x = ops.transpose(matrix) if rows > cols else matrix
    x = x / (ops.norm(x) + 1e-7)
    for _ in range(steps):
        square = ops.matmul(x, ops.transpose(x))
        x = 3.4445 * x + ops.matmul(-4.7750 * square + 2.0315 * ops.matmul(square, square), x)
    return ops.transpose(x) if rows > cols else x
