"""STAC items, held against pystac's schema and the machine-learning model extension's own classes."""

import errno
import json
from datetime import datetime, timezone
from importlib import import_module

import pytest
import rasterio
from click.testing import CliRunner
from rasterio.crs import CRS
from shapely.geometry import Point, shape

from geosr.cli.main import main
from geosr.errors import OutputError
from geosr.models import cards
from geosr.rasters.profile import Profile
from geosr.rasters.source import RasterSource
from geosr.superresolve import stac
from geosr.superresolve.options import Options
from geosr.superresolve.plan import make_plan
from tests.conftest import DATA, texture

pystac = pytest.importorskip("pystac", reason="pip install 'geosr[stac]'")


def made(source, output, *args, code=0):
    """The item that the command writes."""
    done = CliRunner().invoke(main, ["superresolve", str(source), str(output), "--stac", "-qq", *map(str, args)])
    assert done.exit_code == code, done.output
    return json.loads(output.with_suffix(".stac.json").read_text()) if not code else done.output


@pytest.fixture
def valid():
    """A function that holds an item against the schemas of STAC that pystac brings along."""
    schemas = import_module("pystac.validation.local_validator")

    def check(item):
        local = schemas.LocalValidator()
        assert not list(local.item_validator(item["stac_version"]).iter_errors(item))

    return check


def test_an_item_says_where_and_how(make_raster, tmp_path, random_idn, valid):
    source = make_raster(texture(2, 40, 50, dtype="uint16", high=4000))
    with rasterio.open(source, "r+") as data:
        data.update_tags(TIFFTAG_DATETIME="2021:06:05 10:20:30")
    item = made(source, tmp_path / "o.tif", "-m", random_idn())
    valid(item)
    assert pystac.Item.from_dict(item).id == "o"
    with rasterio.open(tmp_path / "o.tif") as data:
        transform, shape, bounds = data.transform, data.shape, data.bounds
        found = rasterio.warp.transform_bounds(data.crs, "EPSG:4326", *bounds, densify_pts=21)
    properties = item["properties"]
    code = properties.get("proj:epsg") or int(properties["proj:code"].removeprefix("EPSG:"))
    assert code == 32633
    assert properties["proj:shape"] == list(shape)
    assert properties["proj:transform"][:6] == pytest.approx(list(transform)[:6])
    assert item["bbox"] == pytest.approx(found, abs=1e-6)
    assert properties["datetime"] == "2021-06-05T10:20:30Z"
    assert properties["processing:level"] == "L4"
    assert properties["processing:software"] == {"geosr": stac.__version__}
    assert item["assets"]["data"]["href"] == "./o.tif"
    assert [link["href"] for link in item["links"] if link["rel"] == "derived_from"] == ["scene.tif"]
    assert not list(tmp_path.glob(".*"))


def test_the_card_is_in_the_words_of_the_extension(make_raster, tmp_path):
    item = made(make_raster(texture(1, 20, 20, dtype="uint16", high=4000)), tmp_path / "o.tif", "-m", "idn")
    card = next(card for card in cards.shipped() if (card.name, card.scale) == ("idn", 2))
    said = {name: value for name, value in item["properties"].items() if name.startswith("mlm:")}
    assert said["mlm:name"] == "idn_x2"
    assert said["mlm:total_parameters"] == card.parameters
    assert said["mlm:hyperparameters"]["sha256"] == card.sha256
    [scaling] = said["mlm:input"][0]["value_scaling"]
    [(low, high)] = [tuple(map(float, pair.split(","))) for pair in tags(tmp_path / "o.tif")["GEOSR_RANGE"].split()]
    assert (scaling["minimum"], scaling["maximum"]) == pytest.approx((low, high))
    # What the extension's schema asks of an item.
    required = {f"mlm:{name}" for name in ("name", "architecture", "tasks", "input", "output")}
    assert required <= set(said)
    assert said["mlm:tasks"] == ["super-resolution"]
    [model] = [asset for asset in item["assets"].values() if "mlm:model" in asset["roles"]]
    assert model["mlm:artifact_type"]
    assert model["href"].startswith("file://")
    schema = pytest.importorskip("stac_model.schema", reason="pip install stac-model")
    schema.MLModelProperties.model_validate(said)
    schema.MLModelProperties.model_validate({name.removeprefix("mlm:"): value for name, value in said.items()})


