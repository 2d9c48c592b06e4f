"""The Processing scripts in the real QGIS: its toolbox, qgis_process, Python, a model, and a window."""

import filecmp
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio

from geosr.models import cards
from geosr.qgis import contents, installation
from tests.conftest import DATA, soon, texture
from tests.photographs import frames, moves, save_burst

QGIS_PROCESS = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
PYTHON = "/usr/bin/python3"
INSTALL = "sudo apt-get install --no-install-recommends qgis xvfb xauth"
ALGORITHMS = ("superresolveraster", "buildsuperresolutiontrainingset", "stackphotoburst")
HOSTILE = {
    "PYTHONHOME": "/usr",
    "PYTHONPATH": "/usr/share/qgis/python:/usr/lib/python3/dist-packages",
    "PYTHONEXECUTABLE": "/usr/bin/python3",
    "PYTHONNOUSERSITE": "1",
    "PROJ_LIB": "/usr/share/proj",
    "PROJ_DATA": "/usr/share/proj",
    "GDAL_DATA": "/usr/share/gdal",
    "GDAL_DRIVER_PATH": "/usr/lib/gdalplugins",
    "LD_LIBRARY_PATH": "/usr/lib/qgis",
    "QT_PLUGIN_PATH": "/usr/lib/qgis/plugins",
    "VIRTUAL_ENV": "/usr",
}

pytestmark = [
    pytest.mark.qgis,
    pytest.mark.skipif(not QGIS_PROCESS, reason=f"QGIS is not installed; install it with: {INSTALL}"),
]


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A home with a profile of QGIS that geosr is installed in."""
    home = tmp_path_factory.mktemp("home")
    (home / "profiles" / "default").mkdir(parents=True)
    (home / "runtime").mkdir(mode=0o700)
    for place in installation.places(environ={"QGIS_CUSTOM_CONFIG_PATH": str(home)}):
        if place.kind == "scripts":
            installation.install(place)
    return home


@pytest.fixture(scope="session")
def scripts(home):
    return home / "profiles" / "default" / "processing" / "scripts" / "geosr"


def environment(home, **more):
    """That of a desktop without this virtual environment, where QGIS would look for its Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {
        **kept,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home / "runtime"),
        "QGIS_CUSTOM_CONFIG_PATH": str(home),
        "QT_QPA_PLATFORM": "offscreen",
        **more,
    }


def qgis_process(home, *args, **more):
    words = [QGIS_PROCESS, *map(str, args)]
    return subprocess.run(
        words, capture_output=True, text=True, check=False, env=environment(home, **more), timeout=300
    )


def in_qgis(home, scenario, **given):
    words = [PYTHON, str(Path(__file__).with_name("in_qgis.py")), scenario, json.dumps(given)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment(home), timeout=500)
    told = [line for line in done.stdout.splitlines() if line.startswith("TOLD ")]
    assert told, done.stdout + done.stderr
    return json.loads(told[0][5:])


@pytest.fixture(scope="session")
def described(home):
    return in_qgis(home, "described")


