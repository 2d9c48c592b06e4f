"""Sharper rasters that stay where and what they are."""

__version__ = "0.1.0"
