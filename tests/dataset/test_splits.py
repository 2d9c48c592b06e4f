"""Splits against shapely: what they keep apart on the ground stays apart."""

from collections import Counter

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from geosr.dataset.options import Options
from geosr.dataset.splits import GUARD, SPLITS, assign, places
from geosr.errors import OptionError
from geosr.grid import Grid
from geosr.rasters import placement
from geosr.rasters.profile import Profile

UTM = CRS.from_epsg(32633)
SIZE, HALO = 16, 12


def scene(x=400_000, y=5_000_000, side=160, pixel=10, turn=0, crs=UTM):
    transform = Affine.translation(x, y) @ Affine.rotation(turn) @ Affine.scale(pixel, -pixel)
    return Profile(side, side, 1, "uint8", crs=crs, transform=transform)


def tiles_of(profile):
    grid = Grid(profile.width, profile.height, SIZE)
    return [tile for tile in grid if tile.core.width == tile.core.height == SIZE]


def split(profiles, **options):
    tiles = [tiles_of(profile) for profile in profiles]
    return assign(profiles, tiles, Options(**options), halo=HALO)


def on_the_map(profiles, fates, crs=UTM):
    """The polygons of the tiles of each split, on one map."""
    found = {name: [] for name in SPLITS}
    for profile, told in zip(profiles, fates, strict=True):
        rings = placement.outlines(profile, [tile.core for tile in tiles_of(profile)])
        for ring, fate in zip(placement.projected(rings, profile.crs, crs), told, strict=True):
            if fate != GUARD:
                found[fate].append(shapely.Polygon(ring))
    return {name: shapely.union_all(some) for name, some in found.items() if some}


def least_distance(found):
    names = list(found)
    return min(found[a].distance(found[b]) for i, a in enumerate(names) for b in names[i + 1 :])


def test_scenes_that_touch_are_one_place_and_those_of_nowhere_each_its_own():
    profiles = [scene(), scene(x=401_600), scene(x=500_000), scene(crs=None), scene(crs=None)]
    assert places([placement.footprint(profile) for profile in profiles]) == [[0, 1], [2], [3], [4]]


def test_a_turned_scene_is_no_neighbour_of_one_in_the_corner_of_its_box():
    turned, corner = scene(turn=45, side=160), scene(x=400_000 + 2000, y=5_000_000 + 1100, side=16)
    box = shapely.box(*shapely.Polygon(placement.outlines(turned, [turned.window])[0]).bounds)
    assert box.intersects(shapely.Polygon(placement.outlines(corner, [corner.window])[0]))
    assert len(places([placement.footprint(turned), placement.footprint(corner)])) == 2


@pytest.mark.parametrize("seed", range(6))
def test_scenes_of_one_place_stay_on_one_side_across_projections(seed):
    lon, lat = 13.7385, 45.1474
    same = Profile(
        100, 100, 1, "uint8", crs=CRS.from_epsg(4326), transform=Affine(1e-4, 0, lon - 0.004, 0, -1e-4, lat + 0.002)
    )
    fates = split([scene(), same, scene(x=450_000), scene(x=480_000)], validation=0.3, test=0.2, seed=seed)
    chosen = [set(told) for told in fates]
    assert chosen[0] == chosen[1]
    assert all(len(one) == 1 for one in chosen)
    assert set.union(*chosen) == set(SPLITS)


def test_shares_are_about_those_asked_for():
    profiles = [scene(x=300_000 + 5000 * i) for i in range(40)]
    counts = Counter(fate for told in split(profiles, validation=0.2, test=0.1) for fate in told)
    assert counts["Validation"] / counts.total() == pytest.approx(0.2, abs=0.03)
    assert counts["Test"] / counts.total() == pytest.approx(0.1, abs=0.03)