def tags(path):
    with rasterio.open(path) as data:
        return data.tags()


def test_bicubic_has_no_card(make_raster, tmp_path, valid):
    item = made(make_raster(), tmp_path / "o.tif", "-m", "bicubic")
    valid(item)
    assert not [name for name in item["properties"] if name.startswith("mlm:")]
    assert len(item["stac_extensions"]) == 2


def test_the_real_scene_lies_where_it_does(tmp_path, valid):
    item = made(DATA / "landsat8_great_salt_lake.tif", tmp_path / "o.tif", "-m", "bicubic")
    valid(item)
    with rasterio.open(DATA / "landsat8_great_salt_lake.tif") as data:
        assert item["bbox"] == pytest.approx(data.bounds, abs=1e-9)


def test_what_cannot_be_described_is_refused_before_the_work(make_raster, tmp_path):
    said = made(make_raster(crs=None), tmp_path / "o.tif", "-m", "bicubic", code=1)
    assert "a STAC item needs a place on Earth" in said
    moon = CRS.from_wkt(
        'GEOGCS["Moon",DATUM["D_Moon",SPHEROID["Moon",1737400,0]],PRIMEM["Reference",0],UNIT["degree",0.0174532925]]'
    )
    made(make_raster(crs=moon), tmp_path / "o.tif", "-m", "bicubic", code=1)
    assert not (tmp_path / "o.tif").exists()
    (tmp_path / "o.stac.json").write_text("mine")
    said = made(make_raster(), tmp_path / "o.tif", "-m", "bicubic", code=1)
    assert "o.stac.json' exists" in said
    assert not (tmp_path / "o.tif").exists()


def test_without_rio_stac_the_line_says_what_to_install(make_raster, tmp_path, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(stac, "import_module", missing)
    assert "pip install 'geosr[stac]'" in made(make_raster(), tmp_path / "o.tif", "-m", "bicubic", code=1)


def test_an_item_that_cannot_be_written_leaves_nothing(make_raster, tmp_path, monkeypatch):
    job = make_plan(make_raster(), Options(model="bicubic"))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stac, "item", lambda *_, **__: {})
    monkeypatch.setattr("geosr.parts.os.fsync", full)
    with pytest.raises(OutputError, match="no space left"):
        stac.write(job, tmp_path / "o.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_a_folder_gets_an_item_a_file_and_those_that_are_missing_later(make_raster, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.tif", "b.tif"):
        make_raster(texture(1, 20, 20), f"in/{name}")
    args = ["superresolve", str(tmp_path / "in"), str(tmp_path / "out"), "-m", "bicubic", "-q"]
    assert CliRunner().invoke(main, args).exit_code == 0
    for _ in range(2):
        assert CliRunner().invoke(main, [*args, "--stac"]).exit_code == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"a.tif", "b.tif", "a.stac.json", "b.stac.json"}


