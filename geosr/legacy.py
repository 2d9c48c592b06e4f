"""python -m geosr.legacy."""

from geosr.cli.legacy import legacy

if __name__ == "__main__":
    legacy(prog_name="python -m geosr.legacy")
