"""Build super-resolution training set: a Processing algorithm for QGIS that runs the geosr command.

It needs Qt, QGIS and Python's standard library alone; geosr lives in a Python of its own, which it never imports.
"""

import json
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
    QgsFeature,
    QgsFields,
    QgsGeometry,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
    QgsProcessingUtils,
    QgsVectorFileWriter,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QCoreApplication, QUrl
from qgis.PyQt.QtGui import QIcon

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


class BuildSuperResolutionTrainingSet(QgsProcessingAlgorithm):
    """The algorithm script:buildsuperresolutiontrainingset."""

    INPUT = "INPUT"
    AREA = "AREA"
    SCALE = "SCALE"
    TILE_SIZE = "TILE_SIZE"
    VALIDATION = "VALIDATION"
    SEED = "SEED"
    OVERWRITE = "OVERWRITE"
    EXTRA = "EXTRA"
    COMMAND = "COMMAND"
    OUTPUT = "OUTPUT"
    TILES = "TILES"
    TRAINING_TILES = "TRAINING_TILES"
    VALIDATION_TILES = "VALIDATION_TILES"

    def tr(self, text):
        return tr(text)

    def createInstance(self):
        return BuildSuperResolutionTrainingSet()

    def name(self):
        return "buildsuperresolutiontrainingset"

    def displayName(self):
        return self.tr("Build super-resolution training set")

    def group(self):
        return self.tr("Super-resolution")

    def groupId(self):
        return "superresolution"

    def tags(self):
        return self.tr("tiles,dataset,machine learning,neural network,TFRecord,geosr").split(",")

    def icon(self):
        return QIcon(self.svgIconPath())

    def svgIconPath(self):
        return beside("geosr.svg")

    def helpUrl(self):
        return QUrl.fromLocalFile(beside("geosr.html")).toString() + "#buildsuperresolutiontrainingset"

    def shortDescription(self):
        return self.tr("Cuts rasters into tiles for training a super-resolution network.")

    def shortHelpString(self):
        return self.tr(
            "This algorithm cuts rasters into tiles, shrinks each by the scale, and writes the pairs as TFRecords to "
            "the folders x(scale)/Training and x(scale)/Validation of the output folder, for geosr train.\n\n"
            "Tiles with nodata are left out, and those outside the polygons of the area layer, if there is one. "
            "Training and validation tiles never show the same place.\n\n"
            "The layers must be files that GDAL reads. A cancelled run leaves no files behind."
        )

    def initAlgorithm(self, config=None):
        for parameter in self.main_parameters() + self.advanced_parameters() + command_parameters():
            self.addParameter(parameter)
        self.addParameter(QgsProcessingParameterFolderDestination(self.OUTPUT, self.tr("Output folder")))
        self.addOutput(QgsProcessingOutputNumber(self.TILES, self.tr("Number of tiles")))
        self.addOutput(QgsProcessingOutputNumber(self.TRAINING_TILES, self.tr("Number of training tiles")))
        self.addOutput(QgsProcessingOutputNumber(self.VALIDATION_TILES, self.tr("Number of validation tiles")))

    def main_parameters(self):
        number = QgsProcessingParameterNumber
        area = QgsProcessingParameterFeatureSource(
            self.AREA, self.tr("Area layer"), [QgsProcessing.TypeVectorPolygon], optional=True
        )
        scale = number(self.SCALE, self.tr("Scale"), defaultValue=2, minValue=2, maxValue=8)
        size = number(self.TILE_SIZE, self.tr("Rows and columns of a tile"), defaultValue=96, minValue=16)
        return [
            QgsProcessingParameterMultipleLayers(self.INPUT, self.tr("Input layers"), QgsProcessing.TypeRaster),
            helped(area, self.tr("Tiles outside its polygons are left out. Any CRS will do.")),
            helped(scale, self.tr("Factor between the two resolutions.")),
            helped(size, self.tr("Pixels of the input layers; a multiple of the scale.")),
        ]

    def advanced_parameters(self):
        number = QgsProcessingParameterNumber
        share = number(
            self.VALIDATION,
            self.tr("Share of the tiles kept for validation"),
            type=number.Double,
            defaultValue=0.1,
            minValue=0,
            maxValue=0.9,
        )
        seed = number(self.SEED, self.tr("Seed"), defaultValue=0)
        overwrite = QgsProcessingParameterBoolean(
            self.OVERWRITE, self.tr("Replace a training set that is in the folder"), defaultValue=False
        )
        return [advanced(share), advanced(helped(seed, self.tr("Seed of the random numbers."))), advanced(overwrite)]

    def prepareAlgorithm(self, parameters, context, feedback):
        layers = self.parameterAsLayerList(parameters, self.INPUT, context)
        if not layers:
            raise QgsProcessingException(self.tr("No input layer is chosen; choose one or more."))
        self.sources = [raster_file(layer) for layer in layers]
        self.area = None
        if parameters.get(self.AREA):
            self.area = self.parameterAsSource(parameters, self.AREA, context)
            if self.area is None:
                raise QgsProcessingException(self.invalidSourceError(parameters, self.AREA))
            layer = self.parameterAsVectorLayer(parameters, self.AREA, context)
            self.check_area(layer)
        return True

    def check_area(self, layer):
        name = self.area.sourceName()
        if layer is not None and layer.isModified():
            raise QgsProcessingException(
                self.tr(
                    "The layer {} has edits that are not saved; save them (Layer, Save Layer Edits) and run again."
                ).format(name)
            )
        if not self.area.sourceCrs().isValid():
            raise QgsProcessingException(
                self.tr("The layer {} has no CRS; set it (Layer, Set CRS of Layer) and run again.").format(name)
            )
        if not self.area.featureCount():
            raise QgsProcessingException(
                self.tr("The layer {} has no polygons to choose tiles by; draw some, or leave it out.").format(name)
            )

    def processAlgorithm(self, parameters, context, feedback):
        folder = os.path.abspath(self.parameterAsString(parameters, self.OUTPUT, context))
        custom = self.parameterAsString(parameters, self.COMMAND, context)
        scratch = tempfile.mkdtemp(prefix="geosr_", dir=QgsProcessingUtils.tempFolder())
        try:
            words = ["dataset"] + self.sources + [folder] + self.options(parameters, context)
            if self.area is not None:
                words += ["--aoi", self.written_area(os.path.join(scratch, "area.gpkg"), context)]
            made = run_geosr(words, custom, feedback)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if made is None:
            return {}
        training, validation = (made["tiles"][split] for split in ("Training", "Validation"))
        feedback.pushInfo(self.tr("{} tiles for training and {} for validation").format(training, validation))
        return {
            self.OUTPUT: folder,
            self.TILES: sum(made["tiles"].values()),
            self.TRAINING_TILES: training,
            self.VALIDATION_TILES: validation,
        }

    def options(self, parameters, context):
        words = ["--scale", str(self.parameterAsInt(parameters, self.SCALE, context))]
        words += ["--size", str(self.parameterAsInt(parameters, self.TILE_SIZE, context))]
        words += ["--validation", repr(self.parameterAsDouble(parameters, self.VALIDATION, context))]
        words += ["--seed", str(self.parameterAsInt(parameters, self.SEED, context))]
        if self.parameterAsBoolean(parameters, self.OVERWRITE, context):
            words.append("--overwrite")
        return words + shlex.split(self.parameterAsString(parameters, self.EXTRA, context))

    def written_area(self, path, context):
        """Writes the polygons to a file, in their own CRS: the layer may be in memory, or only some be selected."""
        options = QgsVectorFileWriter.SaveVectorOptions()
        options.driverName = "GPKG"
        kind = QgsWkbTypes.multiType(QgsWkbTypes.flatType(QgsWkbTypes.linearType(self.area.wkbType())))
        crs = self.area.sourceCrs()
        writer = QgsVectorFileWriter.create(path, QgsFields(), kind, crs, context.transformContext(), options)
        for one in self.area.getFeatures():
            if one.hasGeometry():
                feature = QgsFeature()
                feature.setGeometry(flat(one.geometry()))
                writer.addFeature(feature)
        told = writer.errorMessage()
        # What is not written yet is written when the writer goes.
        del writer
        if told:
            raise QgsProcessingException(self.tr("The area layer cannot be written to {}: {}").format(path, told))
        return path


def flat(geometry):
    """The polygons with straight sides and two dimensions."""
    made = QgsGeometry(geometry.constGet().segmentize())
    made.get().dropZValue()
    made.get().dropMValue()
    made.convertToMultiType()
    return made
