"""Batches of crops drawn from a training set. Knows arrays alone, for any Keras backend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, astuple, dataclass
from functools import lru_cache
from itertools import count

import numpy as np
from numpy.typing import NDArray

from geosr import engine
from geosr.dataset.formats import Samples
from geosr.dataset.records import Sample
from geosr.engine import Pool
from geosr.training.options import Options
from geosr.training.simulation import MARGIN, Simulation, draw_sensor, simulate

Images = NDArray[np.float32]
"""(n, rows, cols, bands), 0..1."""


@dataclass(frozen=True, slots=True)
class Batches:
    """An endless sequence of batches (input, truth), each of which depends on the seed and its number alone.

    Every pass over the examples has an order of its own. Iteration begins with the batch numbered `first`.
    """

    examples: Samples
    _: KW_ONLY
    batch: int
    crop: int
    bands: int
    seed: int
    first: int = 0
    pool: Pool | None = None

    def __iter__(self) -> Iterator[tuple[Images, Images]]:
        return (pair for _, pair in engine.run(self.draw, count(self.first), self.pool))

    def draw(self, number: int) -> tuple[Images, Images]:
        """Return the batch with a number."""
        pairs = [self._pair(number * self.batch + k) for k in range(self.batch)]
        low, high = zip(*pairs, strict=True)
        return np.stack(low), np.stack(high)

    def _pair(self, number: int) -> tuple[Images, Images]:
        turn, position = divmod(number, len(self.examples))
        sample = self.examples.sample(int(_order(self.seed, turn, len(self.examples))[position]))
        return augment(sample, self.crop, self.bands, np.random.default_rng((self.seed, number)))


@lru_cache(maxsize=4)
def _order(seed: int, turn: int, length: int) -> NDArray[np.int64]:
    """Return the order of the examples in a pass."""
    return np.random.default_rng((seed, 0, turn)).permutation(length)


def augment(sample: Sample, crop: int, bands: int, rng: np.random.Generator) -> tuple[Images, Images]:
    """Return a random crop of the sample, flipped and rotated at random: (rows, cols, bands) of input and truth, 0..1.

    A network of one band gets a band drawn at random.
    """
    k = sample.scale
    row, col = (int(rng.integers(side - crop + 1)) for side in sample.down.shape[1:])
    positions = [int(rng.integers(sample.gt.shape[0]))] if bands == 1 else list(range(bands))
    values = sample.range.bands(positions)
    low = values.normalise(sample.down[positions, row : row + crop, col : col + crop])
    high = values.normalise(sample.gt[positions, row * k : (row + crop) * k, col * k : (col + crop) * k])
    return turned(low, high, rng)


def turned(low: Images, high: Images, rng: np.random.Generator) -> tuple[Images, Images]:
    """Return both (bands, rows, cols) flipped and rotated in the same way, at random, as (rows, cols, bands)."""
    turns, mirror = int(rng.integers(4)), bool(rng.integers(2))

    def rotate(block: Images) -> Images:
        block = np.rot90(block, turns, (1, 2))
        return np.ascontiguousarray((block[:, :, ::-1] if mirror else block).transpose(1, 2, 0))

    return rotate(low), rotate(high)


@dataclass(frozen=True, slots=True)
class SimulatedBatches:
    """Like Batches, of inputs [images, sensors (n, 3)] that are simulated of the truth: each batch by one sensor."""

    examples: Samples
    options: Options
    _: KW_ONLY
    first: int = 0
    pool: Pool | None = None

    def __iter__(self) -> Iterator[tuple[list[Images], Images]]:
        return (pair for _, pair in engine.run(self.draw, count(self.first), self.pool))

    def draw(self, number: int) -> tuple[list[Images], Images]:
        """Return the batch with a number."""
        options = self.options
        rng = np.random.default_rng((options.seed, number))
        sensor = draw_sensor(rng, options)
        pairs = [self._pair(number * options.batch + k, sensor, rng) for k in range(options.batch)]
        low, high = zip(*pairs, strict=True)
        told = np.tile(np.array(astuple(sensor.setting), np.float32), (options.batch, 1))
        return [np.stack(low), told], np.stack(high)

    def _pair(self, number: int, sensor: Simulation, rng: np.random.Generator) -> tuple[Images, Images]:
        turn, position = divmod(number, len(self.examples))
        sample = self.examples.sample(int(_order(self.options.seed, turn, len(self.examples))[position]))
        side = (self.options.crop + 2 * MARGIN) * sensor.scale
        truth = sample.range.normalise(sample.gt)
        beyond = [(0, 0), *((0, max(0, side - length)) for length in truth.shape[1:])]
        truth = np.pad(truth, beyond, mode="symmetric")
        row, col = (int(rng.integers(length - side + 1)) for length in truth.shape[1:])
        low, high = simulate(truth[:, row : row + side, col : col + side], sensor, self.options, rng)
        return turned(low, high, rng)


def whole_tiles(examples: Samples, *, bands: int, most: int) -> tuple[Images, Images]:
    """Return inputs and truths of at most `most` whole tiles, spread over the examples.

    A network of one band gets one band of each tile: the first of the first tile, the second of the next, and so on.
    """
    pairs = []
    for number, index in enumerate(range(0, len(examples), -(-len(examples) // most))):
        sample = examples.sample(index)
        positions = [number % sample.gt.shape[0]] if bands == 1 else list(range(bands))
        values = sample.range.bands(positions)
        pairs.append([values.normalise(block[positions]).transpose(1, 2, 0) for block in (sample.down, sample.gt)])
    low, high = zip(*pairs, strict=True)
    return np.stack(low), np.stack(high)
