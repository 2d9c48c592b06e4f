"""Super-resolve raster: a Processing algorithm for QGIS that runs the geosr command.

It needs Qt, QGIS and Python's standard library alone; geosr lives in a Python of its own, which it never imports.
"""

import json
import math
import os
import queue
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingParameterBand,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingUtils,
)
from qgis.PyQt.QtCore import QCoreApplication, QUrl
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtXml import QDomDocument

# The child process: these lines are the same in all scripts, which cannot import one another.
GRACE = 0.6
"""Seconds that a cancelled child has to end by itself."""
FOREIGN = (
    "PYTHON",
    "QGIS_",
    "DYLD_",
    "__PYVENV_LAUNCHER__",
    "VIRTUAL_ENV",
    "PROJ_LIB",
    "PROJ_DATA",
    "GDAL_DATA",
    "GDAL_DRIVER_PATH",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "QT_PLUGIN_PATH",
)
"""Beginnings of the variables that lead to QGIS's Python, PROJ and GDAL; geosr has its own."""


def tr(text):
    return QCoreApplication.translate("geosr", text)


def beside(name):
    """A file in the folder of this script; the script editor gives scripts no file."""
    return os.path.join(os.path.dirname(os.path.abspath(globals().get("__file__", name))), name)


def installation():
    """What "geosr qgis install" wrote beside this script; nothing if that is missing."""
    try:
        with open(beside("geosr.json"), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def advanced(parameter):
    parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
    return parameter


def helped(parameter, text):
    parameter.setHelp(text)
    return parameter


def command_parameters():
    """The parameters about geosr itself, last in every dialog."""
    extra = QgsProcessingParameterString("EXTRA", tr("Additional command-line parameters"), optional=True)
    command = QgsProcessingParameterString("COMMAND", tr("Command that runs geosr"), optional=True)
    return [
        advanced(helped(extra, tr("Options that are passed to the geosr command unchanged."))),
        advanced(helped(command, tr("Replaces the geosr that installed these scripts."))),
    ]


def geosr_command(custom):
    """The words that run geosr: those given, or those of the installation."""
    if custom.strip():
        return shlex.split(custom, posix=os.name != "nt")
    python = installation().get("python")
    if not python:
        raise QgsProcessingException(
            tr('This script does not know where geosr is; run "geosr qgis install" and restart QGIS.')
        )
    return [python, "-I", "-m", "geosr"]


def run_geosr(words, custom, feedback):
    """Runs the geosr command to its end and returns what its result event says, or None if it was cancelled.

    Raises QgsProcessingException with the one sentence that the command ends with when it fails.
    """
    command = geosr_command(custom)
    scratch = tempfile.mkdtemp(prefix="geosr_", dir=QgsProcessingUtils.tempFolder())
    try:
        return Child(command + words, scratch, feedback).result()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class Child:
    """A geosr command that runs and tells events; it ends when its standard input is closed."""

    def __init__(self, command, scratch, feedback):
        command = command + ["--progress", "json", "--cancel-on-eof"]
        feedback.pushCommandInfo(" ".join(shlex.quote(word) for word in command))
        environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        environment.update(dict.fromkeys(("TMPDIR", "TEMP", "TMP"), scratch))
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        # A group of its own, so that it can be ended with all that it has started; no window on Windows.
        group = {"creationflags": 0x08000200} if os.name == "nt" else {"start_new_session": True}
        try:
            self.process = subprocess.Popen(command, env=environment, **pipes, **group)
        except OSError as error:
            raise QgsProcessingException(gone(command[0], error.strerror))
        self.python = command[0]
        self.feedback = feedback
        self.told = {}
        self.stage = None
        self.temporary = []
        self.made = []
        self.lines = queue.Queue()
        self.errors = []

    def result(self):
        for name in ("stdout", "stderr"):
            threading.Thread(target=self.read, args=(name,), daemon=True).start()
        cancelled = self.follow()
        status = self.process.wait()
        self.process.stdin.close()
        if cancelled:
            self.clear()
            self.feedback.pushInfo(tr("Cancelled; nothing is left behind."))
            return None
        if status or "result" not in self.told:
            raise QgsProcessingException(self.failure(status))
        return self.told["result"]

    def read(self, name):
        """Queues the lines of a stream, in a thread: one that is not read in time would block the child."""
        with getattr(self.process, name) as stream:
            for line in iter(stream.readline, b""):
                self.lines.put((name, line.decode("utf-8", "replace").rstrip()))
        self.lines.put((name, None))

    def follow(self):
        """Tells what the child says until it ends, or is ended; whether it was cancelled."""
        reading, deadline = 2, None
        while reading:
            if deadline is None and self.feedback.isCanceled():
                self.process.stdin.close()
                deadline = time.monotonic() + GRACE
            elif deadline is not None and time.monotonic() > deadline:
                self.kill()
                break
            try:
                name, line = self.lines.get(timeout=0.05)
            except queue.Empty:
                continue
            if line is None:
                reading -= 1
            elif name == "stdout":
                self.hear(line)
            elif line:
                self.errors.append(line)
        return deadline is not None

    def hear(self, line):
        try:
            event = json.loads(line)
            kind = event.pop("event")
        except (ValueError, KeyError, TypeError, AttributeError):
            self.feedback.pushConsoleInfo(line)
            return
        self.told[kind] = event
        if kind == "start":
            self.check(event.get("version"))
        elif kind == "warning":
            self.feedback.pushWarning(event["text"])
        elif kind == "progress":
            self.temporary = event.get("temporary", self.temporary)
            self.made = event.get("made", self.made)
            if self.stage != event["label"]:
                self.stage = event["label"]
                self.feedback.setProgressText("{}: {} {}".format(event["label"], event["total"], event["unit"]))
            self.feedback.setProgress(100.0 * event["done"] / max(event["total"], 1))

    def check(self, version):
        """Ends a child that is of another version than the script before it does anything."""
        wanted = installation().get("version", version)
        if version != wanted:
            self.kill()
            self.process.wait()
            raise QgsProcessingException(
                tr('This script is of geosr {} but geosr is {}; run "geosr qgis install" and restart QGIS.').format(
                    wanted, version
                )
            )

    def kill(self):
        if os.name == "nt":
            subprocess.call(["taskkill", "/F", "/T", "/PID", str(self.process.pid)], creationflags=0x08000000)
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def clear(self):
        """Removes what the child held, if it did not come to it; folders that it made only when they are empty."""
        for path in self.temporary:
            shutil.rmtree(path, ignore_errors=True)
            if os.path.exists(path):
                os.remove(path)
        for path in self.made:
            try:
                os.rmdir(path)
            except OSError:
                pass

    def failure(self, status):
        """Why the child failed, in a sentence."""
        said = [line for line in self.errors if line.startswith("Error: ")] or self.errors
        if any("No module named" in line and "geosr" in line for line in self.errors):
            return gone(self.python, tr("it has no geosr"))
        if "error" in self.told:
            return self.told["error"]["text"]
        if status == 2 and "start" not in self.told:
            return tr('geosr is of another version than this script ({}); run "geosr qgis install" again.').format(
                said[-1] if said else status
            )
        return said[-1].replace("Error: ", "", 1) if said else tr("geosr ended with status {}.").format(status)


def gone(python, reason):
    return tr(
        'geosr is no longer where it was, at {} ({}); install it, run "geosr qgis install" there and restart QGIS.'
    ).format(python, reason)


# End of the lines that are the same.


# Layers: these lines are the same in all scripts that take rasters.
def raster_file(layer):
    """The name under which GDAL finds the layer's file."""
    source = layer.source()
    if layer.providerType() != "gdal" or source.startswith(("/vsimem/", "MEM:", "WMS:", "WMTS:", "<")):
        raise QgsProcessingException(
            tr("The layer {} is not a file ({}); export it to a GeoTIFF first (Export, Save As) and use that.").format(
                layer.name(), layer.providerType()
            )
        )
    if not os.path.exists(source):
        source = source.partition("|")[0]
    if os.path.exists(source):
        return os.path.abspath(source)
    if os.path.isabs(source) and not source.startswith("/vsi"):
        raise QgsProcessingException(
            tr("The file of the layer {} is gone: {}; repair its data source.").format(layer.name(), source)
        )
    return source


# End of the lines that are the same.


class InputStyle(QgsProcessingLayerPostProcessorInterface):
    """Gives the result the look of the input, whose values it has, and the CRS that the input has in the project."""

    kept = {}
    """By output: QGIS does not keep what it is given."""

    def __init__(self, layer, styled):
        super().__init__()
        self.crs = layer.crs()
        self.style = QDomDocument() if styled else None
        if styled:
            layer.exportNamedStyle(self.style)

    def postProcessLayer(self, layer, context, feedback):
        if self.crs.isValid() and layer.crs() != self.crs:
            layer.setCrs(self.crs)
        if self.style:
            layer.importNamedStyle(self.style)
            layer.triggerRepaint()


class SuperResolveRaster(QgsProcessingAlgorithm):
    """The algorithm script:superresolveraster."""

    INPUT = "INPUT"
    SCALE = "SCALE"
    MODEL = "MODEL"
    BANDS = "BANDS"
    DATA_TYPE = "DATA_TYPE"
    COMPRESSION = "COMPRESSION"
    EXTENT = "EXTENT"
    MODEL_FILE = "MODEL_FILE"
    TILE_SIZE = "TILE_SIZE"
    MEMORY = "MEMORY"
    EXTRA = "EXTRA"
    COMMAND = "COMMAND"
    OUTPUT = "OUTPUT"

    MODELS = ["bicubic", "idn", "span"]
    """If the installation does not say which there are."""
    DATA_TYPES = [
        "uint8",
        "int8",
        "uint16",
        "int16",
        "uint32",
        "int32",
        "uint64",
        "int64",
        "float32",
        "float64",
    ]
    COMPRESSIONS = ["DEFLATE", "LZW", "ZSTD", "NONE"]

    def tr(self, text):
        return tr(text)

    def createInstance(self):
        return SuperResolveRaster()

    def name(self):
        return "superresolveraster"

    def displayName(self):
        return self.tr("Super-resolve raster")

    def group(self):
        return self.tr("Super-resolution")

    def groupId(self):
        return "superresolution"

    def tags(self):
        return self.tr("sharpen,enlarge,upscale,resolution,neural network,geosr").split(",")

    def icon(self):
        return QIcon(self.svgIconPath())

    def svgIconPath(self):
        return beside("geosr.svg")

    def helpUrl(self):
        return QUrl.fromLocalFile(beside("geosr.html")).toString() + "#superresolveraster"

    def shortDescription(self):
        return self.tr("Enlarges a raster with a neural network and keeps its position, data type and metadata.")

    def shortHelpString(self):
        return self.tr(
            "This algorithm enlarges a raster two, three or four times with a neural network. The result covers the "
            "same ground.\n\n"
            "CRS, extent, data type, nodata, masks, band names and tags are those of the input layer. There are no "
            "seams between tiles. At a scale of 2 the added detail is an estimate; at 3 and 4 most of it is invented. "
            "Do not measure in the result.\n\n"
            "The layer must be a file that GDAL reads. A cancelled run leaves no files behind."
        )

    def initAlgorithm(self, config=None):
        for parameter in self.main_parameters() + self.advanced_parameters() + command_parameters():
            self.addParameter(parameter)
        self.addParameter(QgsProcessingParameterRasterDestination(self.OUTPUT, self.tr("Super-resolved")))

    def main_parameters(self):
        models = installation().get("models") or self.MODELS
        return [
            QgsProcessingParameterRasterLayer(self.INPUT, self.tr("Input layer")),
            helped(
                QgsProcessingParameterNumber(self.SCALE, self.tr("Scale"), defaultValue=2, minValue=2, maxValue=8),
                self.tr("Factor for rows and columns: 2, 3 or 4 with a network, 2 to 8 with bicubic."),
            ),
            helped(
                QgsProcessingParameterEnum(
                    self.MODEL,
                    self.tr("Model"),
                    models,
                    defaultValue="span" if "span" in models else models[0],
                    usesStaticStrings=True,
                ),
                self.tr(
                    "span is the fastest network, idn slightly more accurate; bicubic interpolation adds no detail."
                ),
            ),
            helped(
                QgsProcessingParameterBand(
                    self.BANDS,
                    self.tr("Bands"),
                    parentLayerParameterName=self.INPUT,
                    optional=True,
                    allowMultiple=True,
                ),
                self.tr("All bands by default."),
            ),
            helped(
                QgsProcessingParameterEnum(
                    self.DATA_TYPE,
                    self.tr("Output data type"),
                    self.DATA_TYPES,
                    optional=True,
                    usesStaticStrings=True,
                ),
                self.tr("That of the input layer by default. Values saturate, they are not scaled."),
            ),
            helped(
                QgsProcessingParameterEnum(
                    self.COMPRESSION,
                    self.tr("Compression"),
                    self.COMPRESSIONS,
                    defaultValue=self.COMPRESSIONS[0],
                    usesStaticStrings=True,
                ),
                self.tr("Lossless compression of a GeoTIFF."),
            ),
            helped(
                QgsProcessingParameterExtent(self.EXTENT, self.tr("Extent to process"), optional=True),
                self.tr("Process the pixels that the extent touches; the whole layer by default."),
            ),
        ]

    def advanced_parameters(self):
        number = QgsProcessingParameterNumber
        model = QgsProcessingParameterFile(
            self.MODEL_FILE, self.tr("Model file"), extension="keras", optional=True, defaultValue=None
        )
        tile = number(self.TILE_SIZE, self.tr("Rows and columns of a tile"), optional=True, minValue=16)
        memory = number(self.MEMORY, self.tr("Memory limit, in MB"), optional=True, minValue=100)
        return [
            advanced(helped(model, self.tr("A network of your own instead of the model above, with its own scale."))),
            advanced(helped(tile, self.tr("Chosen from the raster and the memory limit by default."))),
            advanced(helped(memory, self.tr("Half of the memory, at most 8 GiB, by default."))),
        ]

    def prepareAlgorithm(self, parameters, context, feedback):
        layer = self.parameterAsRasterLayer(parameters, self.INPUT, context)
        if layer is None:
            raise QgsProcessingException(self.invalidRasterError(parameters, self.INPUT))
        self.source = raster_file(layer)
        self.part = self.part_to_process(parameters, context, layer)
        self.bands = self.parameterAsInts(parameters, self.BANDS, context)
        # Layers belong to the main thread, where this runs; the rest does not.
        self.style = InputStyle(layer, styled=not self.bands)
        return True

    def part_to_process(self, parameters, context, layer):
        """The options that say which part of the layer is processed."""
        if not parameters.get(self.EXTENT):
            return []
        extent = self.parameterAsExtent(parameters, self.EXTENT, context, layer.crs())
        whole = layer.extent()
        if layer.crs().isValid() or whole.yMaximum() != 0:
            sides = extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()
            return ["--bounds={!r},{!r},{!r},{!r}".format(*sides)]
        # QGIS counts the rows of an image that has no place on the map from 0 downwards.
        inside = extent.intersect(whole)
        left, top = int(inside.xMinimum()), int(-inside.yMaximum())
        width, height = math.ceil(inside.xMaximum()) - left, math.ceil(-inside.yMinimum()) - top
        return ["--window={},{},{},{}".format(left, top, width, height)]

    def processAlgorithm(self, parameters, context, feedback):
        output = self.parameterAsOutputLayer(parameters, self.OUTPUT, context)
        custom = self.parameterAsString(parameters, self.COMMAND, context)
        # A name that exists was confirmed when it was chosen.
        words = ["superresolve", self.source, os.path.abspath(output), "--overwrite"] + self.options(
            parameters, context, output
        )
        if run_geosr(words, custom, feedback) is None:
            return {}
        if context.willLoadLayerOnCompletion(output):
            InputStyle.kept[output] = self.style
            context.layerToLoadOnCompletionDetails(output).setPostProcessor(self.style)
        return {self.OUTPUT: output}

    def options(self, parameters, context, output):
        own = self.parameterAsFile(parameters, self.MODEL_FILE, context)
        model = self.parameterAsEnumString(parameters, self.MODEL, context)
        scale = str(self.parameterAsInt(parameters, self.SCALE, context))
        words = (["--model", own] if own else ["--model", model, "--scale", scale]) + self.part
        if self.bands:
            words += ["--bands", ",".join(str(band) for band in self.bands)]
        dtype = self.parameterAsEnumString(parameters, self.DATA_TYPE, context)
        if dtype:
            words += ["--dtype", dtype]
        if output.lower().endswith((".tif", ".tiff")):
            words += ["--co", "COMPRESS=" + self.parameterAsEnumString(parameters, self.COMPRESSION, context)]
        if parameters.get(self.TILE_SIZE) is not None:
            words += ["--tile", str(self.parameterAsInt(parameters, self.TILE_SIZE, context))]
        if parameters.get(self.MEMORY) is not None:
            words += ["--memory", "{}MB".format(self.parameterAsInt(parameters, self.MEMORY, context))]
        return words + shlex.split(self.parameterAsString(parameters, self.EXTRA, context))
