"""Build super-resolution training set: a Processing algorithm for QGIS that runs the geosr command.

It needs Qt, QGIS and Python's standard library alone; geosr lives in a Python of its own, which it never imports.
"""

import os
import shlex
import shutil
import tempfile

from qgis.core import (
    QgsFeature,
    QgsFields,
    QgsGeometry,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingUtils,
    QgsVectorFileWriter,
    QgsWkbTypes,
)

from .common import Common, advanced, command_parameters, helped, raster_file, run_geosr


class BuildSuperResolutionTrainingSet(Common, QgsProcessingAlgorithm):
    """The algorithm buildsuperresolutiontrainingset."""

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

    GROUP = "Training"
    ICON = "dataset.svg"

    def name(self):
        return "buildsuperresolutiontrainingset"

    def displayName(self):
        return self.tr("Build super-resolution training set")

    def tags(self):
        return self.tr("tiles,dataset,machine learning,neural network,TFRecord,geosr").split(",")

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