def test_they_are_listed_in_their_group_with_help_icons_and_parameters(described, scripts):
    assert set(described) == {f"script:{name}" for name in ALGORITHMS}
    assert len({one["icon"] for one in described.values()}) == 3
    for id_, one in described.items():
        assert one["group"] == "Super-resolution"
        assert one["again"] == id_
        assert one["help"].startswith("This algorithm")
        assert Path(one["icon"]).parent == scripts
        assert one["url"] == f"file://{scripts}/geosr.html#{id_.partition(':')[2]}"
        assert f'id="{id_.partition(":")[2]}"' in (scripts / "geosr.html").read_text()
        for kind, _, description in one["parameters"].values():
            assert kind
            assert description[0].isupper()
    raster = described["script:superresolveraster"]
    assert [*raster["parameters"]][:6] == ["INPUT", "MODEL", "SCALE", "SENSOR", "BANDS", "DATA_TYPE"]
    for name in contents.models():
        assert f"{name}: {contents.LINES[name]}" in raster["parameters"]["MODEL"][1]
    assert raster["outputs"] == {"OUTPUT": "outputRaster"}
    dataset = described["script:buildsuperresolutiontrainingset"]
    assert dataset["outputs"]["TILES"] == "outputNumber"
    burst = described["script:stackphotoburst"]
    assert burst["outputs"]["ROBUST"] == "outputRaster"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_qgis_process_tells_their_help(home, name):
    done = qgis_process(home, "help", f"script:{name}")
    assert done.returncode == 0
    assert "OUTPUT" in done.stdout
    assert "a cancelled run leaves no files behind" in done.stdout.lower()
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_qgis_process_makes_what_the_command_makes(home, tmp_path):
    # QGIS writes statistics beside a raster that it reads, and what lies there is part of the input.
    sources = [tmp_path / name / "scene.tif" for name in ("qgis", "command")]
    for source in sources:
        source.parent.mkdir()
        shutil.copy2(DATA / "landsat8_great_salt_lake.tif", source)
    made, wanted = tmp_path / "made.tif", tmp_path / "wanted.tif"
    options = ("MODEL=bicubic", "SCALE=2", "COMPRESSION=LZW", "DATA_TYPE=float32", "BANDS=1")
    args = (f"INPUT={sources[0]}", f"OUTPUT={made}", *options)
    done = qgis_process(home, "--json", "run", "script:superresolveraster", "--", *args)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"] == {"OUTPUT": str(made)}
    words = [
        "superresolve",
        sources[1],
        wanted,
        "-m",
        "bicubic",
        "-t",
        "float32",
        "-b",
        "1",
        "--co",
        "COMPRESS=LZW",
        "-q",
    ]
    subprocess.run([sys.executable, "-m", "geosr", *map(str, words)], check=True)
    # Not of the bytes themselves, which pytest would print in their thousands.
    assert filecmp.cmp(made, wanted, shallow=False)


@pytest.mark.slow
def test_a_network_makes_a_raster_in_a_hostile_environment(home, make_raster, tmp_path):
    source, made = make_raster(texture(3, 40, 40)), tmp_path / "made.tif"
    args = (f"INPUT={source}", f"OUTPUT={made}", "MODEL=idn")
    done = qgis_process(home, "--json", "run", "script:superresolveraster", "--", *args, **HOSTILE)
    assert done.returncode == 0, done.stderr
    with rasterio.open(source) as before, rasterio.open(made) as after:
        assert after.crs == before.crs
        assert after.crs.to_epsg() == 32633
        assert after.bounds == before.bounds
        assert after.shape == (80, 80)


@pytest.mark.slow
def test_a_part_of_a_raster_is_that_part_of_the_whole(home, make_raster, tmp_path):
    located = make_raster(texture(1, 60, 50))
    photo = make_raster(texture(1, 60, 50), "photo.tif", crs=None, transform=None)
    common = {"MODEL": "bicubic"}
    runs = {}
    for name, source, extent in (
        # In the CRS of the layer, and of an image that lies nowhere, whose rows QGIS counts from 0 downwards.
        ("located", located, "400100,400300,4999600,4999800 [EPSG:32633]"),
        ("photo", photo, "10,30,-40,-20"),
    ):
        given = {**common, "INPUT": str(source), "OUTPUT": str(tmp_path / f"{name}_part.tif"), "EXTENT": extent}
        runs[name] = ("script:superresolveraster", given, None)
        whole = {**common, "INPUT": str(source), "OUTPUT": str(tmp_path / f"{name}_whole.tif")}
        runs[name + " whole"] = ("script:superresolveraster", whole, None)
    told = in_qgis(home, "several", raster=str(located), runs=runs)
    assert all("results" in one for one in told.values()), told
    for name in ("located", "photo"):
        with (
            rasterio.open(tmp_path / f"{name}_part.tif") as part,
            rasterio.open(tmp_path / f"{name}_whole.tif") as whole,
        ):
            assert (part.read() == whole.read()[:, 40:80, 20:60]).all()
    assert told["located"]["steps"][-1] == 100


