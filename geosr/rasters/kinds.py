"""The kinds of rasters that are super-resolved, as words that options choose from. Imports nothing heavy."""

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
ALPHA_MODES = ("auto", "band", "mask")
"""Treatments of a band labelled alpha: as data, as transparency, or by a look at its values."""
