"""python -m geosr."""

from geosr.cli.main import main

main(prog_name="geosr")
