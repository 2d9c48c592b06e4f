"""The common part of the algorithms: the geosr command as a child process, its parameters, and the files of layers.

The plugin imports it; each script, which cannot import its neighbours, is written with it inside.
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
    QgsProcessingException,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterString,
    QgsProcessingUtils,
)
from qgis.PyQt.QtCore import QCoreApplication, QUrl
from qgis.PyQt.QtGui import QIcon

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


def in_plugin():
    return "." in __name__


def tr(text):
    return QCoreApplication.translate("geosr", text)


def beside(name):
    """A file in the folder of this script; the script editor gives scripts no file."""
    return os.path.join(os.path.dirname(os.path.abspath(globals().get("__file__", name))), name)


def installation():
    """The content of the file that "geosr qgis install" wrote beside this script; nothing if it is missing."""
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


def listed(parameter, widget):
    """The parameter with a widget of the plugin's in dialogs; scripts have QGIS's own."""
    if in_plugin():
        package = __name__.rpartition(".")[0]
        parameter.setMetadata({"widget_wrapper": {"class": "{}.widgets.{}".format(package, widget)}})
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


class Pace:
    """Progress in percent that moves between the steps of the child: the longer one takes, the slower."""

    FIRST = 10.0
    """Seconds that the first step is thought to take."""

    def __init__(self, clock=time.monotonic):
        self.clock = clock
        self.start(0, 0)

    def start(self, done, total):
        """Begins a stage of so many steps, of which some may be done."""
        self.first = self.done = done
        self.total = total
        self.begin = self.last = self.clock()

    def step(self, done):
        if done != self.done:
            self.done, self.last = done, self.clock()

    def percent(self):
        steps = self.done - self.first
        expected = max((self.last - self.begin) / steps, 0.01) if steps else self.FIRST
        part = 1 - math.exp((self.last - self.clock()) / expected) if self.done < self.total else 0
        return min(100.0 * (self.done + 0.95 * part) / max(self.total, 1), 100.0)


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
        self.pace = Pace()
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
                if self.stage is not None:
                    self.feedback.setProgress(self.pace.percent())
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
                self.pace.start(event["done"], event["total"])
                unit = event["unit"][:-1] if event["total"] == 1 else event["unit"]
                self.feedback.setProgressText("{}: {} {}".format(event["label"], event["total"], unit))
            self.pace.step(event["done"])
            self.feedback.setProgress(self.pace.percent())

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


class Common:
    """What the algorithms say of themselves in the same way."""

    GROUP = "Super-resolution"
    ICON = "geosr.svg"

    def tr(self, text):
        return tr(text)

    def createInstance(self):
        return type(self)()

    def group(self):
        return self.tr(self.GROUP if in_plugin() else Common.GROUP)

    def groupId(self):
        return self.group().replace(" ", "").replace("-", "").lower()

    def icon(self):
        return QIcon(self.svgIconPath())

    def svgIconPath(self):
        return beside(self.ICON)

    def helpUrl(self):
        return QUrl.fromLocalFile(beside("geosr.html")).toString() + "#" + self.name()
