"""Work on the workers of Dask clusters, which die, go away, are of another geosr, and see other files."""

import json
import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
import rasterio
from click.testing import CliRunner
from rasterio.io import MemoryFile

from geosr import pools
from geosr.cli.main import main
from geosr.errors import ClusterError, ModelError, RasterError
from geosr.grid import Grid
from geosr.parts import leftovers
from geosr.rasters.source import check_readable
from geosr.superresolve.job import encoded_parts, super_resolve
from geosr.superresolve.options import Options
from geosr.superresolve.plan import make_plan
from geosr.superresolve.upscalers import load_upscaler
from tests.clusters import PAGE, Cluster, command, ended, free_port, wait_until
from tests.conftest import one_line_error, soon, texture

pytest.importorskip("distributed", reason="pip install 'geosr[dask]'")

BICUBIC = Options(model="bicubic", tile=32, batch=1)
TILES = ("-m", "bicubic", "--tile", "32", "--batch", "1")
CHANGED = """
import os, time
from pathlib import Path
import geosr.{module} as job
# Dask runs this twice.
before = getattr(job.{name}, "before", job.{name})
def {name}(*args, **kwargs):
    {code}
    return before(*args, **kwargs)
{name}.__module__, {name}.__qualname__, {name}.before = before.__module__, before.__qualname__, before
job.{name} = {name}
"""
SLOW = CHANGED.format(module="superresolve.job", name="encoded_parts", code="time.sleep(0.3)")
SLOW_PARTS = CHANGED.format(module="dataset.job", name="encoded_part", code="time.sleep(0.3)")
DEADLY = CHANGED.format(
    module="superresolve.job",
    name="encoded_parts",
    code="""if args[0][0].core.toranges() == ((32, 64), (32, 64)):
        time.sleep(0.3)  # until others wait behind it
        os._exit(9)""",
)
FLAKY = CHANGED.format(
    module="superresolve.job",
    name="encoded_parts",
    code="""if args[0][0].index == 2:
        tries = Path("tries")
        tries.write_text((tries.read_text() if tries.exists() else "") + ".")
        if len(tries.read_text()) < 3: raise OSError("storage is away")""",
)
COUNTED = CHANGED.format(
    module="models.runtimes", name="load", code="""with Path("loads").open("a") as file: file.write("x")"""
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two workers, of which nothing bad is wanted."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made.start(2)


@pytest.fixture
def own(tmp_path):
    """A cluster of the test's own, not started."""
    (tmp_path / "own").mkdir()
    with Cluster(tmp_path / "own") as made:
        yield made


@pytest.fixture
def scene(make_raster):
    return make_raster(texture(3, 150, 130))


def parts(output):
    return sorted(leftovers(output)[0].glob("*.part"))


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("model", ["bicubic", "span"])
@pytest.mark.parametrize("resume", [True, False])
def test_a_cluster_makes_the_same_bytes_as_one_machine(cluster, scene, tmp_path, model, resume):
    options = Options(model=model, tile=48)
    super_resolve(scene, tmp_path / "one.tif", options, resume=resume)
    with pools.dask(cluster.address) as pool:
        super_resolve(scene, tmp_path / "many.tif", options, resume=resume, pool=pool)
    assert (tmp_path / "many.tif").read_bytes() == (tmp_path / "one.tif").read_bytes()


@pytest.mark.slow
def test_processes_of_this_machine_make_the_same_bytes_and_share_its_cores(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    with pools.dask("local", workers=2) as pool:
        super_resolve(scene, tmp_path / "many.tif", BICUBIC, pool=pool)
        names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
        got = {name: pool.executor.submit(os.getenv, name).result() for name in names}
    assert got == {"TF_NUM_INTRAOP_THREADS": "3", "TF_NUM_INTEROP_THREADS": "1"}
    super_resolve(scene, tmp_path / "one.tif", BICUBIC)
    assert (tmp_path / "many.tif").read_bytes() == (tmp_path / "one.tif").read_bytes()


@pytest.mark.slow
def test_a_worker_killed_in_mid_run_has_its_tiles_done_again(own, scene, tmp_path):
    own.start(2, code=SLOW)
    output = tmp_path / "many.tif"
    run = command("superresolve", scene, output, *TILES, "--dask", own.address)
    wait_until(lambda: len(parts(output)) >= 3, run)
    own.workers[0].send_signal(signal.SIGKILL)
    left = len(Grid(130, 150, 32)) - len(parts(output))
    assert left > 5
    done = ended(run)
    assert done.returncode == 0, done.stderr
    super_resolve(scene, tmp_path / "one.tif", BICUBIC)
    assert output.read_bytes() == (tmp_path / "one.tif").read_bytes()
    assert not leftovers(output)[0].exists()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_tile_that_kills_its_workers_is_named_and_the_rest_is_done(own, scene, tmp_path, workers):
    # With one worker, what waits there for its turn is given up together with the tile that killed it.
    own.start_scheduler(DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=str(workers - 1))
    for _ in range(workers):
        own.start_worker(DEADLY, nanny=True)
    own.wait_for(workers)
    output = tmp_path / "o.tif"
    done = ended(command("superresolve", scene, output, *TILES, "--dask", own.address))
    told = one_line_error(done)
    assert "the tile of 32 x 32 pixels at column 32, row 32 could not be made" in told
    assert "died" in told
    assert not output.exists()
    missing = len(Grid(130, 150, 32)) - len(parts(output))
    assert missing == 1
    again = ended(command("superresolve", scene, output, *TILES))
    assert again.returncode == 0, again.stderr
    assert f"{len(Grid(130, 150, 32)) - 1} of" in again.stderr
    super_resolve(scene, tmp_path / "one.tif", BICUBIC)
    assert output.read_bytes() == (tmp_path / "one.tif").read_bytes()


@pytest.mark.slow
def test_a_tile_whose_storage_was_away_is_done_again(own, scene, tmp_path):
    own.start(1, code=FLAKY)
    with pools.dask(own.address) as pool:
        super_resolve(scene, tmp_path / "o.tif", BICUBIC, pool=pool)
    assert (own.folder / "tries").read_text() == "..."


@pytest.mark.slow
def test_a_scheduler_that_goes_is_told_in_one_line_and_the_same_command_goes_on(own, scene, tmp_path):
    own.start(2, code=SLOW)
    output = tmp_path / "o.tif"
    run = command("superresolve", scene, output, *TILES, "--dask", own.address)
    wait_until(lambda: len(parts(output)) >= 3, run)
    own.scheduler.send_signal(signal.SIGKILL)
    start = time.monotonic()
    assert "scheduler" in one_line_error(ended(run))
    assert time.monotonic() - start < soon(15)
    kept = len(parts(output))
    assert kept >= 3
    for worker in own.workers:
        worker.kill()
    own.start(2)
    again = ended(command("superresolve", scene, output, *TILES, "--dask", own.address))
    assert again.returncode == 0, again.stderr
    assert f"{kept} of 25 tiles" in again.stderr
    super_resolve(scene, tmp_path / "one.tif", BICUBIC)
    assert output.read_bytes() == (tmp_path / "one.tif").read_bytes()


def alive(group):
    """Whether a process of the group is there, beside those that have ended."""
    done = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True)
    return any(line.split()[0] == str(group) and "Z" not in line for line in done.stdout.splitlines())


def processing(address):
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        return sum(map(len, client.processing().values()))


@pytest.mark.slow
@pytest.mark.parametrize("dask", ["local", "address"])
@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to a child on Windows")
def test_ctrl_c_cancels_what_is_under_way_and_keeps_the_parts(own, make_raster, tmp_path, dask):
    scene, output = make_raster(texture(3, 700, 700)), tmp_path / "o.tif"
    if dask == "address":
        own.start(2, code=SLOW)
    args = ("superresolve", scene, output, *TILES, "--dask", own.address if dask == "address" else "local", "-j", "2")
    # A terminal sends Ctrl-C to all processes of the command.
    run = command(*map(str, args), start_new_session=True)
    wait_until(lambda: len(parts(output)) >= 3, run)
    os.killpg(run.pid, signal.SIGINT)
    done = ended(run)
    assert done.returncode == 130, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "Interrupted; nothing is half-written."
    assert "Traceback" not in done.stderr
    assert len(parts(output)) >= 3
    assert not output.exists()
    if dask == "address":
        wait_until(lambda: not processing(own.address))
    wait_until(lambda: not alive(run.pid), seconds=20)


@pytest.mark.parametrize("verbose", [0, 1])
def test_what_dask_leaves_in_its_loop_is_not_told_after_the_last_line(verbose):
    code = (
        "import asyncio, logging\n"
        "from geosr.cli.options import set_verbosity\n"
        f"logging.basicConfig(); set_verbosity({verbose}, 0)\n"
        "asyncio.new_event_loop().create_future().set_exception(TimeoutError('Timeout'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ("TimeoutError: Timeout" in done.stderr) == bool(verbose)


@pytest.mark.slow
def test_an_input_that_a_worker_cannot_reach_is_said_before_the_work(cluster, scene, tmp_path):
    with MemoryFile(scene.read_bytes(), ext=".tif") as here:
        for args in (
            ("superresolve", here.name, tmp_path / "o.tif", "-m", "bicubic"),
            ("dataset", here.name, tmp_path / "set", "--size", "32", "--split", "block"),
        ):
            done = CliRunner().invoke(main, [*map(str, args), "--dask", cluster.address])
            last = done.output.strip().splitlines()[-1]
            assert done.exit_code == 1, done.output
            assert last.startswith("Error: worker tcp://127.0.0.1:")
            assert here.name in last
    assert [path.name for path in tmp_path.iterdir()] == [scene.name]


@pytest.mark.slow
def test_a_model_of_one_s_own_is_shipped_by_its_path_and_is_the_same(cluster, scene, tmp_path, random_idn, monkeypatch):
    path = shutil.copy(random_idn(2, 1), tmp_path / "own.keras")
    monkeypatch.chdir(tmp_path)
    network = load_upscaler("own.keras")
    assert os.fspath(path).encode() in pickle.dumps(network)
    shutil.copy(random_idn(2, 3), path)
    with pytest.raises(ModelError, match="another model here"):
        pickle.loads(pickle.dumps(network))
    with pools.dask(cluster.address) as pool, pytest.raises(ClusterError, match="another model here"):
        pool.executor.submit(network)
    path.unlink()
    with pools.dask(cluster.address) as pool, pytest.raises(ClusterError, match=r"no model '.*own\.keras'"):
        pool.executor.submit(network)


def test_another_file_of_the_same_name_is_refused(scene):
    data = pickle.dumps(make_plan(scene, BICUBIC).source)
    with rasterio.open(scene, "r+") as out:
        out.update_tags(other="x" * 500)
    with pytest.raises(RasterError, match="another file here"):
        pickle.loads(data)


def test_a_shipped_model_is_shipped_by_its_name():
    network = load_upscaler("span")
    assert b"span_x2.keras" in pickle.dumps(network)
    assert os.fspath(network.path.parent).encode() not in pickle.dumps(network)
    assert pickle.loads(pickle.dumps(network)).identity == network.identity


@pytest.mark.parametrize("side", [100, 100_000])
def test_what_is_sent_is_small_whatever_the_scene(tmp_path, side):
    path = tmp_path / "scene.tif"
    made = {"driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(path, "w", **made, sparse_ok=True, tiled=True, compress="deflate", bigtiff="yes") as out:
        out.update_tags(**{f"tag{i}": "value" for i in range(20)})
    job = make_plan(path, Options(range=(0, 255)))
    assert len(pickle.dumps(partial(encoded_parts, job=job))) < 6000
    assert len(pickle.dumps([job.tiles[0]])) < 500


@pytest.mark.slow
def test_a_network_is_loaded_once_a_worker(own, scene, tmp_path):
    own.start(2, code=COUNTED)
    with pools.dask(own.address) as pool:
        super_resolve(scene, tmp_path / "o.tif", Options(tile=32), pool=pool)
    assert (own.folder / "loads").read_text() in ("x", "xx")


def test_a_missing_scheduler_and_a_missing_dask_are_one_line(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "ANSWER", 1)
    address = f"tcp://127.0.0.1:{free_port()}"
    done = CliRunner().invoke(main, ["superresolve", str(scene), str(tmp_path / "o.tif"), *TILES, "--dask", address])
    assert done.exit_code == 1
    assert done.output.strip().startswith(f"Error: no Dask scheduler answers at '{address}': ")
    assert len(done.output.strip().splitlines()) == 1
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install 'geosr\[dask\]'"), pools.dask(address):
        pass


@pytest.mark.parametrize("address", ["localhost:8786", "tcp://host", "tcp://host:port", "", "threads", "http://a:1"])
def test_an_address_that_is_none_is_a_misuse(address, tmp_path):
    for name in ("superresolve", "dataset"):
        done = CliRunner().invoke(main, [name, "a.tif", str(tmp_path / "b"), "--dask", address])
        assert done.exit_code == 2, done.output
        message = "must be local or a scheduler's, as tcp://10.0.0.1:8786" if address else "an argument is empty"
        assert message in done.output


@pytest.mark.slow
def test_a_worker_with_another_geosr_or_none_and_a_cluster_without_workers_are_said_before_the_work(own, monkeypatch):
    monkeypatch.setattr(pools, "FIRST_WORKER", 1)
    own.start_scheduler()
    with pytest.raises(ClusterError, match="has no workers"), pools.dask(own.address):
        pass
    for name, text, told in (
        ("old", "__version__ = '0.0.9'", r"has geosr 0\.0\.9, not "),
        ("none", "raise ModuleNotFoundError('no geosr')", "has no geosr"),
    ):
        (own.folder / name / "geosr").mkdir(parents=True)
        (own.folder / name / "geosr" / "__init__.py").write_text(text)
        worker = own.start_worker(path=[own.folder / name])
        own.wait_for(1)
        with pytest.raises(ClusterError, match=told), pools.dask(own.address):
            pass
        worker.kill()
        worker.wait()


@pytest.mark.slow
def test_whole_rasters_of_a_folder_are_made_by_workers(cluster, make_raster, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for i in range(4):
        make_raster(texture(2, 90, 80 + i, seed=i), f"in/s{i}.tif", nodata=3)
    (tmp_path / "in" / "broken.tif").write_bytes(b"II*\0nothing")
    monkeypatch.chdir(tmp_path)
    args = ("superresolve", "in", "one", *TILES)
    alone = ended(command(*args))
    done = ended(command(*args[:2], "many", *args[3:], "--dask", cluster.address, "--stac", "--json"))
    for one in (alone, done):
        assert one.returncode == 1
        assert [line for line in one.stderr.splitlines() if line.startswith("Error: ")][1:] == [
            "Error: 1 of 5 rasters failed"
        ]
        assert "Traceback" not in one.stderr
    assert [line for line in alone.stderr.splitlines() if "broken.tif" in line]
    assert [line for line in done.stderr.splitlines() if "broken.tif" in line]
    assert "0 of 5 rasters" in done.stderr
    assert "5 of 5 rasters" in done.stderr
    assert [json.loads(line)["model"] for line in done.stdout.splitlines()] == ["bicubic x2"] * 4
    made = content(tmp_path / "many")
    assert {name: data for name, data in made.items() if name.suffix == ".tif"} == content(tmp_path / "one")
    assert len([name for name in made if name.suffix == ".json"]) == 4
    again = ended(command(*args[:2], "many", *args[3:], "--dask", cluster.address))
    assert again.stderr.count("done already") == 4
    (tmp_path / "in" / "broken.tif").unlink()
    assert ended(command(*args[:2], "many", *args[3:], "--dask", cluster.address)).returncode == 0


@pytest.mark.slow
def test_rasters_that_no_one_waits_for_stop_and_a_killed_worker_s_are_made_by_another(own, make_raster, tmp_path):
    own.start(2, code=SLOW)
    (tmp_path / "in").mkdir()
    for i in range(2):
        make_raster(texture(1, 150, 150, seed=i), f"in/s{i}.tif")
    args = ("superresolve", tmp_path / "in", tmp_path / "out", *TILES, "--dask", own.address)
    run = command(*args)
    wait_until(lambda: all(len(parts(tmp_path / "out" / f"s{i}.tif")) >= 2 for i in range(2)), run)
    run.send_signal(signal.SIGINT)
    done = ended(run)
    assert done.returncode == 130, done.stderr
    assert not list((tmp_path / "out").glob("*.tif"))
    wait_until(lambda: not processing(own.address))
    before = [len(parts(tmp_path / "out" / f"s{i}.tif")) for i in range(2)]
    again = command(*args)
    wait_until(lambda: all(len(parts(tmp_path / "out" / f"s{i}.tif")) > before[i] for i in range(2)), again)
    own.workers[0].kill()
    done = ended(again)
    assert done.returncode == 0, done.stderr
    super_resolve(tmp_path / "in" / "s1.tif", tmp_path / "one.tif", BICUBIC)
    assert (tmp_path / "out" / "s1.tif").read_bytes() == (tmp_path / "one.tif").read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["s0.tif", "s1.tif"]


@pytest.mark.slow
def test_an_output_folder_that_workers_do_not_share_is_said(cluster, tmp_path):
    with pools.dask(cluster.address) as pool:
        pools.check_reach(pool, check_readable, [], tmp_path)
        with pytest.raises(ClusterError, match="must share it"):
            pool.executor.on_all(pools.unreachable, check_readable, [], tmp_path / "not here" / "probe")


@pytest.mark.slow
def test_a_training_set_of_a_cluster_is_that_of_one_machine(own, make_raster, tmp_path):
    own.start(2, code=SLOW_PARTS)
    for i in range(3):
        make_raster(texture(3, 260, 240, seed=i), f"s{i}.tif", crs=None)
    scenes = [tmp_path / f"s{i}.tif" for i in range(3)]
    args = ("--size", "16", "--degradation", "mtf+noise")
    run = command("dataset", *scenes, tmp_path / "many", *args, "--dask", own.address)
    wait_until(lambda: len(parts(tmp_path / "many" / "x2")) >= 2, run)
    own.workers[1].send_signal(signal.SIGKILL)
    done = ended(run)
    assert done.returncode == 0, done.stderr
    assert ended(command("dataset", *scenes, tmp_path / "one", *args)).returncode == 0
    assert content(tmp_path / "many") == content(tmp_path / "one")


@pytest.mark.slow
def test_the_page_s_commands_run(cluster, make_raster, tmp_path):
    (tmp_path / "scenes").mkdir()
    for name in ("scene.tif", "scenes/a.tif", "scenes/b.tif"):
        make_raster(texture(3, 200, 200, seed=len(name) + ord(name[-5])), name, crs=None)
    lines = re.findall(r"^geosr .*8786$", PAGE.read_text(), re.M)
    assert len(lines) == 3
    for told in lines:
        line = told.replace("tcp://127.0.0.1:8786", cluster.address)
        words = shlex.split(line.replace("scenes/*.tif", "scenes/a.tif scenes/b.tif"))
        done = ended(command(*words[1:], cwd=tmp_path))
        assert done.returncode == 0, done.stderr
    for made in ("scene_x2.tif", "scenes_x2/a.tif", "scenes_x2/b.tif", "out/x2/Training"):
        assert (tmp_path / made).exists()


@pytest.fixture
def hosts():
    """Two network namespaces joined by a cable, each with its address: as good as two machines."""
    names = [f"geosr{os.getpid()}{end}" for end in "ab"]
    steps = [
        *(f"ip netns add {name}" for name in names),
        f"ip link add {names[0][-12:]} netns {names[0]} type veth peer name {names[1][-12:]} netns {names[1]}",
        *(f"ip -n {name} addr add 10.213.77.{i}/24 dev {name[-12:]}" for i, name in enumerate(names, 1)),
        *(f"ip -n {name} link set {link} up" for name in names for link in (name[-12:], "lo")),
    ]
    try:
        for step in steps:
            try:
                done = subprocess.run(step.split(), capture_output=True, text=True)
            except FileNotFoundError:
                pytest.skip("needs ip: sudo apt-get install iproute2")
            if done.returncode:
                pytest.skip(f"needs network namespaces, which root may make: {step}: {done.stderr.strip()}")
        yield {name: f"10.213.77.{i}" for i, name in enumerate(names, 1)}
    finally:
        for name in names if shutil.which("ip") else ():
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.mark.slow
def test_two_hosts_make_the_same_bytes_and_what_they_do_not_share_is_said(hosts, make_raster, tmp_path):
    one, other = (["ip", "netns", "exec", name] for name in hosts)
    (tmp_path / "hidden").mkdir()
    (tmp_path / "own").mkdir()
    scene, hidden = make_raster(texture(3, 150, 130)), make_raster(texture(3, 50, 50), "hidden/scene.tif")
    # A folder of its own under the same name, as on another machine; namespaces have mounts of their own.
    apart = [*other, "sh", "-c", f'mount -t tmpfs none {tmp_path / "hidden"} && exec "$@"', "sh"]
    with Cluster(tmp_path / "own", host=next(iter(hosts.values()))) as cluster:
        cluster.start_scheduler(within=one)
        cluster.start_worker(within=other)
        cluster.start_worker(SLOW, within=apart)

        def geosr(*args):
            return command(*args, *TILES, "--dask", cluster.address, within=one)

        wait_until(lambda: (cluster.folder / "cluster.log").read_text().count("Register worker") == 2)
        run = geosr("superresolve", scene, tmp_path / "many.tif")
        wait_until(lambda: len(parts(tmp_path / "many.tif")) >= 3, run)
        assert ended(run).returncode == 0
        told = one_line_error(ended(geosr("superresolve", hidden, tmp_path / "o.tif")))
        assert f"Error: worker tcp://{list(hosts.values())[1]}:" in told
        assert os.fspath(hidden) in told
        (tmp_path / "in").mkdir()
        shutil.copy(scene, tmp_path / "in")
        told = one_line_error(ended(geosr("superresolve", tmp_path / "in", tmp_path / "hidden")))
        assert "all must share it" in told
        again = geosr("superresolve", scene, tmp_path / "again.tif")
        wait_until(lambda: len(parts(tmp_path / "again.tif")) >= 3, again)
        cluster.workers[1].kill()
        assert ended(again).returncode == 0
    super_resolve(scene, tmp_path / "one.tif", BICUBIC)
    for name in ("many.tif", "again.tif"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "one.tif").read_bytes()
