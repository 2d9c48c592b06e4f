"""Super-resolve raster: a Processing algorithm for QGIS that runs the geosr command.

It needs Qt, QGIS and Python's standard library alone; geosr lives in a Python of its own, which it never imports.
"""

import math
import os
import shlex

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingParameterBand,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
)
from qgis.PyQt.QtXml import QDomDocument

from .common import Common, advanced, command_parameters, helped, installation, listed, raster_file, run_geosr, tr


class InputStyle(QgsProcessingLayerPostProcessorInterface):
    """Gives the result the name and the look of the input, whose values it has, and its CRS in the project."""

    kept = {}
    """By output: QGIS does not keep what it is given."""

    def __init__(self, layer, bands, scale):
        super().__init__()
        self.input_name, self.crs = layer.name(), layer.crs()
        self.width, self.pixel_size = layer.width(), layer.rasterUnitsPerPixelX()
        self.scale = scale
        self.style = QDomDocument()
        layer.exportNamedStyle(self.style)
        if bands and not renumber_bands(self.style, bands):
            self.style = None

    def postProcessLayer(self, layer, context, feedback):
        # Another name is one that the user or a model has chosen.
        if layer.name() == tr(SuperResolveRaster.RESULT):
            layer.setName("{} x{}".format(self.input_name, self.scale or self.measured_scale(layer)))
        if self.crs.isValid() and layer.crs() != self.crs:
            layer.setCrs(self.crs)
        if self.style:
            layer.importNamedStyle(self.style)
            layer.triggerRepaint()

    def measured_scale(self, layer):
        """The scale of a network that has its own; of a raster without a transform, the pixel size is always 1."""
        ratio = round(self.pixel_size / layer.rasterUnitsPerPixelX())
        return ratio if ratio > 1 else round(layer.width() / self.width)


def renumber_bands(style, bands):
    """Gives the bands in a style the numbers that they have in the result; False if one that is shown is not there."""
    numbers = {str(band): str(number) for number, band in reversed(list(enumerate(bands, 1)))}
    renderers = style.elementsByTagName("rasterrenderer")
    for renderer in (renderers.at(index).toElement() for index in range(renderers.count())):
        for name in ("redBand", "greenBand", "blueBand", "grayBand", "band"):
            # -1 is a colour without a band.
            if renderer.attribute(name, "-1") != "-1":
                if renderer.attribute(name) not in numbers:
                    return False
                renderer.setAttribute(name, numbers[renderer.attribute(name)])
        renderer.setAttribute("alphaBand", numbers.get(renderer.attribute("alphaBand"), "-1"))
    return True


class SuperResolveRaster(Common, QgsProcessingAlgorithm):
    """The algorithm superresolveraster."""

    INPUT = "INPUT"
    SCALE = "SCALE"
    MODEL = "MODEL"
    SENSOR = "SENSOR"
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

    GROUP = "Rasters"
    RESULT = "Super-resolved"
    MODELS = ["bicubic", "idn", "span"]
    SENSORS = ["natural"]
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

    def name(self):
        return "superresolveraster"

    def displayName(self):
        return self.tr("Super-resolve raster")

    def tags(self):
        return self.tr("sharpen,enlarge,upscale,resolution,neural network,geosr").split(",")

    def shortDescription(self):
        return self.tr("Enlarges a raster with a neural network and keeps its position, data type and metadata.")

    def shortHelpString(self):
        return self.tr(
            "This algorithm enlarges a raster two, three or four times with a neural network. The result covers the "
            "same ground.\n\n"
            "CRS, extent, data type, nodata, masks, band names and tags are those of the input layer. There are no "
            "seams between tiles. At a scale of 2 the added detail is an estimate; at 3 and 4 most of it is invented. "
            "Do not measure in the result.\n\n"
            "The model span is told how much a sensor blurs. natural, the default, gives the picture that the same "
            "sensor would take from half the height. A sensor by name has its blur undone, for layers whose bands have "
            "its names. The result has the style of the input layer.\n\n"
            "The layer must be a file that GDAL reads. A cancelled run leaves no files behind."
        )

    def initAlgorithm(self, config=None):
        for parameter in self.main_parameters() + self.advanced_parameters() + command_parameters():
            self.addParameter(parameter)
        self.addParameter(QgsProcessingParameterRasterDestination(self.OUTPUT, self.tr(self.RESULT)))

    def main_parameters(self):
        notes = installation()
        models = notes.get("models") or {name: {} for name in self.MODELS}
        sensors = notes.get("sensors") or dict.fromkeys(self.SENSORS, "")
        default = "span" if "span" in models else next(iter(models))
        scale = QgsProcessingParameterNumber(self.SCALE, self.tr("Scale"), defaultValue=2, minValue=2, maxValue=8)
        model = QgsProcessingParameterEnum(
            self.MODEL, self.tr("Model"), list(models), defaultValue=default, usesStaticStrings=True
        )
        # Optional: models of QGIS that were made before it was there stay valid.
        sensor = QgsProcessingParameterEnum(
            self.SENSOR,
            self.tr("Sensor"),
            list(sensors),
            defaultValue=self.SENSORS[0],
            optional=True,
            usesStaticStrings=True,
        )
        lines = ["{}: {}".format(name, facts.get("line", "")) for name, facts in models.items()]
        return [
            QgsProcessingParameterRasterLayer(self.INPUT, self.tr("Input layer")),
            listed(helped(model, "\n".join(lines)), "ModelList"),
            listed(
                helped(scale, self.tr("Factor for rows and columns: 2, 3 or 4 with a network, 2 to 8 with bicubic.")),
                "ScaleList",
            ),
            listed(
                helped(
                    sensor,
                    self.tr(
                        "Sensor whose blur is undone, by the names of the layer's bands. natural: the picture that the "
                        "same sensor would take from half the height."
                    ),
                ),
                "SensorList",
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
        own = self.parameterAsFile(parameters, self.MODEL_FILE, context)
        scale = None if own else self.parameterAsInt(parameters, self.SCALE, context)
        # Layers belong to the main thread, where this runs; the rest does not.
        self.style = InputStyle(layer, self.bands, scale)
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
        sensor = self.parameterAsEnumString(parameters, self.SENSOR, context)
        if sensor and sensor != self.SENSORS[0]:
            words += ["--sensor", sensor]
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
