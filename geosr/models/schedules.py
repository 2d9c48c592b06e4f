"""Learning rates over a training: a warm-up, then a shape, which is a function of the share of steps behind.

Importing this module loads Keras.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from geosr.models import SCHEDULES, registered


def cosine(progress: Any) -> Any:
    return 0.5 * (1 + ops.cos(math.pi * progress))


def step(progress: Any) -> Any:
    """Halve the rate after 50, 75, 90 and 95 % of the steps."""
    return 0.5 ** sum(ops.cast(progress >= at, "float32") for at in (0.5, 0.75, 0.9, 0.95))


def constant(progress: Any) -> Any:
    return ops.ones_like(progress)


@keras.saving.register_keras_serializable("geosr")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A rise from 0 to `rate` over `warmup` steps, then the shape to the last of `steps`."""

    def __init__(self, shape: str, rate: float, steps: int, warmup: int) -> None:
        self.shape, self.rate, self.steps, self.warmup = shape, rate, steps, warmup

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        progress = ops.clip((step - self.warmup) / max(1, self.steps - self.warmup), 0.0, 1.0)
        warmth = ops.minimum(step / max(1, self.warmup), 1.0)
        return self.rate * warmth * registered(SCHEDULES[self.shape])(progress)

    def get_config(self) -> dict[str, Any]:
        return {"shape": self.shape, "rate": self.rate, "steps": self.steps, "warmup": self.warmup}