@pytest.mark.slow
def test_bad_input_is_a_sentence_that_says_what_to_do(home, scripts, make_raster, tmp_path):
    source = str(make_raster(texture(1, 30, 30)))
    raster, dataset, burst = (f"script:{name}" for name in ALGORITHMS)
    out, folder = str(tmp_path / "o.tif"), str(tmp_path / "out")
    fine = {"INPUT": source, "OUTPUT": out, "MODEL": "bicubic"}
    tiles = {"INPUT": [source], "OUTPUT": folder}
    cases = {
        "server": (raster, {**fine, "INPUT": "<tiles from a server>"}, "export it to a GeoTIFF first"),
        "memory": (raster, {**fine, "INPUT": "<memory>"}, "export it to a GeoTIFF first"),
        "no permission": (
            raster,
            {**fine, "OUTPUT": "/proc/self/o.tif"},
            "cannot write to '/proc/self': no permission",
        ),
        "the input itself": (raster, {**fine, "OUTPUT": source}, "choose another output"),
        "no sensors": (raster, {**fine, "SENSOR": "landsat8"}, "needs a network that knows sensors"),
        "no such scale": (raster, {**fine, "MODEL": "idn", "SCALE": 5}, "no shipped model 'idn' for scale 5"),
        "elsewhere": (raster, {**fine, "EXTENT": "1,2,1,2"}, "bounds"),
        "unknown option": (raster, {**fine, "EXTRA": "--sharper"}, '"geosr qgis install" again'),
        "no program": (raster, {**fine, "COMMAND": "/nowhere/geosr"}, "at /nowhere/geosr"),
        "no geosr": (raster, {**fine, "COMMAND": "/usr/bin/python3 -I -m geosr"}, "geosr is no longer where it was"),
        "edits": (dataset, {**tiles, "AREA": "<edited area>"}, "has edits that are not saved; save them"),
        "no polygons": (dataset, {**tiles, "AREA": "<empty area>"}, "has no polygons"),
        "no CRS": (dataset, {**tiles, "AREA": "<area without a CRS>"}, "has no CRS; set it"),
        "tiles from a server": (dataset, {**tiles, "INPUT": ["<tiles from a server>"]}, "export it to a GeoTIFF first"),
        "size and scale": (dataset, {**tiles, "TILE_SIZE": 17}, "multiple of the scale 2, got 17"),
        "no photos": (burst, {"INPUT": folder, "OUTPUT": folder + "2"}, "out'"),
    }
    before = sorted(tmp_path.iterdir())
    runs = {name: (algorithm, given, None) for name, (algorithm, given, _) in cases.items()}
    told = in_qgis(home, "several", raster=source, runs=runs)
    for name, (_, _, wanted) in cases.items():
        assert wanted in told[name].get("error", ""), (name, told[name])
        assert "\n" not in told[name]["error"].strip()
        assert "Traceback" not in told[name]["error"]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"python": "/gone/python"}, "geosr is no longer where it was, at /gone/python"),
        ({"python": PYTHON}, f"geosr is no longer where it was, at {PYTHON} (it has no geosr)"),
        ({"version": "0.0.1"}, "This script is of geosr 0.0.1 but geosr is"),
        (None, 'does not know where geosr is; run "geosr qgis install" and restart QGIS'),
    ],
)
def test_geosr_that_has_moved_or_changed_since_is_a_sentence(home, scripts, make_raster, tmp_path, change, wanted):
    notes = scripts / "geosr.json"
    good = notes.read_text()
    try:
        if change is None:
            notes.unlink()
        else:
            notes.write_text(json.dumps({**json.loads(good), **change}))
        args = (f"INPUT={make_raster(texture(1, 30, 30))}", f"OUTPUT={tmp_path / 'o.tif'}", "MODEL=bicubic")
        done = qgis_process(home, "run", "script:superresolveraster", "--", *args)
    finally:
        notes.write_text(good)
    assert done.returncode == 1
    assert wanted in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "o.tif").exists()