def test_scenes_of_nowhere_train_when_others_can_validate(caplog):
    profiles = [scene(crs=None), scene(x=450_000), scene(x=480_000)]
    for seed in range(5):
        assert set(split(profiles, validation=0.3, seed=seed)[0]) == {"Training"}
    assert "1 scenes have no CRS: all of them train" in caplog.text
    fates = split([scene(crs=None), scene(crs=None)], validation=0.3)
    assert {fate for told in fates for fate in told} == {"Training", "Validation"}
    # Two that touch are one place, which is cut: the third may show the same ground.
    for seed in range(5):
        *known, lost = split([scene(), scene(x=401_600), scene(crs=None)], validation=0.3, seed=seed)
        assert set(lost) == {"Training"}
        assert {"Training", "Validation"} <= {fate for told in known for fate in told}


@pytest.mark.parametrize("seed", range(5))
def test_a_place_larger_than_what_is_wanted_validates_only_if_it_must(seed):
    large, middle, small = (scene(x=400_000 + 50_000 * i, side=side) for i, side in enumerate((480, 320, 64)))
    assert [set(told) for told in split([large, middle], validation=0.1, seed=seed)] == [{"Training"}, {"Validation"}]
    fates = split([large, small, middle], validation=0.1, seed=seed)
    assert [set(told) for told in fates] == [{"Training"}, {"Validation"}, {"Training"}]


def test_a_size_of_blocks_without_blocks_is_refused():
    with pytest.raises(OptionError, match="--split block"):
        Options(block=1000)


@given(
    st.integers(0, 1000),
    st.lists(st.tuples(st.integers(-4500, 4500), st.integers(-4500, 4500), st.integers(0, 90)), max_size=3),
    st.sampled_from([28, 40, 64]),
)
@settings(max_examples=40)
def test_blocks_keep_a_tile_and_its_halo_between_the_splits(seed, moves, block):
    """Scenes over one another or beside, turned, of other pixel sizes."""
    profiles = [scene(side=256)]
    profiles += [scene(400_000 + x, 5_000_000 + y, turn=turn, pixel=8) for x, y, turn in moves]
    fates = split(profiles, split="block", validation=0.25, test=0.15, block=block, seed=seed)
    found = on_the_map(profiles, fates)
    if len(found) > 1:
        # Tiles are boxes in the pixels of their place's first scene, so that their distance is that along an axis.
        several = len(places([placement.footprint(profile, SIZE + HALO) for profile in profiles])) > 1
        assert least_distance(found) >= (SIZE + HALO) * (8 if several else 10) - 1e-3


def test_blocks_give_about_the_shares():
    fates = split([scene(side=1600)], split="block", validation=0.2, test=0.1, block=64)
    counts = Counter(fates[0])
    kept = counts.total() - counts[GUARD]
    assert counts["Validation"] / counts.total() > 0.1
    assert counts["Test"] / counts.total() > 0.05
    assert kept > 0.3 * counts.total()


def test_one_place_is_cut_across_its_longer_side_with_a_guard():
    long = Profile(160, 800, 1, "uint8", crs=UTM, transform=Affine(10, 0, 4e5, 0, -10, 5e6))
    tiles = tiles_of(long)
    [fates] = assign([long], [tiles], Options(validation=0.2, test=0.1), halo=HALO)
    rows = {name: [t.core.row_off for t, fate in zip(tiles, fates, strict=True) if fate == name] for name in SPLITS}
    assert max(rows["Training"]) + SIZE + SIZE + HALO <= min(rows["Validation"])
    assert max(rows["Validation"]) + SIZE + SIZE + HALO <= min(rows["Test"])
    counts = Counter(fates)
    assert counts["Validation"] / len(tiles) == pytest.approx(0.2, abs=0.05)


def test_two_dates_of_one_place_are_cut_along_one_line():
    degrees = Affine(10 / 78_600, 0, 13.7275, 0, -10 / 111_100, 45.1465)
    profiles = [
        Profile(160, 800, 1, "uint8", crs=UTM, transform=Affine(10, 0, 4e5, 0, -10, 5e6)),
        Profile(160, 800, 1, "uint8", crs=CRS.from_epsg(4326), transform=degrees),
    ]
    fates = split(profiles, validation=0.3)
    assert all(set(told) >= {"Training", "Validation"} for told in fates)
    assert least_distance(on_the_map(profiles, fates)) > 200


