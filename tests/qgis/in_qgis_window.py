"""What the tests have QGIS do in its window: run by qgis --code, it opens the dialog, runs it and takes pictures.

QGIS_PICTURES names the folder for them, QGIS_SCENE the raster, and QGIS_MODEL the model.
"""

import json
import os
import traceback
from pathlib import Path

import processing
from qgis.core import QgsApplication, QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QTimer
from qgis.PyQt.QtWidgets import QTextEdit
from qgis.utils import iface

PICTURES = Path(os.environ["QGIS_PICTURES"])


def main():
    layer = QgsRasterLayer(os.environ["QGIS_SCENE"], "scene")
    QgsProject.instance().addMapLayer(layer)
    iface.mainWindow().resize(1280, 860)
    iface.mapCanvas().setExtent(layer.extent())
    given = {"INPUT": layer, "MODEL": os.environ.get("QGIS_MODEL", "bicubic"), "OUTPUT": str(PICTURES / "scene_x2.tif")}
    dialog = processing.createAlgorithmDialog("script:superresolveraster", given)
    dialog.resize(900, 640)
    dialog.show()
    QTimer.singleShot(1500, lambda: start(dialog))


def start(dialog):
    picture(dialog, "dialog")
    dialog.algorithmFinished.connect(lambda ok, results: QTimer.singleShot(2500, lambda: end(dialog, ok, results)))
    dialog.runAlgorithm()


def end(dialog, ok, results):
    picture(dialog, "done")
    dialog.hide()
    QTimer.singleShot(1500, lambda: leave(dialog, ok, results))


def leave(dialog, ok, results):
    picture(iface.mainWindow(), "window")
    names = [layer.name() for layer in QgsProject.instance().mapLayers().values()]
    log = dialog.findChild(QTextEdit, "txtLog").toPlainText()
    told = {"ok": bool(ok), "results": results, "layers": names, "log": log}
    (PICTURES / "told.json").write_text(json.dumps(told))
    os._exit(0)


def picture(widget, name):
    QgsApplication.processEvents()
    widget.grab().save(str(PICTURES / f"{name}.png"))


try:
    main()
except Exception:
    (PICTURES / "told.json").write_text(json.dumps({"ok": False, "error": traceback.format_exc()}))
    os._exit(1)
