"""How far a network sees, measured: of a network whose layers cannot be read, as in an ONNX file."""

from __future__ import annotations

import numpy as np

from geosr.errors import ModelError
from geosr.grid import Block
from geosr.models.runtimes import Runtime

FARTHEST = 128
"""Pixels on each side that are looked at; a network that sees farther has no halo that is worth computing."""
PROBES = 3


def measured(network: Runtime, bands: int, scale: int) -> int | None:
    """Input pixels on each side that a result depends on; None if that is more than FARTHEST, or has no bound.

    Two blocks of noise that differ on one side of a line give results that differ as far beyond it as the network
    sees. Networks whose result depends on where a pixel lies in the block, as those with windows of attention or with
    strides, have no such radius either: theirs are not those of a shifted block.
    """
    try:
        return _radius(network, bands, scale)
    except ModelError:  # not of a size like ours, as networks with strides are
        return None


def _radius(network: Runtime, bands: int, scale: int) -> int | None:
    random = np.random.default_rng(0)
    radius = 0
    for probe in range(PROBES):
        for turns in range(4):
            reached = _beyond(network, bands, scale, random, turns, cut=FARTHEST + probe)
            if reached is None:
                return None
            radius = max(radius, reached)
    return radius if _is_alike_when_shifted(network, bands, scale, random, radius) else None


def _beyond(
    network: Runtime, bands: int, scale: int, random: np.random.Generator, turns: int, *, cut: int
) -> int | None:
    """Columns beyond the cut that change with what is before it, in blocks turned so many times by 90 degrees."""
    one = random.random((1, bands, 32, cut + FARTHEST + 32), np.float32)
    other = one.copy()
    other[..., :cut] = random.random(other[..., :cut].shape, np.float32)
    results = [_turned(network(_turned(block, turns)), -turns) for block in (one, other)]
    changed = np.flatnonzero((results[0] != results[1]).any(axis=(0, 1, 2))[cut * scale :])
    reached = -(-(int(changed.max(initial=-1)) + 1) // scale)
    return reached if reached <= FARTHEST else None


def _is_alike_when_shifted(network: Runtime, bands: int, scale: int, random: np.random.Generator, radius: int) -> bool:
    block = random.random((1, bands, 2 * radius + 40, 2 * radius + 40), np.float32)
    one, other = network(block[..., :-1, :-1]), network(block[..., 1:, 1:])
    inner = slice((radius + 1) * scale, -(radius + 1) * scale)
    shifted = slice(radius * scale, -(radius + 2) * scale)
    return bool(np.allclose(one[..., inner, inner], other[..., shifted, shifted], rtol=0, atol=1e-4 * np.ptp(one)))


def _turned(block: Block, turns: int) -> Block:
    return np.ascontiguousarray(np.rot90(block, turns, axes=(2, 3)))
