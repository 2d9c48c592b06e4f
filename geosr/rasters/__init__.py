"""Georeferenced rasters: read, described, written, and their values."""
