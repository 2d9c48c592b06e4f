"""Products of satellites as their agencies give them away, small: a Sentinel-2 SAFE folder and a Landsat folder."""

import zipfile

import rasterio
from affine import Affine

from tests.conftest import texture

TILE = "GRANULE/L2A_T33UUP_A016478_20180818T094030"
SAFE = "S2A_MSIL2A_20180818T094031_N0208_R036_T33UUP_20180818T120345.SAFE"
GRIDS = {10: ("B02", "B03", "B04", "B08"), 20: ("B05", "B8A", "B11")}
SIDE = 600
"""Metres from one edge of the ground to the other."""

PRODUCT = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>2018-08-18T09:40:31.024Z</PRODUCT_START_TIME>
      <PRODUCT_URI>{safe}</PRODUCT_URI>
      <PROCESSING_LEVEL>Level-2A</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI2A</PRODUCT_TYPE>
      <Query_Options completeSingleTile="true"><PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT></Query_Options>
      <Product_Organisation><Granule_List>
        <Granule granuleIdentifier="S2A_OPER_MSI_L2A_TL_MTI__20180818T120345_A016478_T33UUP_N02.08"
                 imageFormat="JPEG2000">{images}</Granule>
      </Granule_List></Product_Organisation>
    </Product_Info>
    <Product_Image_Characteristics>
      <QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
      </QUANTIFICATION_VALUES_LIST>
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:Level-2A_User_Product>
"""
TILES = """<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd">
  <n1:Geometric_Info><Tile_Geocoding metadataLevel="Brief">
    <HORIZONTAL_CS_NAME>WGS84 / UTM zone 33N</HORIZONTAL_CS_NAME>
    <HORIZONTAL_CS_CODE>EPSG:32633</HORIZONTAL_CS_CODE>
    {sizes}
  </Tile_Geocoding></n1:Geometric_Info>
</n1:Level-2A_Tile_ID>
"""
SIZE = """<Size resolution="{pixel}"><NROWS>{side}</NROWS><NCOLS>{side}</NCOLS></Size>
    <Geoposition resolution="{pixel}"><ULX>400000</ULX><ULY>5000000</ULY><XDIM>{pixel}</XDIM><YDIM>-{pixel}</YDIM>
    </Geoposition>"""


def write_sentinel2(folder):
    """Write a SAFE folder into a folder, with zeros at the left of the swath, and return its path."""
    safe, images = folder / SAFE, []
    for pixel, names in GRIDS.items():
        inside = f"{TILE}/IMG_DATA/R{pixel}m"
        (safe / inside).mkdir(parents=True)
        for number, name in enumerate(names):
            image = f"{inside}/T33UUP_20180818T094031_{name}_{pixel}m"
            images.append(f"<IMAGE_FILE>{image}</IMAGE_FILE>")
            array = texture(1, SIDE // pixel, SIDE // pixel, seed=pixel + number, dtype="uint16", low=500, high=4000)
            array[:, :, : 100 // pixel] = 0
            _write(safe / f"{image}.jp2", array, pixel, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    (safe / "MTD_MSIL2A.xml").write_text(PRODUCT.format(safe=SAFE, images="".join(images)))
    sizes = "".join(SIZE.format(pixel=pixel, side=SIDE // pixel) for pixel in (10, 20, 60))
    (safe / TILE / "MTD_TL.xml").write_text(TILES.format(sizes=sizes))
    return safe


def write_landsat(folder, name="LC08_L1TP_190024_20200101_20200113_02_T1"):
    """Write a folder of Landsat 8, Collection 2, into a folder, and return its path."""
    scene = folder / name
    scene.mkdir(parents=True)
    bands = {f"B{number}": 15 if number == 8 else 30 for number in range(1, 12)} | {"QA_PIXEL": 30}
    for number, (band, pixel) in enumerate(bands.items()):
        side = SIDE // pixel
        array = texture(1, side, side, seed=number, dtype="uint16", low=6000, high=20000)
        _write(scene / f"{name}_{band}.TIF", array, pixel, driver="GTiff")
    (scene / f"{name}_MTL.txt").write_text('GROUP = LANDSAT_METADATA_FILE\n  SPACECRAFT_ID = "LANDSAT_8"\nEND\n')
    return scene


def zipped(folder, path):
    """Write a folder, by its name, into a zip file, and return the path of that."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return path


def _write(path, array, pixel, **options):
    count, height, width = array.shape
    place = {"crs": "EPSG:32633", "transform": Affine(pixel, 0, 400_000, 0, -pixel, 5_000_000)}
    with rasterio.open(
        path, "w", width=width, height=height, count=count, dtype=array.dtype, **place, **options
    ) as out:
        out.write(array)
