import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geosr.burst import sharpening, stacking
from geosr.burst.exif import Metadata
from geosr.burst.homography import enlarging
from geosr.burst.reducers import REDUCERS
from geosr.burst.stacking import Layer, Stack
from geosr.errors import OptionError
from geosr.grid import Grid, Tile
from geosr.rasters.profile import Profile
from geosr.rasters.source import ArraySource
from tests.photographs import frames, moves

SMALL = 90, 70


def job(images, matrices, *, size=32, scale=2, sharpen=1.0, methods=("mean", "robust"), ends=None):
    """The stack of these frames on the canvas of the first."""
    place = np.linalg.inv(enlarging(scale))
    sources = [ArraySource(np.ascontiguousarray(np.moveaxis(image, -1, 0))) for image in images]
    ends = ends or [(-np.inf, np.inf)] * len(images)
    layers = [Layer(s, m @ place, 1.0, 0.0, *e) for s, m, e in zip(sources, matrices, ends, strict=True)]
    height, width, count = images[0].shape
    profile = Profile(width * scale, height * scale, count, str(images[0].dtype))
    return Stack(
        layers=tuple(layers),
        metadata=Metadata(),
        grid=Grid(profile.width, profile.height, size, stacking.halo_of(scale, sharpen)),
        profile=profile,
        methods=methods,
        extras=(),
        scale=scale,
        sharpen=sharpen,
        factor=1.0,
        step=4,
    )


def made(work, method):
    """The whole image, put together from its tiles, before rounding."""
    whole = np.zeros((work.profile.count, work.profile.height, work.profile.width), np.float32)
    for tile in work.grid:
        values, covered, used = stacking.stacked(tile, work)
        sigma = sharpening.SIGMA * work.scale
        plane = sharpening.sharpened(REDUCERS[method](values, used), covered.any(axis=0), work.sharpen, sigma)
        rows, cols = tile.core.slices(within=work.profile.window)
        whole[:, rows, cols] = tile.trim(plane)
    return whole


@pytest.mark.parametrize("method", REDUCERS)
@pytest.mark.parametrize("size", [17, 48])
def test_tiled_equals_whole(method, size):
    matrices = moves(4, seed=2, size=SMALL)
    images = frames(matrices, size=SMALL)
    tiled = made(job(images, matrices, size=size), method)
    np.testing.assert_allclose(tiled, made(job(images, matrices, size=400), method), atol=0.05)


def test_one_frame_at_scale_one_is_itself():
    [image] = frames([np.eye(3)], size=SMALL)
    work = job([image], [np.eye(3)], scale=1, sharpen=0.0)
    np.testing.assert_allclose(made(work, "mean"), np.moveaxis(image, -1, 0), atol=1e-3)


def test_noise_falls_with_the_square_root_of_the_frames():
    clean = frames([np.eye(3)], size=SMALL, noise=0.0)[0].astype(float)
    for count in (4, 16):
        images = frames([np.eye(3)] * count, size=SMALL, noise=8.0)
        work = job(images, [np.eye(3)] * count, scale=1, sharpen=0.0)
        left = np.std(made(work, "mean") - np.moveaxis(clean, -1, 0))
        assert left == pytest.approx(8 / np.sqrt(count), rel=0.1)


def test_what_moved_is_put_back():
    matrices = moves(6, seed=3, size=SMALL)
    images = frames(matrices, size=SMALL, noise=4.0)
    still = made(job(frames([np.eye(3)] * 6, size=SMALL, noise=4.0), [np.eye(3)] * 6, sharpen=0.0), "mean")
    moved = made(job(images, matrices, sharpen=0.0), "mean")
    inner = (slice(None), slice(24, -24), slice(24, -24))
    assert np.abs(moved - still)[inner].mean() < 2.5
    unaligned = made(job(images, [np.eye(3)] * 6, sharpen=0.0), "mean")
    assert np.abs(unaligned - still)[inner].mean() > 3 * np.abs(moved - still)[inner].mean()


def test_where_no_frame_is_nothing_counts():
    [image] = frames([np.eye(3)], size=SMALL)
    away = np.array([[1, 0, 40.0], [0, 1, 0], [0, 0, 1]])
    work = job([image], [away])
    _, covered, used = stacking.stacked(Tile(0, work.profile.window, work.profile.window), work)
    assert not covered[0, :, 102:].any()
    assert covered[0, :, :96].all()
    assert (used == covered).all()
    far = np.array([[1, 0, 4000.0], [0, 1, 0], [0, 0, 1]])
    assert not stacking.stacked(Tile(0, work.profile.window, work.profile.window), job([image], [far]))[1].any()


def test_clipped_pixels_count_only_where_no_other_frame_has_more():
    bright = np.full((30, 30, 1), 255, np.uint8)
    dark = np.full((30, 30, 1), 120, np.uint8)
    bright[:, :10], dark[:, :5] = 100, 255
    ends = [(-np.inf, 254.0), (-np.inf, 254.0)]
    work = job([bright, dark], [np.eye(3)] * 2, scale=1, sharpen=0.0, ends=ends)
    _, covered, used = stacking.stacked(Tile(0, work.profile.window, work.profile.window), work)
    assert covered.all()
    assert used[0, :, :6].all() and not used[0, :, 14:].any()
    assert used[1, :, 10:].all() and not used[1, :, :2].any()


@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 8), st.integers(400, 4000))
def test_tiles_fit_in_the_memory(count, bands, jobs, megabytes):
    halo = stacking.halo_of(2, 1.0)
    try:
        size = stacking.tile_size(count, bands, megabytes * 10**6, halo=halo, jobs=jobs)
    except OptionError as error:
        assert "--memory" in str(error)
        return
    values = count * bands * 4 * (size + 2 * halo) ** 2
    assert jobs * 3 * values + stacking.BASE_MEMORY <= megabytes * 10**6
