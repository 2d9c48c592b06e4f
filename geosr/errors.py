"""The exceptions of geosr, for callers to catch.

GeosrError
+-- RasterError    (also OSError)      a raster that cannot be read or written
|   +-- UnsupportedRaster              a readable raster of a kind that must not be super-resolved
+-- OutputError    (also OSError)      an output that exists, or a place that cannot be written
+-- OptionError    (also ValueError)   options that contradict the input or each other
+-- ModelError     (also ValueError)   a model that is unknown, broken or does not fit
+-- DatasetError   (also ValueError)   a training set that is empty, broken or foreign
+-- BurstError     (also ValueError)   photos that make no burst, or do not fit together
+-- HuginError     (also RuntimeError)   Hugin is not installed, failed, or did not end
+-- TrainingError  (also ArithmeticError)   a training that came to nothing
+-- ClusterError   (also RuntimeError)   a Dask cluster that is not there, or cannot do the work
|   +-- WorkersDied                      a task that each worker died with
+-- InstallationError  (also OSError)       QGIS's folders are not found, or cannot be written

Cancelled, a KeyboardInterrupt, is no error: a job that ends so leaves nothing behind, not even parts.
"""

from __future__ import annotations


class GeosrError(Exception):
    """Something the user can act on; its text is one line that says what to do."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else type(self).__name__


class RasterError(GeosrError, OSError):
    """A raster cannot be read or written."""


class UnsupportedRaster(RasterError):
    """A raster can be read but is of a kind that must not be super-resolved."""


class OutputError(GeosrError, OSError):
    """An output exists already, or the place for it cannot be written."""


class OutputBusyError(OutputError):
    """Another process makes the same output."""


class OptionError(GeosrError, ValueError):
    """Options contradict the input or each other."""


class ModelError(GeosrError, ValueError):
    """A model is unknown, broken or does not fit the raster."""


class DatasetError(GeosrError, ValueError):
    """A training set is empty, broken or of another program."""


class BurstError(GeosrError, ValueError):
    """Photos make no burst: too few, of several sizes, or of several places."""


class HuginError(GeosrError, RuntimeError):
    """Hugin is not installed, failed, or did not end."""


class TrainingError(GeosrError, ArithmeticError):
    """A training has come to nothing, as by a loss that is not a number."""


class ClusterError(GeosrError, RuntimeError):
    """A Dask cluster is not there, went away, or has a worker that cannot do the work."""


class WorkersDied(ClusterError):
    """Each worker that had a task died with it."""


class InstallationError(GeosrError, OSError):
    """QGIS's folders are not found or cannot be written, or there is no geosr that they could run."""


class Cancelled(KeyboardInterrupt):
    """A job is to end and leave nothing behind: other than after Ctrl-C, there will be no going on."""
