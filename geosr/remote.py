"""Sources on the network, which GDAL fetches wherever a file names one, and how they are refused. Light to import."""

from __future__ import annotations

import os
import re

ALLOWED = "CPL_VSIL_CURL_ALLOWED_FILENAME"
"""GDAL's option for the one file that may be fetched; see https://gdal.org/user/configoptions.html."""
NOTHING = "nothing"
DRIVERS = ("DAAS", "EEDA", "EEDAI", "HTTP", "NGW", "OGCAPI", "PLMOSAIC", "STACIT", "STACTA", "WCS", "WMS", "WMTS")
"""GDAL's drivers of services."""
NAMES = re.compile(
    r"(\w+:)*/vsi(curl|s3|gs|az|adls|oss|swift|webhdfs|hdfs)|https?:|ftp:|(WMS|WMTS|WCS|DAAS|EEDAI):", re.I
)


def refuse() -> None:
    """Make GDAL fetch nothing in this process and those that it starts; to be called before a raster is opened."""
    os.environ[ALLOWED] = NOTHING
    os.environ["GDAL_SKIP"] = " ".join(filter(None, (os.environ.get("GDAL_SKIP"), *DRIVERS)))


def refused(name: str) -> bool:
    """Return True if a raster's name is one that GDAL would fetch, and that is refused."""
    return os.environ.get(ALLOWED) == NOTHING and bool(NAMES.match(name))
