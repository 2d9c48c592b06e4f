"""Pages in one file: what they refer to, and how they look on a phone, dark and light."""

import base64
import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from geosr import pictures, webpage

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")


def page():
    image = pictures.png(np.full((40, 900, 3), 99, np.uint8))
    columns = [f"a long column {i}" for i in range(20)]
    body = (
        f"<h1>A page</h1>{webpage.facts({'Name': '<x>', 'Path': 'a/' * 200, 'Nothing': ''})}"
        f"<p>Words.</p>{webpage.picture(image, 'grey & wide')}{webpage.table(columns, [columns], label='figures')}"
        f"{webpage.folded('More', '<p>Hidden.</p>', name='more')}"
    )
    return webpage.document("A & B", body, script="document.body.dataset.ran = 1;", data={"text": "</script>"})


def test_a_page_refers_to_nothing_outside_and_its_words_are_never_marks():
    text = page()
    assert "<title>A &amp; B</title>" in text
    assert "&lt;x&gt;" in text
    assert "Nothing" not in text
    assert text.count("</script>") == 2
    assert all(value.startswith("data:") for value in re.findall(r'(?:src|href)="([^"]*)"', text))
    assert "script-src 'none'" in webpage.document("A", "")


def test_an_image_is_kept_without_loss():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    data = base64.b64decode(webpage.lossless(image).partition(",")[2])
    with Image.open(io.BytesIO(data)) as decoded:
        np.testing.assert_array_equal(np.asarray(decoded)[..., ::-1], image)


@pytest.mark.slow
@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium: sudo apt-get install chromium chromium-driver")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_a_page_without_scrolling_sideways(tmp_path, scheme):
    webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
    from selenium.webdriver.chrome.service import Service

    (tmp_path / "page.html").write_text(page())
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("headless=new", "no-sandbox", "disable-gpu"):
        options.add_argument(f"--{flag}")
    options.add_experimental_option(
        "mobileEmulation", {"deviceMetrics": {"width": 390, "height": 844, "pixelRatio": 2}}
    )
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        driver.get((tmp_path / "page.html").as_uri())
        assert driver.execute_script("return document.body.dataset.ran") == "1"
        assert driver.execute_script("return innerWidth") == 390
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
        back = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", back))) > 600) == (scheme == "light")
    finally:
        driver.quit()
