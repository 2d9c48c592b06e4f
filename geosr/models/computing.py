"""Settings of how a network is computed: library, precision and halo. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from geosr.choices import check_options, option
from geosr.errors import OptionError

BACKENDS = ("auto", "tensorflow", "openvino", "onnx")
PRECISIONS = ("float32", "bfloat16", "float16", "auto")


@dataclass(frozen=True, slots=True)
class Computing:
    """The settings of how a network is computed.

    Raises:
        OptionError: there is no such backend or precision, or the halo is none.
    """

    backend: str = option(
        "auto",
        "Library that computes the network; auto is OpenVINO, or the first other that is installed and reads the file.",
        choices=BACKENDS,
    )
    precision: str = option(
        "float32",
        "Precision of the network's arithmetic; auto is 16 bits where the device is known to be faster in them.",
        choices=PRECISIONS,
    )
    halo: int | None = option(
        None, "Input pixels on each side that a result depends on; read from the network by default.", least=0
    )
    blend: bool = option(
        False, "Blend overlapping windows: for networks that see the whole image, for which no halo is exact."
    )
    trust: bool = option(False, "Load a SavedModel, or a .keras file with code in it, which can do anything.")

    def __post_init__(self) -> None:
        check_options(self)
        if self.blend and self.halo is not None:
            raise OptionError("--blend is for networks that have no halo; give one of the two")

    def __str__(self) -> str:
        """Return the settings that change a result, in words that `parse` reads."""
        words = {
            "on": self.backend if self.backend != "auto" else "",
            "in": self.precision if self.precision != "float32" else "",
            "halo": "" if self.halo is None else str(self.halo),
            "blended": "yes" if self.blend else "",
        }
        return "".join(f" {name} {value}" for name, value in words.items() if value)

    @classmethod
    def parse(cls, text: str) -> Computing:
        """Return the settings that `str` gave as words; others are ignored."""
        settings = dict(pairwise(text.split()))
        halo = settings.get("halo", "")
        return cls(
            backend=settings.get("on", "auto"),
            precision=settings.get("in", "float32"),
            halo=int(halo) if halo.isdecimal() else None,
            blend="blended" in settings,
        )
