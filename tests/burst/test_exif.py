import io
import struct
import subprocess
import zlib

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image, ImageCms, PngImagePlugin

from geosr.burst import exif
from geosr.errors import RasterError
from tests.photographs import save

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF tiff:Orientation="6" dc:title="burst"/></x:xmpmeta>'


def metadata(orientation=6):
    """EXIF with a camera, a time, an exposure and a place."""
    made = Image.Exif()
    made[271], made[272], made[274], made[306] = "Maker", "Model One", orientation, "2024:05:06 07:08:09"
    made.get_ifd(0x8769).update({36867: "2024:05:06 07:08:09", 37521: "25", 33434: 0.004, 41989: 28, 37386: 35.0})
    made.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 30.5), 3: "E", 4: (11.0, 34.0, 12.25)})
    return made


def photo(tmp_path, ending, *, orientation=6, **more):
    path = tmp_path / f"photo{ending}"
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), "uint8"))
    if ending == ".png":
        more["pnginfo"] = PngImagePlugin.PngInfo()
        more["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    elif ending == ".jpg":
        more["xmp"] = XMP
    said = metadata(orientation)
    if ending == ".tif":
        said[700] = XMP
        for tag in (exif.EXIF, exif.GPS):  # for a TIFF, Pillow writes only those that are set as values
            said[tag] = dict(said.get_ifd(tag))
    image.save(path, exif=said, icc_profile=ICC, **more)
    return path


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif"])
def test_what_pillow_wrote_is_read(tmp_path, ending):
    found = exif.read(photo(tmp_path, ending))
    assert found.orientation == 6
    assert found.taken == "2024:05:06 07:08:09.25"
    assert found.focal_35mm == 28
    assert found.icc == ICC
    assert b"burst" in found.xmp
    assert found.gps[1].data.rstrip(b"\0") == b"N"
    assert not found.progressive


def test_a_progressive_jpeg_is_known(tmp_path):
    assert exif.read(photo(tmp_path, ".jpg", progressive=True)).progressive


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read(order, tmp_path):
    made = metadata()
    made.endian = order
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.zeros((8, 8, 3), "uint8")).save(path, exif=made)
    assert exif.read(path).taken.startswith("2024:05:06")


@pytest.mark.parametrize(
    "creation", [{}, {"BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}, {"TILED": "YES", "compress": "deflate"}]
)
def test_metadata_is_grafted_on_a_tiff_and_others_read_it(tmp_path, creation):
    image = np.random.default_rng(1).integers(0, 65535, (50, 60, 3), "uint16")
    path = save(tmp_path / "out.tif", image, crs="EPSG:32633", transform=Affine(2, 0, 5e5, 0, -2, 5e6), **creation)
    exif.graft(path, exif.read(photo(tmp_path, ".jpg")), software="geosr 1", size=(60, 50))
    with rasterio.open(path) as out:
        np.testing.assert_array_equal(np.moveaxis(out.read(), 0, -1), image)
        assert out.crs.to_epsg() == 32633
        assert out.transform == Affine(2, 0, 5e5, 0, -2, 5e6)
        assert out.tags()["TIFFTAG_SOFTWARE"] == "geosr 1"
        assert "burst" in out.tags(ns="xml:XMP")["xml:XMP"]
    again = exif.read(path)
    assert again.orientation == 1
    assert again.taken == "2024:05:06 07:08:09.25"
    assert again.icc == ICC
    assert b'tiff:Orientation="1"' in again.xmp
    assert again.exif[exif.WIDTH].number() == 60


def test_pillow_reads_what_was_grafted(tmp_path):
    path = save(tmp_path / "out.tif", np.zeros((20, 30, 3), "uint8"))
    exif.graft(path, exif.read(photo(tmp_path, ".png")), software="geosr 1", size=(30, 20))
    with Image.open(path) as image:
        found = image.getexif()
        assert (found[271], found[272], found[274], found[305]) == ("Maker", "Model One", 1, "geosr 1")
        assert float(found.get_ifd(0x8769)[33434]) == pytest.approx(1 / 250)
        assert [float(v) for v in found.get_ifd(0x8825)[2]] == pytest.approx([48.0, 8.0, 30.5])
        assert image.info["icc_profile"] == ICC


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_jpeg_that_is_cut_off_is_said(tmp_path, keep):
    path = photo(tmp_path, ".jpg")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(RasterError, match=r"photo\.jpg"):
        exif.read(path)


def test_broken_metadata_is_no_reason_to_refuse_pixels(tmp_path):
    path = tmp_path / "broken.png"
    chunk = b"eXIf" + b"II*\0\xff\xff\xff\xff"
    data = photo(tmp_path, ".png").read_bytes()
    broken = len(chunk[4:]).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    path.write_bytes(data[:33] + broken + data[33:])
    assert exif.read(path).orientation in (1, 6)


def segment(order, entries, count=None):
    """The EXIF segment of a JPEG with these entries, of tag, type, count and 4 bytes, and no other."""
    start = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HIH", 42, 8, count or len(entries))
    body = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"Exif\0\0" + start + body + bytes(4)


def jpeg(path, payload, *, fill=b""):
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), "uint8")).save(content, "JPEG")
    start, rest = content.getvalue()[:2], content.getvalue()[2:]
    path.write_bytes(start + fill + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + rest)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("bad", "count"),
    [((0, 0, 0, bytes(4)), None), ((271, 2, 0, bytes(4)), None), ((271, 2, 40, b"\xff\xff\xff\x7f"), None),
     ((34665, 4, 1, b"\0\1\1\0"), None), ((271, 99, 1, bytes(4)), None), ((272, 2, 4, b"One\0"), 200)],
)  # fmt: skip
def test_a_bad_entry_is_left_out_alone_with_one_warning(tmp_path, caplog, order, bad, count):
    lying = struct.pack(order + "HH", 6, 0)
    path = jpeg(tmp_path / "photo.jpg", segment(order, [(274, 3, 1, lying), bad, (305, 2, 4, b"Cam\0")], count))
    metadata = exif.read(path)
    assert metadata.orientation == 6
    assert metadata.main[305].data == b"Cam\0"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    out = save(tmp_path / "out.tif", np.zeros((20, 30, 3), "uint8"))
    exif.graft(out, metadata, software="geosr 1", size=(30, 20))
    with Image.open(out) as image:
        assert (image.getexif()[305], image.getexif()[274]) == ("geosr 1", 1)


