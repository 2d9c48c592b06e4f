"""What the tests have QGIS do: run by QGIS's own Python, as in_qgis.py SCENARIO JSON, and printing JSON."""

import json
import os
import sys
import threading
import time
from pathlib import Path

sys.path += ["/usr/share/qgis/python", "/usr/share/qgis/python/plugins"]

from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingParameterRasterLayer,
    QgsProject,
    QgsRasterLayer,
    QgsSingleBandPseudoColorRenderer,
    QgsVectorLayer,
)


class Feedback(QgsProcessingFeedback):
    """Keeps what is said, and cancels at the first progress after so many seconds."""

    def __init__(self, cancel_after=None):
        super().__init__(False)
        self.said, self.errors, self.at, self.cancel_after, self.steps = [], [], None, cancel_after, []
        self.progressChanged.connect(self.steps.append)

    def setProgressText(self, text):
        self.said.append(text)
        if self.cancel_after is not None:
            threading.Timer(self.cancel_after, self.stop).start()

    def stop(self):
        self.at = time.monotonic()
        self.cancel()

    def pushInfo(self, text):
        self.said.append(text)

    pushWarning = pushCommandInfo = pushConsoleInfo = pushInfo

    def reportError(self, error, fatalError=False):
        self.errors.append(error)


def run(algorithm, parameters, cancel_after=None):
    """What came of an algorithm: its results or its error, what it said, and seconds from cancel to end."""
    feedback, context = Feedback(cancel_after), QgsProcessingContext()
    context.setProject(QgsProject.instance())
    told = {}
    try:
        results = processing.run(algorithm, parameters, feedback=feedback, context=context)
        told["results"] = {name: value for name, value in results.items() if isinstance(value, (str, int, float))}
    except QgsProcessingException as error:
        # What is wrong before the work begins is said in the log alone.
        told["error"] = feedback.errors[0] if feedback.errors else str(error)
    if feedback.at:
        told["seconds"] = time.monotonic() - feedback.at
    return dict(told, said=feedback.said, steps=feedback.steps)


def area(wkt, crs):
    """A polygon layer in memory."""
    layer = QgsVectorLayer(f"Polygon?crs={crs}", "area", "memory")
    for one in wkt:
        feature = QgsFeature()
        feature.setGeometry(QgsGeometry.fromWkt(one))
        layer.dataProvider().addFeature(feature)
    return layer


def edited(layer):
    """The layer with a polygon that is not saved."""
    layer.startEditing()
    feature = QgsFeature()
    feature.setGeometry(QgsGeometry.fromWkt("POLYGON((0 0, 1 0, 1 1, 0 0))"))
    layer.addFeature(feature)
    return layer


def in_memory(path):
    gdal.GetDriverByName("GTiff").CreateCopy("/vsimem/scene.tif", gdal.Open(path))
    return QgsRasterLayer("/vsimem/scene.tif", "memory")


def layers(raster):
    """Layers that tests cannot name in JSON."""
    return {
        "<tiles from a server>": QgsRasterLayer("type=xyz&url=http://127.0.0.1:9/{z}/{x}/{y}.png", "tiles", "wms"),
        "<memory>": in_memory(raster),
        "<area>": area(["POLYGON((15 45, 15 45.2, 15.2 45.2, 15.2 45, 15 45))"], "EPSG:4326"),
        "<edited area>": edited(area([], "EPSG:4326")),
        "<empty area>": area([], "EPSG:4326"),
        "<area without a CRS>": area(["POLYGON((0 0, 1 0, 1 1, 0 0))"], ""),
    }


def several(raster, runs):
    """The outcomes of several runs in one process; layers are named in angle brackets."""
    known = layers(raster)
    outcomes = {}
    for name, (algorithm, parameters, cancel_after) in runs.items():
        given = {
            key: ([known.get(one, one) for one in value] if isinstance(value, list) else known.get(value, value))
            for key, value in parameters.items()
        }
        outcomes[name] = run(algorithm, given, cancel_after)
    return outcomes


def area_run(raster, wkt, crs, parameters):
    """A training set of what lies in polygons."""
    return run("script:buildsuperresolutiontrainingset", dict(parameters, INPUT=[raster], AREA=area(wkt, crs)))


def styled(raster, parameters):
    """The renderer, its band and lowest value, CRS, width and name of results that are loaded, of a styled input."""
    layer = QgsRasterLayer(raster, "styled")
    layer.setRenderer(QgsSingleBandPseudoColorRenderer(layer.dataProvider(), 1))
    layer.renderer().setClassificationMin(7)
    layer.setCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
    QgsProject.instance().addMapLayer(layer)
    outcomes = []
    for more in parameters:
        before = set(QgsProject.instance().mapLayers())
        results = processing.runAndLoadResults("script:superresolveraster", dict(more, INPUT=layer))
        [made] = [one for key, one in QgsProject.instance().mapLayers().items() if key not in before]
        renderer = made.renderer()
        told = {"name": made.name(), "type": renderer.type(), "crs": made.crs().authid(), "width": made.width()}
        if renderer.type() == "singlebandpseudocolor":
            told.update(low=renderer.classificationMin(), band=renderer.band())
        outcomes.append(dict(told, exists=Path(results["OUTPUT"]).exists()))
        QgsProject.instance().removeMapLayer(made.id())
    return outcomes


def modelled(raster, output):
    """A model whose one step is the super-resolution, saved, loaded and run."""
    model = QgsProcessingModelAlgorithm("twice", "mine")
    model.addModelParameter(QgsProcessingParameterRasterLayer("layer"), QgsProcessingModelParameter("layer"))
    child = QgsProcessingModelChildAlgorithm("script:superresolveraster")
    child.setChildId("sharper")
    source = QgsProcessingModelChildParameterSource
    child.addParameterSources("INPUT", [source.fromModelParameter("layer")])
    child.addParameterSources("SCALE", [source.fromExpression("1 + 1")])
    child.addParameterSources("MODEL", [source.fromStaticValue("bicubic")])
    child.addParameterSources("COMPRESSION", [source.fromStaticValue("ZSTD")])
    made = QgsProcessingModelOutput("result", "result")
    made.setChildOutputName("OUTPUT")
    child.setModelOutputs({"result": made})
    model.addChildAlgorithm(child)
    assert model.validate()[0], model.validate()
    model.toFile(output + ".model3")
    again = QgsProcessingModelAlgorithm()
    assert again.fromFile(output + ".model3")
    again.initAlgorithm()
    output_of = again.outputDefinitions()[0].name()
    return run(again, {"layer": raster, output_of: output})


def described():
    """The algorithms, as the toolbox shows them."""
    registry = QgsApplication.processingRegistry()
    found = [one for one in registry.providerById("script").algorithms() if one.groupId() == "superresolution"]
    return {
        one.id(): {
            "name": one.displayName(),
            "group": one.group(),
            "help": one.shortHelpString(),
            "url": one.helpUrl(),
            "icon": not one.icon().isNull() and one.svgIconPath(),
            "parameters": {p.name(): [p.type(), p.help(), p.description()] for p in one.parameterDefinitions()},
            "outputs": {o.name(): o.type() for o in one.outputDefinitions()},
            "again": one.create().id(),
        }
        for one in found
    }


def main(scenario, given):
    global processing
    application = QgsApplication([], False)
    application.initQgis()
    import processing
    from processing.core.Processing import Processing

    Processing.initialize()
    made = globals()[scenario](**given)
    print("TOLD " + json.dumps(made), flush=True)
    # QGIS does not always end well without its window.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
