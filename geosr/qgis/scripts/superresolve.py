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

from .common import Common, advanced, command_parameters, helped, installation, raster_file, run_geosr


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


class SuperResolveRaster(Common, QgsProcessingAlgorithm):
    """The algorithm superresolveraster."""

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
