"""What the tests have QGIS do in its window: run by qgis --code, it opens dialogs, runs one, and takes pictures.

QGIS_PICTURES names the folder for them, QGIS_SCENE the raster, and QGIS_MODEL the model.
"""

import json
import os
import traceback
from pathlib import Path

import processing
from processing.gui.BatchAlgorithmDialog import BatchAlgorithmDialog
from processing.modeler.ModelerParametersDialog import ModelerParametersDialog
from qgis.core import QgsApplication, QgsProcessingModelAlgorithm, QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QTimer
from qgis.PyQt.QtWidgets import QDockWidget, QTextEdit, QTreeView
from qgis.utils import iface

PICTURES = Path(os.environ["QGIS_PICTURES"])
ALGORITHM = "geosr:superresolveraster"
LISTS = ("MODEL", "SCALE", "SENSOR")
TOLD = {}
WAIT = 1500
"""Milliseconds for QGIS to draw."""


def then(step, *given, wait=WAIT):
    """Go on with a step when QGIS has drawn; an error ends QGIS."""
    QTimer.singleShot(wait, lambda: attempt(step, *given))


def attempt(step, *given):
    try:
        step(*given)
    except Exception:
        leave({"ok": False, "error": traceback.format_exc()})


def leave(told):
    (PICTURES / "told.json").write_text(json.dumps(told))
    os._exit(0)


def picture(widget, name):
    QgsApplication.processEvents()
    widget.grab().save(str(PICTURES / f"{name}.png"))


def algorithm():
    return QgsApplication.processingRegistry().createAlgorithmById(ALGORITHM)


def main():
    layer = QgsRasterLayer(os.environ["QGIS_SCENE"], "scene")
    QgsProject.instance().addMapLayer(layer)
    iface.mainWindow().resize(1280, 860)
    iface.mapCanvas().setExtent(layer.extent())
    batch = BatchAlgorithmDialog(algorithm(), parent=iface.mainWindow())
    batch.show()
    then(see_batch, batch, layer)


def see_batch(batch, layer):
    picture(batch, "batch")
    wrappers = {one.parameterDefinition().name(): one for one in batch.mainWidget().wrappers[0] if one}
    TOLD["batch"] = {name: wrappers[name].parameterValue() for name in LISTS}
    batch.close()
    model = QgsProcessingModelAlgorithm("twice", "mine")
    dialog = ModelerParametersDialog(algorithm(), model)
    dialog.show()
    then(see_model, dialog, model, layer)


def see_model(dialog, model, layer):
    picture(dialog, "model")
    sources = dialog.createAlgorithm().parameterSources()
    TOLD["model"] = {name: sources[name][0].staticValue() for name in LISTS}
    dialog.hide()
    given = {"INPUT": layer, "OUTPUT": str(PICTURES / "scene_x2.tif")}
    dialog = processing.createAlgorithmDialog(ALGORITHM, given)
    dialog.resize(900, 640)
    dialog.show()
    then(see_lists, dialog)


def see_lists(dialog):
    picture(dialog, "dialog")
    wrappers = dialog.mainWidget().wrappers
    lists = TOLD["lists"] = {"span": seen(wrappers)}
    wrappers["MODEL"].setValue("bicubic")
    lists["bicubic"] = seen(wrappers)
    wrappers["MODEL_FILE"].wrappedWidget().setFilePath("/mine.keras")
    lists["own"] = seen(wrappers)
    wrappers["MODEL_FILE"].wrappedWidget().setFilePath("")
    wrappers["MODEL"].setValue(os.environ.get("QGIS_MODEL", "bicubic"))
    dialog.algorithmFinished.connect(lambda ok, results: then(end, dialog, ok, results, wait=2500))
    dialog.runAlgorithm()


def seen(wrappers):
    """The lines of each list, its value, and whether it can be used."""
    told = {}
    for name in LISTS:
        box = wrappers[name].widget
        lines = [box.itemText(index) for index in range(box.count())]
        told[name] = [lines, wrappers[name].parameterValue(), box.isEnabled()]
    return told


def end(dialog, ok, results):
    picture(dialog, "done")
    log = dialog.findChild(QTextEdit, "txtLog").toPlainText()
    TOLD.update(ok=bool(ok), results=results, log=log, groups={})
    dialog.hide()
    [toolbox] = [one for one in iface.mainWindow().findChildren(QDockWidget) if one.objectName() == "ProcessingToolbox"]
    toolbox.show()
    [view] = toolbox.findChildren(QTreeView)
    tree = view.model()
    [provider] = [index for index in rows(tree) if index.data() == "geosr"]
    view.expandRecursively(provider)
    view.scrollTo(provider, QTreeView.PositionAtCenter)
    for group in rows(tree, provider):
        TOLD["groups"][group.data()] = [index.data() for index in rows(tree, group)]
    then(finish)


def rows(tree, *parent):
    return [tree.index(row, 0, *parent) for row in range(tree.rowCount(*parent))]


def finish():
    picture(iface.mainWindow(), "window")
    layers = QgsProject.instance().mapLayers().values()
    leave(dict(TOLD, layers={layer.name(): layer.renderer().type() for layer in layers}))


attempt(main)