@pytest.mark.parametrize("way", ["scene", "block"])
def test_a_place_that_is_too_small_to_be_cut_trains(way):
    [fates] = split([scene(side=48)], split=way, validation=0.3)
    assert set(fates) == {"Training"}


def test_scenes_across_the_antimeridian_are_compared():
    degrees = CRS.from_epsg(4326)
    west = Profile(160, 160, 1, "uint8", crs=degrees, transform=Affine(0.001, 0, 179.9, 0, -0.001, 10))
    east = Profile(160, 160, 1, "uint8", crs=degrees, transform=Affine(0.001, 0, -179.99, 0, -0.001, 10))
    far = Profile(160, 160, 1, "uint8", crs=degrees, transform=Affine(0.001, 0, 0, 0, -0.001, 10))
    assert places([placement.footprint(p) for p in (west, east, far)]) == [[0, 1], [2]]


@pytest.mark.parametrize(("way", "block"), [("scene", None), ("block", 64)])
def test_a_place_across_the_antimeridian_is_divided_as_any_other(way, block):
    degrees = CRS.from_epsg(4326)
    west = Profile(160, 480, 1, "uint8", crs=degrees, transform=Affine(0.001, 0, 179.9, 0, -0.001, 10))
    east = Profile(160, 480, 1, "uint8", crs=degrees, transform=Affine(0.001, 0, -179.99, 0, -0.001, 10.004))
    fates = split([west, east], split=way, validation=0.2, block=block)
    moved = Profile(160, 480, 1, "uint8", crs=degrees, transform=Affine(0.001, 0, 180.01, 0, -0.001, 10.004))
    found = on_the_map([west, moved], fates, degrees)
    assert len(found) == 2
    assert least_distance(found) >= (SIZE + HALO) * 0.001 - 1e-9


@pytest.mark.parametrize("way", ["scene", "block"])
def test_scenes_without_tiles_are_passed_over(way):
    profiles = [scene(side=8), scene(x=500_000, side=320), scene(x=600_000, side=320)]
    fates = split(profiles, split=way, validation=0.3)
    assert [len(told) for told in fates] == [0, 400, 400]
    [none] = split([scene(side=8)], split=way)
    assert none == []


def test_what_cannot_be_is_refused():
    with pytest.raises(OptionError, match=r"leave tiles for training, got 0\.6 and 0\.4"):
        Options(validation=0.6, test=0.4)
    with pytest.raises(OptionError, match="a block must hold a tile and its halo, 28 pixels, got 27"):
        split([scene()], split="block", block=27)


def test_the_same_seed_gives_the_same_splits():
    profiles = [scene(x=300_000 + 5000 * i) for i in range(10)]
    for way in ("scene", "block"):
        one, same, other = (split(profiles, split=way, validation=0.3, seed=seed) for seed in (1, 1, 2))
        assert one == same
        assert one != other
    assert np.ndim(one) == 2


@pytest.mark.parametrize(("way", "block"), [("scene", None), ("block", 64)])
def test_scenes_nearer_than_a_guard_are_one_place(way, block):
    profiles = [scene(side=320), scene(x=403_210, side=320), scene(x=410_000, side=320)]
    found = on_the_map(profiles, split(profiles, split=way, validation=0.3, block=block, seed=1))
    assert len(found) == 2
    assert least_distance(found) >= (SIZE + HALO) * 10 - 1e-3


def test_scenes_at_the_edge_of_a_map_of_the_world_are_one_place():
    world = CRS.from_string("ESRI:54030")
    profiles = [scene(x=-1_000_000, y=8_600_000 - 60_000 * i, side=300, pixel=1000, crs=world) for i in range(2)]
    grounds = [placement.footprint(profile, 120) for profile in profiles]
    assert places(grounds) == [[0, 1]]
    found = on_the_map(profiles, split(profiles, validation=0.3), world)
    assert len(found) == 2
    assert least_distance(found) >= (SIZE + HALO) * 1000 - 1e-3


def test_a_scene_without_tiles_is_no_place_that_validates():
    fates = split([scene(side=500), scene(x=500_000, side=8)], validation=0.2)
    assert {"Training", "Validation"} <= {*fates[0]}
