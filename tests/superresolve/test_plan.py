import time
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from geosr.errors import OptionError, OutputError, RasterError
from geosr.grid import Window
from geosr.models.computing import Computing
from geosr.parts import Parts
from geosr.rasters.resample import enlarge
from geosr.superresolve.estimate import estimate_job
from geosr.superresolve.job import super_resolve, write
from geosr.superresolve.options import Options
from geosr.superresolve.plan import make_plan
from tests.conftest import texture
from tests.superresolve.helpers import BICUBIC, holes, result


def test_bands_are_chosen_in_order(make_raster, tmp_path):
    array = texture(4, 30, 30)
    with rasterio.open(result(make_raster(array), tmp_path, replace(BICUBIC, bands=(4, 2)))) as out:
        assert (out.read() == np.clip(np.rint(enlarge(array[[3, 1]], 2)), 0, 255)).all()


def test_creation_options_override(make_raster, tmp_path):
    with rasterio.open(result(make_raster(), tmp_path, replace(BICUBIC, creation={"COMPRESS": "LZW"}))) as out:
        assert out.compression.value == "LZW"


def test_a_network_of_three_bands_takes_exactly_three(make_raster, random_idn, tmp_path):
    options = Options(model=str(random_idn(2, 3)))
    with pytest.raises(OptionError, match=r"gives 4 bands but .* takes 3; choose them with --bands"):
        make_plan(make_raster(texture(4, 20, 20)), options)
    with rasterio.open(result(make_raster(texture(4, 20, 20)), tmp_path, replace(options, bands=(3, 2, 1)))) as out:
        assert out.count == 3


def test_luma_needs_three_bands(make_raster):
    with pytest.raises(OptionError, match="needs red, green and blue, got 4 bands"):
        make_plan(make_raster(texture(4, 20, 20)), Options(bands_mode="luma"))


@pytest.mark.slow
def test_every_real_raster_is_processed_or_refused_in_one_line(shared, tmp_path):
    refused = []
    for path in sorted((shared / "nasty").iterdir()):
        if path.suffix not in (".tif", ".vrt") or path.stat().st_size > 3_000_000 or path.name.startswith("big_"):
            continue
        output = tmp_path / f"{path.stem}.tif"
        try:
            super_resolve(path, output, BICUBIC)
        except (RasterError, OptionError) as error:
            assert "\n" not in str(error)
            assert not output.exists()
            refused.append(path.name)
            continue
        with rasterio.open(path) as before, rasterio.open(output) as after:
            assert after.crs == before.crs
            assert after.shape == (before.height * 2, before.width * 2)
            assert after.dtypes == before.dtypes
            assert (after.dataset_mask() > 0).tolist() == (before.dataset_mask() > 0).repeat(2, 0).repeat(2, 1).tolist()
    assert sorted(refused) == [
        "broken_vrt_missing_source.vrt", "complex_int16_gcps.tif", "d_text.tif", "d_truncated_header.tif",
        "palette_colormap_4326.tif", "palette_lcc.tif", "palette_utm17.tif", "unknown_datum_geokeys.tif",
    ]  # fmt: skip


@pytest.mark.parametrize("option", [("COMPRESS", "FOO"), ("FOO", "BAR"), ("BLOCKXSIZE", "100")])
def test_creation_options_that_gdal_would_pass_over_are_refused_before_the_work(make_raster, option):
    with pytest.raises(OptionError, match=r"GDAL refuses the creation options .*change --co"):
        make_plan(make_raster(), replace(BICUBIC, creation=dict([option])))


def test_luma_of_colours_in_another_order_is_refused(make_raster):
    source = make_raster(photometric="RGB")
    with pytest.raises(OptionError, match="needs red, green and blue, got blue, green, red"):
        make_plan(source, Options(bands_mode="luma", bands=(3, 2, 1)))


@pytest.mark.parametrize(
    "wrong", [{"bands_mode": "xx"}, {"scale": 2.0}, {"scale": "2"}, {"bands": 9}, {"dtype": "complex64"}, {"tile": 0}]
)
def test_options_say_what_they_may_be(wrong):
    with pytest.raises(OptionError, match=f"{next(iter(wrong))} must be"):
        Options(**wrong)


