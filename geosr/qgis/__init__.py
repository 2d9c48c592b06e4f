"""The Processing scripts for QGIS, and their installation."""
