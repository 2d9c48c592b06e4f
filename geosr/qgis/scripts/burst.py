"""Stack photo burst: a Processing algorithm for QGIS that runs the geosr command.

It needs Qt, QGIS and Python's standard library alone; geosr lives in a Python of its own, which it never imports.
"""

import os
import shlex

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingOutputHtml,
    QgsProcessingOutputNumber,
    QgsProcessingOutputRasterLayer,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
)

from .common import Common, advanced, command_parameters, helped, run_geosr


class StackPhotoBurst(Common, QgsProcessingAlgorithm):
    """The algorithm stackphotoburst."""

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

    GROUP = "Photographs"
    ICON = "burst.svg"
    METHODS = ["mean", "median", "trimmed", "sigma", "robust"]
    DEFAULT_METHODS = ["mean", "median", "robust"]
    ALIGN_MODES = ["hugin", "none"]

    def name(self):
        return "stackphotoburst"

    def displayName(self):
        return self.tr("Stack photo burst")

    def tags(self):
        return self.tr("photos,photographs,hugin,align,mean,median,noise,sharpen,geosr").split(",")

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
                title = "{} {}".format(os.path.basename(photos), name.lower())
                details = QgsProcessingContext.LayerDetails(title, context.project(), name)
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
