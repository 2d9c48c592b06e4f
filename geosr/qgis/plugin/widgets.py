"""Lists in the plugin's dialogs: they show a line on each choice, and only the choices that go with the others."""

from processing.gui.wrappers import WidgetWrapper
from qgis.gui import QgsGui
from qgis.PyQt.QtWidgets import QComboBox

from .common import installation, tr

NOTES = {3: "much of the detail is invented", 4: "the detail is invented: for looking, not for measuring"}
"""Lines on the scales of networks."""


def joined(name, line):
    return f"{name}: {line}" if line else str(name)


class LineList(WidgetWrapper):
    """A list that shows lines and gives values; in a model, where values come from elsewhere, QGIS's own widget."""

    def __new__(cls, parameter, dialog, *args, **kwargs):
        if type(dialog).__name__ == "ModelerParametersDialog":
            registry = QgsGui.processingGuiRegistry()
            wrapper = registry.createModelerParameterWidget(dialog.model, dialog.childId, parameter, dialog.context)
            wrapper.setDialog(dialog)
            return wrapper
        return super().__new__(cls, parameter, dialog, *args, **kwargs)

    def createWidget(self):
        self.box = QComboBox()
        # A long line must not make the dialog wider.
        self.box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.box.setMinimumContentsLength(24)
        self.fill(self.lines())
        self.box.currentIndexChanged.connect(lambda: self.widgetValueHasChanged.emit(self))
        return self.box

    def lines(self):
        """The lines to show, by value."""
        raise NotImplementedError

    def fill(self, lines):
        """Shows other lines; the value stays if it is among them."""
        value = self.value()
        self.box.blockSignals(True)
        self.box.clear()
        for key, line in lines.items():
            self.box.addItem(line, key)
        self.setValue(value)
        self.box.blockSignals(False)

    def setValue(self, value):
        self.box.setCurrentIndex(max(self.box.findData(value), 0))

    def value(self):
        return self.box.currentData()

    def postInitialize(self, wrappers):
        super().postInitialize(wrappers)
        self.others = {wrapper.parameterDefinition().name(): wrapper for wrapper in wrappers}
        for name in ("MODEL", "MODEL_FILE"):
            if name in self.others and self.others[name] is not self:
                self.others[name].widgetValueHasChanged.connect(lambda _: self.update())
        self.update()

    def update(self):
        """Shows what goes with the other choices."""

    def own_network(self):
        return bool(self.others["MODEL_FILE"].parameterValue()) if "MODEL_FILE" in self.others else False

    def model(self):
        """The facts about the chosen model."""
        models = installation().get("models") or {}
        return models.get(self.others["MODEL"].parameterValue(), {}) if "MODEL" in self.others else {}


class ModelList(LineList):
    def lines(self):
        models = installation().get("models") or {}
        return {name: joined(name, models.get(name, {}).get("line")) for name in self.parameterDefinition().options()}

    def update(self):
        self.box.setEnabled(not self.own_network())


class ScaleList(LineList):
    """The scales of the model; a network of one's own has its own."""

    def lines(self):
        definition = self.parameterDefinition()
        return {scale: str(scale) for scale in range(int(definition.minimum()), int(definition.maximum()) + 1)}

    def setValue(self, value):
        super().setValue(value if value is None else int(value))

    def update(self):
        self.box.setEnabled(not self.own_network())
        scales = self.model().get("scales") or list(self.lines())
        notes = NOTES if self.model().get("network") else {}
        self.fill({scale: joined(scale, tr(notes.get(scale, ""))) for scale in scales})


class SensorList(LineList):
    def lines(self):
        lines = installation().get("sensors") or {}
        return {name: joined(name, lines.get(name)) for name in self.parameterDefinition().options()}

    def update(self):
        knows = self.own_network() or self.model().get("knows_sensors", True)
        self.box.setEnabled(knows)
        if not knows:
            self.box.setCurrentIndex(0)
