"""An audit passes honest sets, and fails those in which one split has seen the other."""

import json

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner

from geosr.cli.main import main
from geosr.dataset import job, records, storage
from geosr.dataset.audit import ALIKE, audit_set, perceptual_hash
from geosr.dataset.options import Options
from geosr.errors import DatasetError
from geosr.rasters.source import RasterSource
from tests.conftest import texture
from tests.dataset.helpers import at


def leaking(monkeypatch, *validating):
    """Builds that put these scenes, by position, into validation, whatever they show."""

    def assign(profiles, tiles, shares, *, halo):
        return [["Validation" if i in validating else "Training"] * len(some) for i, some in enumerate(tiles)]

    monkeypatch.setattr(job, "assign", assign)


def images(count, rows=96, **more):
    return [texture(1, rows, rows, seed=i, **more) for i in range(count)]


@pytest.mark.parametrize("way", [{"split": "scene"}, {"split": "block", "block": 96}], ids=["scene", "block"])
def test_an_honest_set_passes(make_raster, tmp_path, way):
    scenes = [make_raster(im, f"s{i}.tif", transform=at(4e5 + 5000 * i, 5e6)) for i, im in enumerate(images(4, 192))]
    job.build(scenes, tmp_path / "out", Options(size=32, validation=0.2, test=0.1, **way))
    found = audit_set(tmp_path / "out")
    assert found.passed
    assert found.told["passed"]
    assert len(found.tiles) == 3


def test_ground_in_two_splits_is_found_across_projections(make_raster, tmp_path, monkeypatch):
    leaking(monkeypatch, 1)
    first, second = images(2)
    degrees = Affine(10 / 78_600, 0, 13.7275, 0, -10 / 111_100, 45.1465)
    scenes = [
        make_raster(first, "utm.tif", transform=at(400_000, 5_000_000)),
        make_raster(second, "degrees.tif", crs="EPSG:4326", transform=degrees),
    ]
    job.build(scenes, tmp_path / "out", Options(size=32))
    found = audit_set(tmp_path / "out")
    assert found.overlaps
    assert not found.alike
    assert {"utm.tif" in one.one and "degrees.tif" in one.other for one in found.overlaps} == {True}


def test_the_ground_found_is_all_that_is_shared_and_no_more(make_raster, tmp_path, monkeypatch):
    """Half a tile of one scene lies in each of six tiles of the other; another only touches."""
    leaking(monkeypatch, 1, 2)
    scenes = [
        make_raster(im, f"s{i}.tif", transform=at(4e5 + x * 10, 5e6))
        for i, (x, im) in enumerate(zip((0, 80, -96), images(3), strict=True))
    ]
    job.build(scenes, tmp_path / "out", Options(size=32))
    found = audit_set(tmp_path / "out").overlaps
    assert len(found) == 3
    assert all(one.share == pytest.approx(0.5, abs=0.001) for one in found)


def changed(image, how):
    rng = np.random.default_rng(0)
    x = image / 255
    return np.clip(
        255
        * {
            "copied": x,
            "darker": 0.5 * x + 0.2,
            "inverted gamma": x**0.6,
            "noisy": x + rng.normal(0, 0.02, x.shape),
            "clipped": np.clip(1.2 * x, 0, 1),
            "shifted by a pixel": np.roll(x, 1, axis=2),
        }[how],
        0,
        255,
    ).astype(np.uint8)


@pytest.mark.parametrize("how", ["copied", "darker", "inverted gamma", "noisy", "clipped", "shifted by a pixel"])
@pytest.mark.parametrize("located", [True, False])
def test_a_scene_under_another_name_and_radiometry_is_found(make_raster, tmp_path, monkeypatch, shared, how, located):
    leaking(monkeypatch, 1)
    source = RasterSource(shared / "train" / "naip_ca" / "chico_2018_18.tif")
    real = source.read(source.profile.window).block[:3]
    where = [{"transform": at(4e5 + 9000 * i, 5e6)} for i in range(2)] if located else [{"crs": None}] * 2
    scenes = [make_raster(real, "one.tif", **where[0]), make_raster(changed(real, how), "other.tif", **where[1])]
    job.build(scenes, tmp_path / "out", Options(size=96))
    found = audit_set(tmp_path / "out")
    assert not found.overlaps
    assert {(one.one.split()[-1], one.other.split()[-1]) for one in found.alike} >= {
        (place, place) for place in ("0,0", "96,0", "0,96", "96,96")
    }


def test_tiles_that_show_nothing_are_not_alike(make_raster, tmp_path, monkeypatch):
    leaking(monkeypatch, 1)
    scenes = [
        make_raster(np.full((1, 64, 64), 20 * i, np.uint8), f"s{i}.tif", transform=at(4e5 + 9000 * i, 5e6))
        for i in range(2)
    ]
    job.build(scenes, tmp_path / "out", Options(size=32))
    found = audit_set(tmp_path / "out")
    assert found.passed
    assert found.flat == 8