@pytest.mark.parametrize("payload", [b"Exif\0\0", b"Exif\0\0II", b"Exif\0\0" + b"\xaa" * 40])
def test_a_broken_block_is_as_none_with_one_warning(tmp_path, caplog, payload):
    assert exif.read(jpeg(tmp_path / "photo.jpg", payload)).main == {}
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_fill_bytes_before_a_marker_are_allowed(tmp_path, caplog):
    payload = segment("<", [(274, 3, 1, struct.pack("<HH", 6, 0))])
    assert exif.read(jpeg(tmp_path / "photo.jpg", payload, fill=b"\xff\xff")).orientation == 6
    assert not caplog.records


def test_a_file_of_another_kind_says_nothing(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    assert exif.read(path) == exif.Metadata()


def test_exiftool_agrees(tmp_path):
    path = save(tmp_path / "out.tif", np.zeros((20, 30, 3), "uint8"))
    exif.graft(path, exif.read(photo(tmp_path, ".jpg")), software="geosr 1", size=(30, 20))
    try:
        done = subprocess.run(
            ["exiftool", "-s3", "-GPSPosition", "-warning", str(path)], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("needs exiftool; install it with: sudo apt-get install libimage-exiftool-perl")
    assert done.stdout.strip() == "48 deg 8' 30.50\" N, 11 deg 34' 12.25\" E"


def test_a_tiff_in_memory_can_be_a_source_of_exif():
    assert exif.read_tiff(io.BytesIO(metadata().tobytes()[6:])).orientation == 6


def test_xmp_does_not_describe_the_old_size(tmp_path):
    panorama = (
        b'<rdf:Description GPano:ProjectionType="cylindrical" GPano:FullPanoWidthPixels="40" dc:title="hall" '
        b'tiff:ImageWidth="40" exif:PixelYDimension="30"><GPano:CroppedAreaImageHeightPixels>30'
        b"</GPano:CroppedAreaImageHeightPixels><tiff:ImageLength>30</tiff:ImageLength></rdf:Description>"
    )
    path = tmp_path / "made.tif"
    Image.new("RGB", (80, 60)).save(path)
    exif.graft(path, exif.Metadata(xmp=panorama), software="test", size=(80, 60))
    with Image.open(path) as image:
        words = image.info["xmp"].decode()
    assert "GPano" not in words
    for kept in ('dc:title="hall"', 'tiff:ImageWidth="80"', "<tiff:ImageLength>60<", 'exif:PixelYDimension="60"'):
        assert kept in words
