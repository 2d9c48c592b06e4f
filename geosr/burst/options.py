"""The options of a burst, declared once for the library and the command line. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from geosr.choices import check_options, option
from geosr.errors import OptionError

METHODS = ("mean", "median", "trimmed", "sigma", "robust")
ALIGN_MODES = ("hugin", "none")
CROPS = COMMON, UNION = ("common", "union")
DEFAULT_MEMORY = 3 * 2**29


@dataclass(frozen=True, slots=True)
class Options:
    """The choices of a burst.

    Raises:
        OptionError: a value is not allowed.
    """

    scale: int = option(2, "Enlargement.", least=1)
    methods: tuple[str, ...] = option(
        ("mean", "median", "robust"), "How the frames become one image; several give several images."
    )
    reference: str = option(
        "auto", "Name of the photo that the others are aligned with; auto is the sharpest of the well exposed."
    )
    align: str = option(
        "hugin", "none: take the photos as they lie, or where their CRS puts them.", choices=ALIGN_MODES
    )
    project: str | None = option(None, "Take the alignment of this Hugin project (.pto).")
    keep_project: bool = option(False, "Write a project that Hugin opens.")
    local: bool = option(
        True,
        "Where one motion does not fit a whole photo, align its parts, and leave out those that do not fit.  "
        "[default: local]",
    )
    keep_all: bool = option(False, "Keep blurred photos too.")
    match: bool = option(True, "Match the exposure and white balance of all photos to the reference.  [default: match]")
    crop: str = option(COMMON, "Area that all photos cover, or that any does, with a mask.", choices=CROPS)
    sharpen: float | None = option(
        None, "Amount of the unsharp mask; 0 is off.  [default: what suits the photos' noise]", least=0, most=5
    )
    depth: int | None = option(None, "Bits of the results; the photos' by default.", choices=(None, 8, 16))
    coverage: bool = option(False, "Also write how many photos count at each pixel.")
    deviation: bool = option(False, "Also write the standard deviation of the photos at each pixel.")
    memory: int = option(
        DEFAULT_MEMORY, "Memory limit, as 800MB or 4GiB; the tile size is chosen for it.  [default: 1.5GiB]", least=1
    )
    time_limit: float = option(120.0, "Seconds for each call of one of Hugin's tools.", above=0)
    creation: Mapping[str, str] | None = option(None, "GDAL creation option, as COMPRESS=ZSTD.")

    def __post_init__(self) -> None:
        check_options(self)
        if not self.methods or set(self.methods) - set(METHODS):
            raise OptionError(f"methods must be some of {', '.join(METHODS)}, got {self.methods!r}")