def test_a_scene_of_nowhere_is_compared_within_itself(make_raster, tmp_path):
    path = make_raster(texture(1, 240, 64), crs=None, transform=Affine.identity())
    job.build([path], tmp_path / "out", Options(size=16, validation=0.3))
    found = audit_set(tmp_path / "out")
    assert found.passed
    assert found.nowhere == sum(found.tiles.values())
    shards = [next((tmp_path / "out" / "x2" / split).glob("*.tfrecord-*")) for split in ("Training", "Validation")]
    shards[1].write_bytes(shards[0].read_bytes())
    again = audit_set(tmp_path / "out")
    assert len(again.overlaps) == again.tiles["Training"]
    assert len(again.alike) >= len(again.overlaps)


def test_the_hash_does_not_change_with_gain_and_offset():
    block = texture(1, 96, 96, seed=3)[0] / 255
    assert (perceptual_hash(block) == perceptual_hash(0.3 * block + 0.4)).all()
    assert (perceptual_hash(block) != perceptual_hash(1 - block)).all()
    others = [perceptual_hash(texture(1, 96, 96, seed=i)[0] / 255) for i in range(4, 40)]
    assert max((perceptual_hash(block) == other).mean() for other in others) < ALIKE - 0.1


def test_real_scenes_are_told_apart(shared, tmp_path):
    """The margin that docs/datasets.md tells of, on some of the scenes that it was found on."""
    hashes = []
    for path in sorted((shared / "train" / "naip_ca").glob("*_1*.tif")):
        source = RasterSource(path)
        image = source.read(source.profile.window).block.mean(axis=0) / 255
        for row in (0, 96):
            hashes += [(path.name, perceptual_hash(image[row : row + 96, col : col + 96])) for col in (0, 96)]
    names, signs = zip(*[(name, hash) for name, hash in hashes if hash is not None], strict=True)
    signs = np.where(signs, 1.0, -1.0)
    equal = (signs @ signs.T / signs.shape[1] + 1) / 2
    others = np.array(names)[:, None] != np.array(names)
    assert len(names) > 60
    assert equal[others].max() < ALIKE - 0.05


def test_the_command_says_what_it_found_and_exits_1(make_raster, tmp_path, monkeypatch):
    scenes = [make_raster(im, f"s{i}.tif", transform=at(4e5 + 100 * i, 5e6)) for i, im in enumerate(images(2))]
    job.build(scenes, tmp_path / "good", Options(size=16, validation=0))
    leaking(monkeypatch, 1)
    job.build(scenes, tmp_path / "bad", Options(size=16))
    good, bad = (CliRunner().invoke(main, ["dataset", "audit", str(tmp_path / name), "-q"]) for name in ("good", "bad"))
    assert (good.exit_code, bad.exit_code) == (0, 1)
    assert "no two of different splits share ground" in good.output
    assert "pairs of different splits share ground:" in bad.output
    assert "Training s0.tif" in bad.output
    done = CliRunner().invoke(main, ["dataset", "audit", str(tmp_path / "bad"), "--json"])
    told = json.loads(done.output)
    assert done.exit_code == 1
    assert not told["passed"]
    assert set(told["overlaps"][0]) == {"one", "other", "share"}


def test_a_damaged_set_is_said(make_raster, tmp_path):
    job.build([make_raster(texture(1, 96, 96))], tmp_path / "out", Options(size=32, validation=0))
    [shard] = (tmp_path / "out" / "x2" / "Training").glob("*.tfrecord-*")
    shard.write_bytes(shard.read_bytes()[:-5])
    done = CliRunner().invoke(main, ["dataset", "audit", str(tmp_path / "out"), "-q"])
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert "record 8: it is truncated" in done.output
    assert len(storage.TFDS_SPLITS) == len(records.SPLITS) + 1


def test_a_set_whose_shards_are_gone_is_said(make_raster, tmp_path):
    scenes = [make_raster(im, f"s{i}.tif", transform=at(4e5 + 5000 * i, 5e6)) for i, im in enumerate(images(3))]
    job.build(scenes, tmp_path / "out", Options(size=32, validation=0.3))
    folder = tmp_path / "out" / "x2"
    (folder / "Training" / "old-train.tfrecord-00000-of-00001.bak").touch()
    assert audit_set(tmp_path / "out").passed
    for shard in (folder / "Validation").glob("*.tfrecord-*"):
        shard.unlink()
    for words in (["audit"], ["info"], ["preview", tmp_path / "sheet.png"]):
        done = CliRunner().invoke(main, ["dataset", words[0], str(tmp_path / "out"), *map(str, words[1:])])
        assert done.exit_code == 1
        assert "no training set in" in done.output.splitlines()[-1]


def test_a_crs_that_is_none_is_named_with_its_tile(make_raster, tmp_path, capfd):
    scenes = [make_raster(im, f"s{i}.tif", transform=at(4e5 + 5000 * i, 5e6)) for i, im in enumerate(images(3))]
    job.build(scenes, tmp_path / "out", Options(size=32, validation=0.3, format="png"))
    file = tmp_path / "out" / "x2" / "Training" / "samples.jsonl"
    file.write_text(file.read_text().replace("GEOGCS[", "G\\u00e9OGCS[", 1))
    with pytest.raises(DatasetError, match=r"^the CRS of Training s\d\.tif .* cannot be read: .*WKT"):
        audit_set(tmp_path / "out")
    assert capfd.readouterr().err == ""