def test_values_that_another_dtype_cannot_hold_are_told_of(make_raster, tmp_path, caplog):
    source = make_raster(texture(1, 30, 30, dtype="uint16", low=100, high=4000))
    result(source, tmp_path, replace(BICUBIC, dtype="uint8"))
    assert "% of the values do not fit in uint8 and saturate" in caplog.text


def test_overviews_are_built_when_the_input_has_them_or_on_request(make_raster, tmp_path):
    source = make_raster(texture(1, 400, 400))
    for wish, levels in ((None, []), (True, [2, 4])):
        with rasterio.open(result(source, tmp_path, replace(BICUBIC, overviews=wish))) as out:
            assert out.overviews(1) == levels
    with rasterio.open(source, "r+") as out:
        out.build_overviews([2])
    for wish, levels in ((None, [2, 4]), (False, [])):
        with rasterio.open(result(source, tmp_path, replace(BICUBIC, overviews=wish))) as out:
            assert out.overviews(1) == levels


@pytest.mark.parametrize("kind", ["plain", "nodata", "mask"])
def test_a_cog_is_one_by_its_validator(make_raster, tmp_path, kind):
    from rio_cogeo import cog_validate

    source = make_raster(texture(3, 700, 600), nodata=0 if kind == "nodata" else None)
    if kind == "mask":
        with rasterio.open(source, "r+") as out:
            out.write_mask(np.tri(700, 600, dtype=bool))
    output = result(source, tmp_path, replace(BICUBIC, format="COG"))
    valid, errors, told = cog_validate(output, strict=True)
    assert valid, (errors, told)
    assert [path.name for path in output.parent.iterdir()] == ["result.tif"]
    plain = tmp_path / "plain.tif"
    super_resolve(source, plain, BICUBIC)
    with rasterio.open(output) as cog, rasterio.open(plain) as wanted:
        assert (cog.read() == wanted.read()).all()
        assert (cog.dataset_mask() == wanted.dataset_mask()).all()
        assert cog.overviews(1)
        assert (cog.crs, cog.transform, cog.tags()) == (wanted.crs, wanted.transform, cog.tags())


def test_the_output_s_name_tells_its_format(make_raster, tmp_path):
    source = make_raster()
    for name, driver in (("a.img", "HFA"), ("a.jp2", "JP2OpenJPEG"), ("a.png", "PNG")):
        super_resolve(source, tmp_path / name, BICUBIC)
        with rasterio.open(tmp_path / name) as out:
            assert (out.driver, out.shape) == (driver, (100, 120))
            assert (out.read() == np.clip(np.rint(enlarge(texture(3, 50, 60, seed=1), 2)), 0, 255)).all()
    with pytest.raises(OptionError, match="is that of no format that GDAL writes"):
        super_resolve(source, tmp_path / "a.what", BICUBIC)


@pytest.mark.slow
@settings(max_examples=15)
@given(st.integers(0, 69), st.integers(0, 59), st.integers(1, 70), st.integers(1, 60), st.sampled_from([16, 33, 128]))
def test_a_part_is_the_same_part_of_the_whole(tmp_path_factory, col, row, width, height, tile):
    folder = tmp_path_factory.mktemp("part")
    array, _ = holes(texture(2, 60, 70, dtype="uint16", low=1, high=3000), 0)
    with rasterio.open(
        folder / "a.tif", "w", driver="GTiff", width=70, height=60, count=2, dtype="uint16", nodata=0,
        crs="EPSG:32633", transform=Affine(10, 3, 4e5, 2, -10, 5e6),
    ) as out:  # fmt: skip
        out.write(array)
    options = replace(BICUBIC, tile=tile)
    super_resolve(folder / "a.tif", folder / "whole.tif", options)
    window = (col, row, min(width, 70 - col), min(height, 60 - row))
    super_resolve(folder / "a.tif", folder / "part.tif", replace(options, window=window))
    where = rasterio.windows.Window(*(2 * v for v in window))
    with rasterio.open(folder / "whole.tif") as whole, rasterio.open(folder / "part.tif") as part:
        assert (part.read() == whole.read(window=where)).all()
        assert np.allclose(part.transform, whole.window_transform(where), rtol=0, atol=1e-8)