@pytest.mark.parametrize(
    ("said", "when"),
    [
        ({"": {"TIFFTAG_DATETIME": "2021:06:05 10:20:30"}}, datetime(2021, 6, 5, 10, 20, 30, tzinfo=timezone.utc)),
        (
            {"IMAGERY": {"ACQUISITIONDATETIME": "2020-01-02 03:04:05"}},
            datetime(2020, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
        ),
        ({"": {"TIFFTAG_DATETIME": "long ago"}}, None),
        ({}, None),
    ],
)
def test_the_time_of_a_scene_is_taken_from_its_tags(make_raster, said, when):
    source = make_raster(texture(1, 9, 9))
    with rasterio.open(source, "r+") as data:
        for domain, names in said.items():
            data.update_tags(ns=domain or None, **names)
    assert stac.taken(RasterSource(source).profile) == when


def test_the_item_of_an_older_output_goes_with_it_but_not_one_of_another_program(make_raster, tmp_path):
    source, output = make_raster(texture(1, 20, 20)), tmp_path / "o.tif"
    path = tmp_path / "o.stac.json"
    made(source, output, "-m", "bicubic")
    done = CliRunner().invoke(main, ["superresolve", str(source), str(output), "-m", "bicubic", "--overwrite"])
    assert done.exit_code == 0, done.output
    assert not path.exists()
    path.write_text('{"properties": {}}')
    CliRunner().invoke(main, ["superresolve", str(source), str(output), "-m", "bicubic", "--overwrite"])
    assert path.exists()


@pytest.mark.parametrize(
    ("crs", "transform", "west", "east"),
    [
        ("EPSG:4326", (0.1, 0, 178, 0, -0.1, 10), 178, -177),
        ("EPSG:4326", (0.1, 0, -182, 0, -0.1, 10), 178, -177),
        ("EPSG:4326", (0.1, 0, 359, 0, -0.1, 10), -1, 4),
        ("EPSG:32601", (1000, 0, 140_000, 0, -1000, 1_000_000), 179.7, -179.8),
    ],
)
def test_a_scene_across_the_antimeridian_does_not_span_the_globe(
    make_raster, tmp_path, valid, crs, transform, west, east
):
    source = make_raster(texture(1, 40, 50), crs=crs, transform=rasterio.Affine(*transform))
    item = made(source, tmp_path / "o.tif", "-m", "bicubic")
    valid(item)
    assert (item["bbox"][0], item["bbox"][2]) == pytest.approx((west, east), abs=0.1)
    area = shape(item["geometry"])
    assert area.is_valid
    assert -180 <= area.bounds[0] <= area.bounds[2] <= 180
    with rasterio.open(tmp_path / "o.tif") as data:
        corners = [data.xy(row, col) for row in (0, 79) for col in (0, 99)]
        xs, ys = rasterio.warp.transform(data.crs, "EPSG:4326", *zip(*corners, strict=True))
    for x, y in zip(xs, ys, strict=True):
        assert area.buffer(0.01).contains(Point((x + 180) % 360 - 180, y))
    assert area.area < 50


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2021-06-05T10:20:30.25Z", "2021-06-05T10:20:30.250000Z"),
        ("2021-06-05T10:20:30+02:00", "2021-06-05T08:20:30Z"),
        ("2021-06-05T23:20:30-0330", "2021-06-06T02:50:30Z"),
        ("2020-02-28T24:00:00", "2020-02-29T00:00:00Z"),
        ("2021:12:31 24:00:00", "2022-01-01T00:00:00Z"),
        ("2021-06-05 10:20", "2021-06-05T10:20:00Z"),
    ],
)
def test_times_are_read_with_offset_and_fraction(make_raster, tmp_path, text, moment):
    source = make_raster()
    with rasterio.open(source, "r+") as data:
        data.update_tags(ns="IMAGERY", ACQUISITIONDATETIME=text)
    assert made(source, tmp_path / "o.tif", "-m", "bicubic")["properties"]["datetime"] == moment


@pytest.mark.parametrize("text", ["last summer", "2021-13-05", "2021-06-05T25:00:00", "2021-06-05T24:00:01"])
def test_a_time_that_cannot_be_read_is_said(text, caplog):
    caplog.set_level("WARNING", logger="geosr")
    assert stac.taken(Profile(1, 1, 1, "uint8", tags={"": {"TIFFTAG_DATETIME": text}})) is None
    assert f"the time {text!r} of the tag TIFFTAG_DATETIME cannot be read" in caplog.text
