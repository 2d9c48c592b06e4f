"""The geosr command; each module holds the command of its name."""
