"""Stack photo burst: a Processing algorithm for QGIS that runs the geosr command.

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
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingOutputHtml,
    QgsProcessingOutputNumber,
    QgsProcessingOutputRasterLayer,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
    QgsProcessingUtils,
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


class StackPhotoBurst(QgsProcessingAlgorithm):
    """The algorithm script:stackphotoburst."""

    INPUT = "INPUT"
    SCALE = "SCALE"
    METHOD = "METHOD"
    LOAD = "LOAD"
    ALIGN = "ALIGN"
    MEMORY = "MEMORY"
    OVERWRITE = "OVERWRITE"
    EXTRA = "EXTRA"
    COMMAND = "COMMAND"
    OUTPUT = "OUTPUT"
    REPORT = "REPORT"
    KEPT = "KEPT"

    METHODS = ["mean", "median", "trimmed", "sigma", "robust"]
    DEFAULT_METHODS = ["mean", "median", "robust"]
    ALIGN_MODES = ["hugin", "none"]

    def tr(self, text):
        return tr(text)

    def createInstance(self):
        return StackPhotoBurst()

    def name(self):
        return "stackphotoburst"

    def displayName(self):
        return self.tr("Stack photo burst")

    def group(self):
        return self.tr("Super-resolution")

    def groupId(self):
        return "superresolution"

    def tags(self):
        return self.tr("photos,photographs,hugin,align,mean,median,noise,sharpen,geosr").split(",")

    def icon(self):
        return QIcon(self.svgIconPath())

    def svgIconPath(self):
        return beside("geosr.svg")

    def helpUrl(self):
        return QUrl.fromLocalFile(beside("geosr.html")).toString() + "#stackphotoburst"

    def shortDescription(self):
        return self.tr("Stacks a burst of ground photos into sharper, cleaner images.")

    def shortHelpString(self):
        return self.tr(
            "This algorithm aligns the photos of a folder (JPEG, TIFF or PNG, of one size) with Hugin, brings them to "
            "one exposure and stacks them into images with more pixels and less noise.\n\n"
            "Photos that are blurred or do not fit are left out; the report says which and why. The images have the "
            "metadata of the sharpest photo; the photos themselves are only read.\n\n"
            "Hugin's tools must be installed. A cancelled run leaves no files behind."
        )

    def initAlgorithm(self, config=None):
        for parameter in self.main_parameters() + self.advanced_parameters() + command_parameters():
            self.addParameter(parameter)
        self.addParameter(QgsProcessingParameterFolderDestination(self.OUTPUT, self.tr("Output folder")))
        for method in self.METHODS:
            self.addOutput(QgsProcessingOutputRasterLayer(method.upper(), self.tr("Image by {}").format(method)))
        self.addOutput(QgsProcessingOutputHtml(self.REPORT, self.tr("Report")))
        self.addOutput(QgsProcessingOutputNumber(self.KEPT, self.tr("Number of photos that fit")))

    def main_parameters(self):
        photos = QgsProcessingParameterFile(
            self.INPUT, self.tr("Folder of the photos"), behavior=QgsProcessingParameterFile.Folder
        )
        scale = QgsProcessingParameterNumber(self.SCALE, self.tr("Scale"), defaultValue=2, minValue=1, maxValue=8)
        method = QgsProcessingParameterEnum(
            self.METHOD,
            self.tr("Methods"),
            self.METHODS,
            allowMultiple=True,
            defaultValue=self.DEFAULT_METHODS,
            usesStaticStrings=True,
        )
        load = QgsProcessingParameterBoolean(
            self.LOAD, self.tr("Load the images when they are done"), defaultValue=True
        )
        return [
            photos,
            helped(scale, self.tr("Factor for rows and columns.")),
            helped(method, self.tr("Each method writes an image. robust is a mean without ghosts of moving objects.")),
            load,
        ]

    def advanced_parameters(self):
        number = QgsProcessingParameterNumber
        align = QgsProcessingParameterEnum(
            self.ALIGN,
            self.tr("Alignment"),
            self.ALIGN_MODES,
            defaultValue=self.ALIGN_MODES[0],
            usesStaticStrings=True,
        )
        memory = number(self.MEMORY, self.tr("Memory limit, in MB"), optional=True, minValue=100)
        overwrite = QgsProcessingParameterBoolean(
            self.OVERWRITE, self.tr("Replace images that are in the folder"), defaultValue=False
        )
        return [
            advanced(helped(align, self.tr("none: photos are already aligned, or georeferenced."))),
            advanced(helped(memory, self.tr("1.5 GiB by default; the tile size follows from it."))),
            advanced(overwrite),
        ]

    def processAlgorithm(self, parameters, context, feedback):
        photos = os.path.abspath(self.parameterAsFile(parameters, self.INPUT, context))
        folder = os.path.abspath(self.parameterAsString(parameters, self.OUTPUT, context))
        custom = self.parameterAsString(parameters, self.COMMAND, context)
        words = ["burst", photos, folder] + self.options(parameters, context)
        made = run_geosr(words, custom, feedback)
        if made is None:
            return {}
        for frame in made["frames"]:
            if not frame["kept"]:
                feedback.pushWarning("{}: {}".format(frame["name"], frame["reason"]))
        feedback.pushInfo(self.tr("{} of {} photos fit").format(made["kept"], len(made["frames"])))
        images = {name[: -len(".tif")].upper(): os.path.join(folder, name) for name in made["outputs"]}
        if self.parameterAsBoolean(parameters, self.LOAD, context) and context.project():
            for name, path in images.items():
                details = QgsProcessingContext.LayerDetails(name.lower(), context.project(), name)
                context.addLayerToLoadOnCompletion(path, details)
        return dict(
            images, **{self.OUTPUT: folder, self.REPORT: os.path.join(folder, "report.html"), self.KEPT: made["kept"]}
        )

    def options(self, parameters, context):
        words = ["--scale", str(self.parameterAsInt(parameters, self.SCALE, context))]
        for method in self.parameterAsEnumStrings(parameters, self.METHOD, context):
            words += ["--method", method]
        words += ["--align", self.parameterAsEnumString(parameters, self.ALIGN, context)]
        if parameters.get(self.MEMORY) is not None:
            words += ["--memory", "{}MB".format(self.parameterAsInt(parameters, self.MEMORY, context))]
        if self.parameterAsBoolean(parameters, self.OVERWRITE, context):
            words.append("--overwrite")
        return words + shlex.split(self.parameterAsString(parameters, self.EXTRA, context))