def test_a_network_s_part_is_the_same_part_of_the_whole(make_raster, random_idn, tmp_path):
    source = make_raster(texture(1, 90, 100))
    options = Options(model=str(random_idn()), tile=32)
    with rasterio.open(result(source, tmp_path, options)) as out:
        whole = out.read()
    with rasterio.open(result(source, tmp_path, replace(options, window=(37, 11, 40, 50)))) as out:
        assert (out.read() == whole[:, 22:122, 74:154]).all()
        assert out.tags()["GEOSR_WINDOW"] == "37,11,40,50"


@pytest.mark.slow  # Blending takes four times the work.
def test_a_part_of_blended_windows_is_the_same_part_of_the_whole(make_raster, random_idn, tmp_path):
    source = make_raster(texture(1, 200, 220))
    options = Options(model=str(random_idn()), tile=128, computing=Computing(blend=True))
    with rasterio.open(result(source, tmp_path, options)) as out:
        whole = out.read()
    for col, row, width, height in ((0, 0, 20, 20), (150, 70, 33, 64), (219, 199, 1, 1)):
        window = replace(options, window=(col, row, width, height))
        with rasterio.open(result(source, tmp_path, window)) as out:
            assert (out.read() == whole[:, 2 * row : 2 * (row + height), 2 * col : 2 * (col + width)]).all()


@pytest.mark.parametrize("window", [(0, 0, 64, 64), (500, 300, 64, 64), (960, 960, 64, 64)])
def test_a_part_needs_no_more_than_its_pixels_and_the_halo(make_raster, random_idn, window):
    source = make_raster(texture(1, 1024, 1024))
    job = make_plan(source, Options(model=str(random_idn()), tile=1024, window=window))
    [tile] = job.tiles
    assert tile.outer == tile.core.pad(job.upscaler.halo) == Window(*window).pad(job.upscaler.halo)


def test_bounds_choose_the_pixels_that_they_touch(make_raster, tmp_path):
    source = make_raster()
    with rasterio.open(source) as before:
        left, _, _, top = before.bounds
    asked = (left + 101, top - 209, left + 299, top - 95)
    with rasterio.open(result(source, tmp_path, replace(BICUBIC, bounds=asked))) as out:
        assert tuple(out.bounds) == (left + 100, top - 210, left + 300, top - 90)
    with pytest.raises(OptionError, match=r"bounds 0,0,1,1 lies outside the raster's 400000,4999500,400600,5000000"):
        make_plan(source, replace(BICUBIC, bounds=(0, 0, 1, 1)))
    with pytest.raises(OptionError, match="the window 50,0,20,20 is not inside 60 x 50 pixels"):
        make_plan(source, replace(BICUBIC, window=(50, 0, 20, 20)))


def test_memory_chooses_the_tile_and_the_workers(make_raster, random_idn):
    source = make_raster(texture(3, 900, 900))
    options = Options(model=str(random_idn()))
    plans = {mib: make_plan(source, replace(options, memory=mib * 2**20)) for mib in (1100, 1536, 6000)}
    sizes = [job.grid.size for job in plans.values()]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    assert plans[1100].workers(1000) < 1000
    for mib, job in plans.items():
        assert job.memory_needed(job.workers(1000)) <= mib * 2**20
    with pytest.raises(OptionError, match=r"tiles of 128 need \d+ MiB here; give it more with --memory"):
        make_plan(source, replace(options, memory=200 * 2**20))


def test_too_little_room_is_said_before_the_work(make_raster, tmp_path, monkeypatch):
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    with pytest.raises(OutputError, match=r"will need about .* kB in .*, where 10\.0 kB are free; .*--no-resume"):
        super_resolve(make_raster(), tmp_path / "out.tif", BICUBIC)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scene.tif"]


@pytest.mark.parametrize(("options", "most"), [({}, 2.1), ({"format": "COG"}, 3.1), ({"resume": False}, 1.1)])
def test_the_disk_holds_no_more_than_is_said(make_raster, tmp_path, options, most):
    source, output = make_raster(texture(3, 800, 800, seed=3)), tmp_path / "out" / "o.tif"
    output.parent.mkdir()
    resume = options.pop("resume", True)
    job = make_plan(source, replace(BICUBIC, tile=128, **options), output)
    said = estimate_job(job, output, resume=resume)
    peak = 0

    def weigh():
        nonlocal peak
        peak = max(peak, sum(path.stat().st_size for path in output.parent.rglob("*") if path.is_file()))

    publish = Parts.publish

    def weighed_publish(parts, **kwargs):
        weigh()
        publish(parts, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parts, "publish", weighed_publish)
        write(job, output, resume=resume, progress=lambda done, total: weigh())
    assert peak <= most * output.stat().st_size
    assert 0.8 * peak < said.disk_bytes < 1.5 * peak
    assert 0.8 < said.output_bytes / output.stat().st_size < 1.4


