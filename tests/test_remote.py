"""Nothing is fetched where the user refuses it: a server of our own counts what is asked of it."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import rasterio.shutil

from tests.conftest import texture

WMS = "<GDAL_WMS><Service name='TMS'><ServerUrl>{url}/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service><DataWindow>\
<UpperLeftX>0</UpperLeftX><UpperLeftY>0</UpperLeftY><LowerRightX>1</LowerRightX><LowerRightY>1</LowerRightY>\
<TileLevel>1</TileLevel></DataWindow><BandsCount>1</BandsCount></GDAL_WMS>"


@pytest.fixture
def server():
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{service.server_port}", asked
        service.shutdown()


def source(kind, url, make_raster, tmp_path):
    if kind == "vrt":
        scene, vrt = make_raster(texture(1, 40, 40)), tmp_path / "scene.vrt"
        rasterio.shutil.copy(scene, vrt, driver="VRT")
        text = vrt.read_text().replace(scene.name, f"/vsicurl/{url}/scene.tif").replace('ToVRT="1"', 'ToVRT="0"')
        vrt.write_text(text)
        return vrt
    if kind == "wms":
        (tmp_path / "wms.xml").write_text(WMS.format(url=url))
        return tmp_path / "wms.xml"
    return f"{url}/scene.tif" if kind == "url" else f"/vsicurl/{url}/scene.tif"


@pytest.mark.parametrize("kind", ["vrt", "wms", "url", "vsicurl"])
def test_what_would_be_fetched_is_refused(server, make_raster, tmp_path, kind):
    url, asked = server
    name = source(kind, url, make_raster, tmp_path)
    for words in (["info", name], ["superresolve", "-m", "bicubic", name, tmp_path / "out.tif"]):
        command = [sys.executable, "-m", "geosr", *map(str, words)]
        refused = subprocess.run([*command, "--no-remote"], capture_output=True, text=True, check=False)
        assert refused.returncode == 1
        assert len(refused.stderr.splitlines()) == 1, refused.stderr
        assert not asked
        if kind in ("url", "vsicurl"):
            assert "would be fetched from the network, which --no-remote refuses" in refused.stderr
        subprocess.run(command, capture_output=True, check=False)
        assert asked, "the server is asked where it is allowed"
        asked.clear()


def test_files_are_read_as_ever(make_raster):
    scene = make_raster(texture(1, 40, 40))
    command = [sys.executable, "-m", "geosr", "info", str(scene), "--no-remote"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
