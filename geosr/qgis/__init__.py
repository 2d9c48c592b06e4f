"""The plugin and the Processing scripts for QGIS, and their installation."""
