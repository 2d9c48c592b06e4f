"""The page of a comparison in real Chromium: dragged, zoomed, typed at and touched, read without colour or network."""

import json
import re
import shutil
from itertools import pairwise

import numpy as np
import pytest
import rasterio
from affine import Affine

import geosr
from geosr.quality import page
from geosr.quality.compare import compare_rasters
from tests.conftest import texture

webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
from selenium.webdriver import ActionChains, Keys  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="needs Chromium: sudo apt-get install chromium chromium-driver"
    ),
]
PHONE = {"width": 390, "height": 844, "pixelRatio": 2, "touch": True}

CONTRASTS = """
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (colour) => {
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const [r, g, b] = numbers(colour).map((v) => linear(v / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ratio = (one, other) => {
  const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
};
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const colour = getComputedStyle(node).backgroundColor, parts = numbers(colour);
    if (parts.length < 4 || parts[3] > 0) return colour;
  }
  return "rgb(255, 255, 255)";
};
const found = [];
for (const node of document.body.querySelectorAll("*")) {
  const style = getComputedStyle(node);
  const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  if (!own || /^(script|noscript|title)$/i.test(node.tagName) || node.closest(".overview")) continue;
  const ink = node instanceof SVGElement ? style.fill : style.color;
  found.push([node.tagName, node.textContent.trim().slice(0, 30), ratio(ink, behind(node))]);
}
for (const node of document.querySelectorAll("select, button, canvas, svg .curve, svg .axis")) {
  const style = getComputedStyle(node), line = node instanceof SVGElement ? style.stroke : style.borderTopColor;
  found.push(["line of " + node.tagName, "", ratio(line, behind(node.parentElement)) * 1.5]);
}
return found;
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A page of a dark, detailed input and a white result, with a hole, and what was compared."""
    folder = tmp_path_factory.mktemp("pages")
    low = texture(3, 260, 300, seed=2, low=10, high=120)
    low[:, 140:160, 200:230] = 0
    high = np.full((3, 520, 600), 250, "uint8")
    high[:, 280:320, 400:460] = 0
    truth = np.clip(texture(3, 520, 600, seed=9, low=10, high=120), 1, None)
    paths = []
    for name, array, size in (("low", low, 10), ("high", high, 5), ("truth", truth, 5)):
        paths.append(folder / f"{name}.tif")
        transform = Affine(size, 0, 400_000, 0, -size, 5_000_000)
        profile = {"count": 3, "dtype": "uint8", "crs": "EPSG:32633", "transform": transform, "nodata": 0}
        with rasterio.open(paths[-1], "w", driver="GTiff", height=array.shape[1], width=array.shape[2],
                           photometric="RGB", **profile) as out:  # fmt: skip
            out.write(array)
    told = compare_rasters(*paths[:2], truth=paths[2], windows=4)
    path = folder / "report.html"
    path.write_text(page.page(told))
    return path, told


