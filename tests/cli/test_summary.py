"""The last line of a job."""

import logging
from pathlib import Path

from geosr.cli.summary import folder_line, raster_line, warning_count, warnings_text
from geosr.superresolve.folder import Result


def test_a_raster_is_told_with_its_size_and_its_pixels(tmp_path):
    output = tmp_path / "o.tif"
    output.write_bytes(bytes(2_500_000))
    result = Result("in.tif", str(output), size=(400, 300), pixel=(5.0, 2.5), unit="metres", seconds=75)
    assert raster_line(result) == f"{output}: 400 x 300 pixels of 5 x 2.5 metres, 2.5 MB, in 0:01:15"


def test_a_raster_placed_nowhere_has_no_pixel_size():
    result = Result("in.tif", "/vsimem/o.tif", size=(40, 30), seconds=0.54)
    assert raster_line(result) == "/vsimem/o.tif: 40 x 30 pixels, in 0.5 s"


def test_a_folder_is_told_by_what_became_of_its_rasters():
    results = [Result("a", "o/a"), Result("b", "o/b", done_before=True), Result("c", "o/c", error="broken")]
    assert folder_line(Path("o"), results, 2.0) == "o: 1 raster written, 1 done before, 1 failed, in 2.0 s"
    assert folder_line(Path("o"), [results[0]] * 2, 2.0) == "o: 2 rasters written, in 2.0 s"


def test_warnings_are_counted_while_the_job_lasts():
    log = logging.getLogger("geosr.anything")
    with warning_count() as warnings:
        log.warning("one")
        log.error("two")
        log.info("none")
    log.warning("too late")
    assert warnings_text(warnings.count) == "; 2 warnings"
    assert warnings_text(1) == "; 1 warning"
    assert warnings_text(0) == ""