@pytest.mark.slow
def test_a_cancelled_run_ends_within_a_second_and_leaves_nothing(home, make_raster, tmp_path):
    source = str(make_raster(texture(3, 1024, 1024)))
    raster, dataset, _ = (f"script:{name}" for name in ALGORITHMS)
    out = str(tmp_path / "o.tif")
    network = {"INPUT": source, "OUTPUT": out, "MODEL": "idn", "TILE_SIZE": 512}
    runs = {
        # At once, while TensorFlow loads, and while it computes a tile.
        **{f"network after {wait} s": (raster, network, wait) for wait in (0, 2, 12)},
        "bicubic": (raster, {**network, "MODEL": "bicubic", "TILE_SIZE": 16}, 0.5),
        "training set": (dataset, {"INPUT": [source], "OUTPUT": str(tmp_path / "out"), "TILE_SIZE": 16}, 0.5),
    }
    told = in_qgis(home, "several", raster=source, runs=runs)
    for name, one in told.items():
        assert one["results"] == {}, name
        assert one["seconds"] < soon(1), (name, one["seconds"])
        assert "Cancelled; nothing is left behind." in one["said"]
    # QGIS keeps its statistics of a layer beside it.
    assert {path.name for path in tmp_path.iterdir()} - {"scene.tif.aux.xml"} == {"scene.tif"}


@pytest.mark.slow
def test_a_child_that_does_not_listen_is_ended_and_what_it_held_removed(home, make_raster, tmp_path):
    deaf = tmp_path / "deaf.py"
    held = tmp_path / ".o.tif.geosr"
    deaf.write_text(
        "import json, os, time\n"
        f"os.mkdir({str(held)!r}); open({str(held / 'part')!r}, 'w').close()\n"
        "print(json.dumps({'event': 'progress', 'label': 'x', 'unit': 'tiles', 'done': 0, 'total': 9, "
        f"'temporary': [{str(held)!r}]}}), flush=True)\n"
        "time.sleep(60)\n"
    )
    given = {
        "INPUT": str(make_raster(texture(1, 30, 30))),
        "OUTPUT": str(tmp_path / "o.tif"),
        "COMMAND": f"{PYTHON} {deaf}",
    }
    runs = {"deaf": ("script:superresolveraster", given, 0.1)}
    told = in_qgis(home, "several", raster=given["INPUT"], runs=runs)["deaf"]
    assert 0.5 < told["seconds"] < soon(1)
    assert not held.exists()


@pytest.mark.slow
def test_the_result_has_the_name_the_look_and_the_crs_of_the_input(home, make_raster, tmp_path):
    source = make_raster(texture(3, 30, 30))
    common = {"MODEL": "bicubic"}
    told = in_qgis(
        home,
        "styled",
        raster=str(source),
        parameters=[
            {**common, "OUTPUT": str(tmp_path / "o.tif")},
            {**common, "OUTPUT": "TEMPORARY_OUTPUT", "SCALE": 3},
            {**common, "OUTPUT": str(tmp_path / "bands.tif"), "BANDS": [3, 1]},
            {**common, "OUTPUT": str(tmp_path / "others.tif"), "BANDS": [3, 2]},
            {"MODEL_FILE": str(cards.shipped_path("span", 4)), "OUTPUT": str(tmp_path / "own.tif")},
        ],
    )
    looks = {"type": "singlebandpseudocolor", "low": 7, "crs": "EPSG:3857", "exists": True}
    assert told[0] == {**looks, "name": "styled x2", "width": 60, "band": 1}
    assert told[1] == {**looks, "name": "styled x3", "width": 90, "band": 1}
    # The band that is shown has another number in the result, or is not in it.
    assert told[2] == {**looks, "name": "styled x2", "width": 60, "band": 2}
    assert told[3]["type"] != "singlebandpseudocolor"
    assert (told[3]["name"], told[3]["crs"]) == ("styled x2", "EPSG:3857")
    assert told[4] == {**looks, "name": "styled x4", "width": 120, "band": 1}


@pytest.mark.slow
def test_it_is_a_step_of_a_model(home, make_raster, tmp_path):
    told = in_qgis(home, "modelled", raster=str(make_raster(texture(1, 30, 30))), output=str(tmp_path / "o.tif"))
    assert "error" not in told, told
    with rasterio.open(tmp_path / "o.tif") as made:
        assert made.shape == (60, 60)


