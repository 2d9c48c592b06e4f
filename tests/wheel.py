"""Installs a wheel of geosr in an empty environment elsewhere, and runs from it what people run first: `make dist`.

With --borrow the dependencies are those of this Python, and only the wheel itself is installed: seconds, not minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

SCENE = Path(__file__).parents[1] / "data" / "landsat8_great_salt_lake.tif"
LIMIT = 12_000_000
"""Bytes that a wheel may have."""


def run(*words, cwd):
    # Nothing of this checkout or of the environment that runs it must be found.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(list(map(str, words)), cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
    return done.stdout


def check(wheel, folder, *, borrow):
    """Install the wheel below `folder` and run commands there."""
    if wheel.stat().st_size > LIMIT:
        sys.exit(f"{wheel.name} has {wheel.stat().st_size / 1e6:.1f} MB; the limit is {LIMIT / 1e6:.0f}")
    venv.create(folder / "env", with_pip=True)
    scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    run(scripts / "python", "-m", "pip", "install", "-q", *(["--no-deps"] if borrow else []), wheel, cwd=folder)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run(scripts / "python", "-I", "-c", code, cwd=folder).strip())
    if borrow:
        (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run(scripts / "python", "-I", "-c", "import geosr; print(geosr.__file__)", cwd=folder).strip()
    if packages not in Path(where).parents:
        sys.exit(f"geosr was imported from {where}, not from the wheel")
    geosr = scripts / "geosr"
    output = folder / "x2.tif"
    run(geosr, "superresolve", SCENE, output, "--window", "0,0,64,64", "-q", cwd=folder)
    run(geosr, "verify", SCENE, output, "--windows", "2", cwd=folder)
    models = json.loads(run(geosr, "models", "--json", cwd=folder))
    run(geosr, "compare", SCENE, output, "-o", "report.html", "--windows", "1", cwd=folder)
    run(geosr, "qgis", "install", "--scripts-dir", folder / "scripts", cwd=folder)
    run(geosr, "qgis", "status", "--scripts-dir", folder / "scripts", cwd=folder)
    run(geosr, "qgis", "plugin", folder / "geosr.zip", cwd=folder)
    for script in (folder / "scripts").glob("*.py"):
        compile(script.read_text(), script.name, "exec")
    with zipfile.ZipFile(folder / "geosr.zip") as archive:
        for name in archive.namelist():
            if name.endswith(".py"):
                compile(archive.read(name), name, "exec")
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, {len(models)} models, runs from {packages}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--borrow", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        check(options.wheel.absolute(), Path(temporary), borrow=options.borrow)