def test_overviews_of_the_input_do_not_change_the_output(make_raster, tmp_path):
    source = make_raster(texture(1, 1200, 1200, dtype="uint16", high=3000))
    options = replace(BICUBIC, overviews=False)

    def content():
        with rasterio.open(result(source, tmp_path, options)) as out:
            # What identifies the input is another file's now.
            tags = {name: value for name, value in out.tags().items() if name != "GEOSR_INPUT"}
            return out.read().tobytes(), out.profile, tags

    before = content()
    with rasterio.open(source, "r+") as out:
        out.build_overviews([2], rasterio.enums.Resampling.average)
    assert content() == before


def test_a_tile_that_memory_does_not_hold_is_refused(make_raster):
    source = make_raster(texture(1, 3000, 3000))
    with pytest.raises(OptionError, match=r"tiles of 3000 need .* give it more with --memory, or a smaller --tile"):
        make_plan(source, replace(BICUBIC, tile=8192, memory=300 * 2**20))


def test_bounds_need_a_transform(make_raster):
    for transform in (Affine.identity(), Affine(1, 1, 4e5, 1, 1, 5e6)):
        source = make_raster(crs=None, transform=transform)
        with pytest.raises(OptionError, match="no transform that bounds could be told by; give --window"):
            make_plan(source, replace(BICUBIC, bounds=(0, 0, 1, 1)))


def test_a_cog_without_overviews_has_none(make_raster, tmp_path):
    source = make_raster(texture(1, 500, 500))
    with rasterio.open(result(source, tmp_path, replace(BICUBIC, format="COG", overviews=False))) as out:
        assert out.overviews(1) == []


def test_overviews_that_a_format_does_not_hold_are_told_of(make_raster, tmp_path, caplog):
    super_resolve(make_raster(texture(1, 50, 50)), tmp_path / "o.png", replace(BICUBIC, overviews=True))
    assert "overviews could not be kept in the format PNG" in caplog.text


def mosaic(folder, scene, width, height):
    """Return a VRT of this size with a small scene in its corner."""
    path = folder / "mosaic.vrt"
    path.write_text(
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{scene}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    return path


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (2**31 - 1, 2**31 - 1, "the output would have 4294967294 x 4294967294 pixels"),
        (2**30 + 5, 20, "the output would have 2147483658 x 40 pixels"),
        (20, 2**30, "the output would have 40 x 2147483648 pixels"),
        (10**9, 10**9, r"1000000000 x 1000000000 pixels are \d+ tiles of .*a job has at most 1048576; choose a part"),
    ],
)
def test_a_job_without_end_is_refused_at_once_and_a_part_of_it_is_not(make_raster, tmp_path, width, height, message):
    path = mosaic(tmp_path, make_raster(texture(1, 20, 20)), width, height)
    begin = time.monotonic()
    for model in ("bicubic", "span"):
        with pytest.raises(OptionError, match=message):
            make_plan(path, Options(model=model, tile=512))
    super_resolve(path, tmp_path / "part.tif", replace(BICUBIC, window=(0, 0, 16, 16)))
    assert time.monotonic() - begin < 20


def test_a_transform_that_is_no_number_is_lost_and_tells_no_bounds(make_raster, tmp_path, caplog):
    path = make_raster(texture(1, 20, 20), transform=Affine(np.nan, 0, 4e5, 0, -10, 5e6))
    with pytest.raises(OptionError, match="no transform that bounds could be told by; give --window"):
        make_plan(path, replace(BICUBIC, bounds=(1, 2, 3, 4)))
    make_plan(path, BICUBIC)
    assert "the transform, which is damaged, cannot be carried to the output" in caplog.text


def test_colours_that_take_another_band_are_refused_before_the_work(make_raster, tmp_path):
    path = make_raster(texture(3, 20, 20), photometric="rgb")
    for name in ("CIELAB", "CMYK", "YCBCR"):
        with pytest.raises(OptionError, match=rf"GDAL refuses the creation options PHOTOMETRIC={name}"):
            make_plan(path, replace(BICUBIC, creation={"PHOTOMETRIC": name}))