@pytest.fixture
def browse(report):
    """A function that opens the page; at the end, nothing may have gone wrong in it or left the machine."""
    drivers = []

    def browse(path=report[0], *, phone=False, opened=True, **features):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars", "window-size=1200,1400"):
            options.add_argument(f"--{flag}")
        if phone:
            options.add_experimental_option("mobileEmulation", {"deviceMetrics": PHONE})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        drivers.append(driver)
        media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        driver.get(path.as_uri())
        ready(driver, 1)
        if opened:
            driver.execute_script("document.querySelectorAll('details').forEach((part) => part.open = true)")
            WebDriverWait(driver, 30).until(lambda d: max(colour(d, 0.5, "error")) > 0)
        return driver

    yield browse
    for driver in drivers:
        said = driver.get_log("browser")
        asked = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
        driver.quit()
        # Chromium's advice on reading pixels, which the tests do.
        assert not [entry for entry in said if entry["source"] != "rendering"]
        urls = [m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"]
        assert all(re.match("(file|data|chrome|about|blob):", url) for url in urls), urls


def ready(driver, turn):
    """Waits until what was asked for is drawn."""
    WebDriverWait(driver, 30).until(lambda d: int(d.execute_script("return document.body.dataset.ready || 0")) >= turn)


def colour(driver, share, canvas="view"):
    """Red, green and blue in the middle of the canvas, at this share of its width."""
    script = (
        "const c = document.getElementById(arguments[0]);"
        "const [x, y] = [Math.floor(arguments[1] * c.width), Math.floor(c.height * 0.3)];"
        "return [...c.getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3)"
    )
    return driver.execute_script(script, canvas, share)


def drawn(driver, canvas="view"):
    return driver.execute_script("return document.getElementById(arguments[0]).toDataURL()", canvas)


def test_the_divider_is_dragged(browse):
    driver = browse()
    view, split = driver.find_element(By.ID, "view"), driver.find_element(By.ID, "split")
    assert max(colour(driver, 0.25)) < 254
    assert colour(driver, 0.75) == [255, 255, 255]
    width = view.size["width"]
    ActionChains(driver).move_to_element(view).click_and_hold().move_by_offset(int(width * 0.4), 30).release().perform()
    assert int(split.get_attribute("value")) == pytest.approx(90, abs=1)
    assert max(colour(driver, 0.75)) < 254
    ActionChains(driver).move_to_element(view).move_by_offset(int(width * 0.4), 0).click_and_hold().move_by_offset(
        -int(width * 0.8), 0
    ).release().perform()
    assert colour(driver, 0.2) == [255, 255, 255]


def test_both_views_zoom_and_move_together(browse):
    driver = browse()
    view = driver.find_element(By.ID, "view")
    before = drawn(driver), drawn(driver, "error")
    driver.execute_script("window.scrollTo(0, 0)")
    ActionChains(driver).scroll_from_origin(ScrollOrigin.from_element(view), 0, -300).perform()
    zoomed = drawn(driver), drawn(driver, "error")
    assert all(one != other for one, other in zip(before, zoomed, strict=True))
    ActionChains(driver).move_to_element_with_offset(view, -150, 60).click_and_hold().move_by_offset(
        50, 20
    ).release().perform()
    moved = drawn(driver), drawn(driver, "error")
    assert all(one != other for one, other in zip(zoomed, moved, strict=True))
    driver.find_element(By.ID, "fit").click()
    assert (drawn(driver), drawn(driver, "error")) == before


def test_what_is_under_the_cursor_stays_there_when_it_is_zoomed(browse):
    driver = browse()
    view, at = driver.find_element(By.ID, "view"), driver.find_element(By.ID, "at")
    places = []
    for notches in (0, -300, -300):
        origin = ScrollOrigin.from_element(view, 40, 30)
        ActionChains(driver).scroll_from_origin(origin, 0, notches).perform()
        ActionChains(driver).move_to_element_with_offset(view, 40, 30).perform()
        places.append([float(x) for x in re.findall(r"EPSG:32633 ([\d.]+), ([\d.]+)", at.text)[0]])
    assert np.ptp(places, axis=0).max() < 5


def test_the_position_is_where_the_cursor_is(browse, report):
    driver = browse()
    view, at = driver.find_element(By.ID, "view"), driver.find_element(By.ID, "at")
    place = report[1].places[0]
    ActionChains(driver).move_to_element_with_offset(view, 0, 0).perform()
    x, y, lat, north, lon, east, col, row = re.match(
        r"EPSG:32633 ([\d.]+), ([\d.]+) · ([\d.]+)° (N) ([\d.]+)° (E) "
        r"· pixel (\d+), (\d+) of the input · off by .* DN$",
        at.text,
    ).groups()
    rows, cols = place.pictures[0].shape[1:]
    wanted = place.transform @ (cols / 2, rows / 2)
    assert (float(x), float(y)) == pytest.approx(wanted, abs=6)
    warp = pytest.importorskip("rasterio.warp")
    [[wanted_lon], [wanted_lat]] = warp.transform("EPSG:32633", "EPSG:4326", [float(x)], [float(y)])
    assert (float(lat), float(lon)) == pytest.approx((wanted_lat, wanted_lon), abs=1e-5)
    assert (north, east) == ("N", "E")
    assert abs(int(col) - (place.window.col_off + place.window.width / 2)) <= 1
    assert abs(int(row) - (place.window.row_off + place.window.height / 2)) <= 1


def test_an_error_that_is_unknown_is_no_error_of_zero(browse, make_raster, tmp_path):
    array = texture(1, 80, 80, low=1)
    array[:, 20:60, 20:60] = 0
    source = make_raster(array, nodata=0)
    geosr.super_resolve(source, tmp_path / "o.tif", geosr.Options(model="bicubic"))
    path = tmp_path / "holes.html"
    path.write_text(page.page(compare_rasters(source, tmp_path / "o.tif", windows=1)))
    driver = browse(path)
    view, at = driver.find_element(By.ID, "view"), driver.find_element(By.ID, "at")
    ActionChains(driver).move_to_element_with_offset(view, 0, 0).perform()
    assert at.text.endswith("error unknown")
    ActionChains(driver).move_to_element_with_offset(view, -view.size["height"] // 2 + 20, 0).perform()
    assert re.search(r"off by (at least )?[\d.]+ DN$", at.text)


def test_all_can_be_done_from_the_keyboard(browse):
    driver = browse()
    body = driver.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    order = []
    for _ in range(11):
        active = driver.switch_to.active_element
        order.append(active.get_attribute("id"))
        outline = driver.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline not in ("none", "")
        active.send_keys(Keys.TAB)
    wanted = ["left", "right", "bands", "place", "stretch", "gamma", "out", "fit", "in", "view", "split"]
    assert order[:11] == wanted
    assert driver.find_element(By.ID, "error").get_attribute("tabindex") == "0"
    view, split = driver.find_element(By.ID, "view"), driver.find_element(By.ID, "split")
    driver.execute_script("arguments[0].focus()", view)
    before = drawn(driver)
    view.send_keys(",,")
    assert split.get_attribute("value") == "40"
    view.send_keys("..")
    assert split.get_attribute("value") == "50"
    view.send_keys("+")
    assert drawn(driver) != before
    zoomed = drawn(driver)
    view.send_keys(Keys.ARROW_RIGHT)
    assert drawn(driver) != zoomed
    assert "EPSG:32633" in driver.find_element(By.ID, "at").text
    view.send_keys("0")
    assert drawn(driver) == before
    view.send_keys("]")
    ready(driver, 2)
    assert driver.find_element(By.ID, "place").get_attribute("value") == "1"
    assert "Place 2" in view.get_attribute("aria-label")
    view.send_keys("[b")
    ready(driver, 4)
    assert driver.find_element(By.ID, "bands").get_attribute("value") == "1"
    view.send_keys("s")
    ready(driver, 5)
    assert driver.find_element(By.ID, "stretch").get_attribute("value") == "1"
    split.send_keys(Keys.ARROW_LEFT)
    assert split.get_attribute("value") == "49"


def test_the_sides_are_chosen_and_what_is_not_valid_is_hatched(browse, report):
    driver = browse()
    Select(driver.find_element(By.ID, "right")).select_by_visible_text("truth")
    ready(driver, 2)
    assert max(colour(driver, 0.75)) <= 255
    assert "truth right of it" in driver.find_element(By.ID, "view").get_attribute("aria-label")
    holed = next(i for i, place in enumerate(report[1].places) if not place.valid.all())
    Select(driver.find_element(By.ID, "place")).select_by_index(holed)
    Select(driver.find_element(By.ID, "right")).select_by_visible_text("result")
    ready(driver, 4)
    pixels = driver.execute_script(
        "const c = document.getElementById('view');"
        "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    )
    shades = {tuple(pixels[i : i + 3]) for i in range(0, len(pixels), 4)}
    assert (160, 160, 160) in shades


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_lines_stand_out_as_wcag_asks(browse, scheme):
    driver = browse(prefers_color_scheme=scheme)
    found = driver.execute_script(CONTRASTS)
    assert len(found) > 60
    weak = [one for one in found if one[2] < 4.5]
    assert not weak


def test_nothing_is_told_by_colour_alone(browse):
    driver = browse()
    dashes = driver.execute_script(
        "return [...document.querySelectorAll('svg polyline')].map((line) => getComputedStyle(line).strokeDasharray)"
    )
    assert len(set(dashes)) == len(dashes) == 3
    bar = driver.execute_script(
        "return [...document.getElementById('ramp').getContext('2d').getImageData(0, 0, 256, 1).data]"
    )
    lights = np.array(bar).reshape(-1, 4)[:, :3] @ (0.2126, 0.7152, 0.0722)
    assert all(one <= other for one, other in pairwise(lights[::8]))
    driver.execute_cdp_cmd("Emulation.setEmulatedVisionDeficiency", {"type": "achromatopsia"})
    assert driver.find_element(By.ID, "most").text


def test_a_phone_shows_it_all_and_fingers_drag_and_pinch(browse):
    driver = browse(phone=True)
    assert driver.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    small = driver.execute_script(
        "return [...document.querySelectorAll('select, button, input, summary')].filter((one) => "
        "one.getBoundingClientRect().height < 44).map((one) => one.id || one.tagName)"
    )
    assert not small
    view = driver.find_element(By.ID, "view")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", view)
    box = driver.execute_script(
        "const b = arguments[0].getBoundingClientRect(); return [b.left, b.top, b.width, b.height]", view
    )
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2

    def touch(kind, *points):
        spots = [{"x": px, "y": py, "id": i} for i, (px, py) in enumerate(points)]
        driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": spots})

    touch("touchStart", (x, y))
    for step in range(1, 6):
        touch("touchMove", (x - 20 * step, y))
    touch("touchEnd")
    split = int(driver.find_element(By.ID, "split").get_attribute("value"))
    assert split == pytest.approx(100 * (x - 100 - box[0]) / box[2], abs=2)
    before = drawn(driver), drawn(driver, "error")
    touch("touchStart", (x + 30, y - 40), (x + 60, y + 40))
    for step in range(1, 6):
        touch("touchMove", (x + 30, y - 40 - 12 * step), (x + 60, y + 40 + 12 * step))
    touch("touchEnd")
    pinched = drawn(driver), drawn(driver, "error")
    assert all(one != other for one, other in zip(before, pinched, strict=True))
    touch("touchStart", (x + 60, y))
    for step in range(1, 6):
        touch("touchMove", (x + 60 + 8 * step, y + 6 * step))
    touch("touchEnd")
    assert drawn(driver) != pinched[0]


def test_without_scripts_the_figures_are_there(report):
    text = report[0].read_text()
    body = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert "<noscript>" in body
    assert "PSNR" in body
    assert body.count("<polyline") == 3


def test_error_map_and_spectra_are_folded_until_they_are_asked_for(browse):
    driver = browse(opened=False)
    assert not driver.find_element(By.ID, "error").is_displayed()
    driver.find_element(By.CSS_SELECTOR, "#errors summary").click()
    WebDriverWait(driver, 10).until(lambda d: max(colour(d, 0.5, "error")) > 0)
    assert not driver.find_element(By.CSS_SELECTOR, "#spectra svg").is_displayed()


ORDERS = {
    "Sentinel-2": ("B02", "B03", "B04", "B08"),
    "Landsat": ("B2 blue", "B3 green", "B4 red", "B5 nir"),
    "aerial": ("red", "green", "blue", "nir"),
    "infrared first": ("NIR", "Red", "Green", "Blue"),
    "of no name": (None, None, None, None),
}


@pytest.mark.parametrize("names", ORDERS.values(), ids=ORDERS)
def test_water_is_blue_whatever_the_order_of_the_bands(browse, make_raster, tmp_path, names):
    """A scene whose blue band is bright in the middle; without names, its first band is shown red."""
    blue = next((i for i, name in enumerate(names) if name and name.lower() in ("b02", "b2 blue", "blue")), 0)
    block = np.full((4, 96, 96), 1000, "uint16")
    block[blue, 24:72, 24:72] += texture(1, 48, 48, dtype="uint16", low=1500, high=2000)[0]
    source = make_raster(block)
    with rasterio.open(source, "r+") as file:
        file.descriptions = names
    geosr.super_resolve(source, tmp_path / "o.tif", geosr.Options(model="bicubic", alpha="band"))
    path = tmp_path / "colours.html"
    path.write_text(page.page(compare_rasters(source, tmp_path / "o.tif", windows=1)))
    driver = browse(path)
    expected = "true colour" if any(names) else "bands 1, 2, 3"
    assert Select(driver.find_element(By.ID, "bands")).first_selected_option.text == expected
    # Left and right of the divider: the input's own pixels, and the result.
    strong, weak = (2, 0) if any(names) else (0, 2)
    for share in (0.45, 0.55):
        pixel = colour(driver, share)
        assert pixel[strong] - pixel[weak] > 100, pixel


def test_gamma_brightens_and_the_whole_scene_can_be_stretched_alike(browse, make_raster, tmp_path):
    """A dark half and a bright one: a place in the dark one is stretched by itself, or with the scene."""
    block = texture(1, 128, 256, dtype="uint16", low=100, high=400)
    block[:, :, 128:] += 5000
    source = make_raster(block)
    geosr.super_resolve(source, tmp_path / "o.tif", geosr.Options(model="bicubic", window=(0, 0, 120, 128)))
    path = tmp_path / "dark.html"
    path.write_text(page.page(compare_rasters(source, tmp_path / "o.tif", windows=1)))
    driver = browse(path)

    def mean():
        return driver.execute_script(
            "const c = document.getElementById('view'), w = Math.floor(c.width * 0.1);"
            "const d = c.getContext('2d').getImageData(Math.floor(c.width * 0.52), 200, w, 300).data;"
            "return d.reduce((sum, v, i) => sum + (i % 4 < 3 ? v : 0), 0) / (0.75 * d.length)"
        )

    by_itself = mean()
    assert 60 < by_itself < 200
    driver.execute_script(
        "const g = document.getElementById('gamma'); g.value = '2'; g.dispatchEvent(new Event('input'))"
    )
    ready(driver, 2)
    assert mean() > by_itself + 15
    Select(driver.find_element(By.ID, "stretch")).select_by_visible_text("whole scene")
    ready(driver, 3)
    assert mean() < 0.6 * by_itself


def test_the_input_is_shown_by_its_own_pixels_and_a_bar_gives_the_scale(browse, report):
    """Pixels of the input are flat squares of 2 x 2 pixels of the result, between steps."""
    driver = browse()
    view = driver.find_element(By.ID, "view")
    for _ in range(5):
        driver.find_element(By.ID, "in").click()
    driver.execute_script("arguments[0].focus()", view)
    view.send_keys("....")
    row = driver.execute_script(
        "const c = document.getElementById('view');"
        "const [row, width] = [Math.floor(c.height * 0.3), Math.floor(c.width * 0.45)];"
        "return [...c.getContext('2d').getImageData(0, row, width, 1).data]"
    )
    red = np.array(row).reshape(-1, 4)[:, 0].astype(int)
    steps = np.flatnonzero(np.diff(red))
    place = report[1].places[0]
    size = min(view.size["width"] / place.pictures[0].shape[2], view.size["height"] / place.pictures[0].shape[1])
    assert len(steps) > 2
    counts = np.diff(steps) / (2 * size * 1.5**5)
    np.testing.assert_allclose(counts, np.rint(counts), atol=0.06)
    driver.find_element(By.ID, "fit").click()
    bar = driver.execute_script(
        "const c = document.getElementById('view');"
        "return [...c.getContext('2d').getImageData(0, c.height - 17, Math.floor(c.width / 2), 1).data]"
    )
    white = np.flatnonzero((np.array(bar).reshape(-1, 4)[:, :3] == 255).all(axis=1))
    metres = (np.ptp(white) + 1) / size * 5
    assert min(abs(metres / length - 1) for length in (50, 100, 200, 500, 1000)) < 0.02


def test_a_raster_without_a_place_and_one_of_one_band_are_shown(browse, make_raster, tmp_path):
    source = make_raster(texture(1, 70, 80), crs=None, transform=Affine.identity())
    geosr.super_resolve(source, tmp_path / "o.tif", geosr.Options(model="bicubic"))
    path = tmp_path / "plain.html"
    path.write_text(page.page(compare_rasters(source, tmp_path / "o.tif")))
    driver = browse(path)
    view = driver.find_element(By.ID, "view")
    ActionChains(driver).move_to_element(view).perform()
    assert driver.find_element(By.ID, "at").text.startswith("pixel ")
