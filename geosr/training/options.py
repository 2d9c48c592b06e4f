"""The options of a training, declared once for the library and the command line. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from geosr.choices import check_options, option
from geosr.errors import OptionError
from geosr.models import DEFAULT, LOSSES, OPTIMIZERS, SCHEDULES

PRECISIONS = ("float32", "mixed_bfloat16")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a training, written beside the network so that the run can be repeated.

    Raises:
        OptionError: a value is not allowed.
    """

    scale: int = option(2, "Scale of the set and the network.", least=1)
    model: str = option(DEFAULT, "Architecture.")
    bands: int = option(1, "Bands that the network takes; 1 makes one for any raster.", least=1)
    epochs: int = option(
        50,
        "Passes over the training tiles; the learning rate falls to 0 over all of them, so choose before you begin.",
        least=1,
    )
    batch: int = option(16, "Samples in a step.", least=1)
    crop: int = option(48, "Rows and columns of the network's input, cut at random from a tile.", least=8)
    optimizer: str = option(
        "muon", "muon learns more in a step, most of all from random weights.", choices=tuple(OPTIMIZERS)
    )
    rate: float = option(1e-3, "Highest learning rate, after the warm-up.", above=0)
    schedule: str = option(
        "cosine",
        "How the learning rate falls; step halves it after 50, 75, 90 and 95 % of the steps.",
        choices=tuple(SCHEDULES),
    )
    warmup: float = option(0.02, "Share of the steps in which the learning rate rises from 0.", least=0, most=1)
    loss: str = option("l1", f"Loss: {', '.join(LOSSES)}, or a sum of them, as l1+0.1*ssim.")
    clip: float = option(1.0, "Largest norm of a weight's gradient; 0: any.", least=0)
    decay: float = option(
        0.0, "Weight decay: the share of a weight, times the rate, that each step takes away.", least=0
    )
    average: float = option(
        0.99, "Decay of the weight average that is saved; 0 saves the last weights.", least=0, most=1
    )
    precision: str = option(
        "float32",
        "Precision of the training; mixed_bfloat16 is 2 to 3 times faster on GPUs and on processors with AMX. The "
        "result is float32.",
        choices=PRECISIONS,
    )
    mtf: tuple[float, float] = option(
        (0.09, 0.6), "Least and largest modulation transfer at the Nyquist frequency that a network for sensors learns."
    )
    noise: tuple[float, float] = option(
        (0.0006, 0.03),
        "Least and largest noise that it learns, in parts of the range; a fifth of the batches has none.",
    )
    jpeg: tuple[int, int] = option((70, 98), "Least and largest quality of JPEG among its inputs.")
    bits: tuple[int, ...] = option((8, 10, 12), "Bits that its inputs are quantised to.")
    fine_tune: str | None = option(
        None, "Begin with the weights of a shipped model, or a .keras file, of any scale, where they fit."
    )
    parallel: bool = option(False, "Share each batch among all devices (KERAS_BACKEND=jax).")
    seed: int = option(0, "Random seed.", least=0, most=2**32 - 1)

    def __post_init__(self) -> None:
        check_options(self)
        for name, least, most in (("mtf", 0.05, 0.65), ("noise", 1e-6, 0.2), ("jpeg", 1, 100)):
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise OptionError(
                    f"{name} must be two numbers from {least:g} to {most:g} that rise, got {low:g},{high:g}"
                )
        if not self.bits or not all(1 <= bits <= 16 for bits in self.bits):
            raise OptionError(f"bits must be from 1 to 16, got {self.bits}")
        if self.average == 1:
            raise OptionError("average must be below 1: an average that never changes would save the first weights")