@pytest.mark.slow
def test_a_training_set_is_counted(home, make_raster, tmp_path):
    source = make_raster(texture(3, 128, 128))
    given = {"INPUT": [str(source)], "OUTPUT": str(tmp_path / "out"), "TILE_SIZE": 32, "VALIDATION": 0}
    told = in_qgis(
        home, "several", raster=str(source), runs={"set": ("script:buildsuperresolutiontrainingset", given, None)}
    )["set"]
    assert told["results"] == {
        "OUTPUT": str(tmp_path / "out"), "TILES": 16, "TRAINING_TILES": 16, "VALIDATION_TILES": 0
    }  # fmt: skip
    assert (tmp_path / "out" / "x2" / "Training").is_dir()


def test_polygons_in_memory_are_handed_on_as_a_file_in_their_crs(home, make_raster, tmp_path):
    fake = tmp_path / "fake.py"
    fake.write_text(
        "import json, shutil, sys\n"
        f"shutil.copy(sys.argv[sys.argv.index('--aoi') + 1], {str(tmp_path / 'area.gpkg')!r})\n"
        "print(json.dumps({'event': 'result', 'tiles': {'Training': 3, 'Validation': 1}}))\n"
    )
    parameters = {"OUTPUT": str(tmp_path / "out"), "COMMAND": f"{PYTHON} {fake}"}
    wkt = ["POLYGON Z((15 45 1, 15 45.2 1, 15.2 45.2 1, 15 45 1))", "CURVEPOLYGON(CIRCULARSTRING(0 0, 2 0, 0 0))"]
    told = in_qgis(home, "area_run", raster=str(make_raster()), wkt=wkt, crs="EPSG:4326", parameters=parameters)
    assert told.get("results", told)["TILES"] == 4
    written = sqlite3.connect(tmp_path / "area.gpkg")
    [(table, crs)] = written.execute("select table_name, srs_id from gpkg_contents").fetchall()
    assert crs == 4326
    assert written.execute(f'select count(*) from "{table}"').fetchall() == [(2,)]
    assert written.execute("select geometry_type_name, z from gpkg_geometry_columns").fetchall() == [
        ("MULTIPOLYGON", 0)
    ]


@pytest.mark.slow
def test_polygons_in_memory_and_another_crs_choose_the_tiles(home, make_raster, tmp_path):
    from rasterio.warp import transform

    source = make_raster(texture(3, 128, 128))
    # The left half, a little wider, of a scene in UTM, given in degrees.
    xs, ys = [399_990, 400_645, 400_645, 399_990], [5_000_010, 5_000_010, 4_998_700, 4_998_700]
    lon, lat = transform("EPSG:32633", "EPSG:4326", xs, ys)
    corners = ", ".join(f"{x} {y}" for x, y in zip([*lon, lon[0]], [*lat, lat[0]], strict=True))
    parameters = {"OUTPUT": str(tmp_path / "out"), "TILE_SIZE": 32, "VALIDATION": 0}
    told = in_qgis(
        home, "area_run", raster=str(source), wkt=[f"POLYGON(({corners}))"], crs="EPSG:4326", parameters=parameters
    )
    assert told.get("results", told)["TILES"] == 8


@pytest.mark.slow
def test_a_burst_gives_its_images_and_report(home, tmp_path):
    photos = save_burst(tmp_path / "in", frames(moves(3)), ending=".jpg")
    given = {"INPUT": str(photos), "OUTPUT": str(tmp_path / "out"), "METHOD": ["mean", "sigma"], "ALIGN": "none"}
    told = in_qgis(
        home, "several", raster=str(DATA / "neon_osbs_rgb.tif"), runs={"burst": ("script:stackphotoburst", given, None)}
    )
    results = told["burst"]["results"]
    assert results["KEPT"] == 3
    assert {name for name in results if name.isupper()} == {"OUTPUT", "MEAN", "SIGMA", "REPORT", "KEPT"}
    assert all(Path(results[name]).is_file() for name in ("MEAN", "SIGMA", "REPORT"))
