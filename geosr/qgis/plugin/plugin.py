"""The QGIS plugin: a Processing provider that offers geosr's algorithms.

It is `__init__.py` of the plugin, beside the scripts, and needs QGIS alone, as they do.
"""

import os

from qgis.core import QgsApplication, QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .burst import StackPhotoBurst
from .dataset import BuildSuperResolutionTrainingSet
from .superresolve import SuperResolveRaster


class Provider(QgsProcessingProvider):
    """The provider `geosr` of the Processing toolbox."""

    def id(self):
        return "geosr"

    def name(self):
        return "geosr"

    def longName(self):
        return "geosr (super-resolution)"

    def icon(self):
        return QIcon(self.svgIconPath())

    def svgIconPath(self):
        return os.path.join(os.path.dirname(os.path.abspath(__file__)), "geosr.svg")

    def loadAlgorithms(self):
        for algorithm in (SuperResolveRaster, BuildSuperResolutionTrainingSet, StackPhotoBurst):
            self.addAlgorithm(algorithm())


class Plugin:
    """What QGIS loads; qgis_process, which has no window, calls initProcessing alone."""

    def __init__(self, interface):
        self.provider = None

    def initProcessing(self):
        self.provider = Provider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self):
        self.initProcessing()

    def unload(self):
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)


def classFactory(interface):
    return Plugin(interface)
