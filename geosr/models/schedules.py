"""Learning rates over a training: a warm-up, then a shape, a function of the share of the steps that is done.

Importing this module loads Keras.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from geosr.models import SCHEDULES, registered


def cosine(done: Any) -> Any:
    return 0.5 * (1 + ops.cos(math.pi * done))


def step(done: Any) -> Any:
    """Halve the rate after 50, 75, 90 and 95 % of the steps."""
    return 0.5 ** sum(ops.cast(done >= at, "float32") for at in (0.5, 0.75, 0.9, 0.95))


def constant(done: Any) -> Any:
    return ops.ones_like(done)


@keras.saving.register_keras_serializable("geosr")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """`rate` after `warmup` steps in which it rises from 0; then it follows its shape to the last of `steps`."""

    def __init__(self, shape: str, rate: float, steps: int, warmup: int) -> None:
        self.shape, self.rate, self.steps, self.warmup = shape, rate, steps, warmup

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        done = ops.clip((step - self.warmup) / max(1, self.steps - self.warmup), 0.0, 1.0)
        rising = ops.minimum(step / max(1, self.warmup), 1.0)
        return self.rate * rising * registered(SCHEDULES[self.shape])(done)

    def get_config(self) -> dict[str, Any]:
        return {"shape": self.shape, "rate": self.rate, "steps": self.steps, "warmup": self.warmup}
