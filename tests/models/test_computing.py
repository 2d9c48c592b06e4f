from geosr.cli.main import main
from geosr.cli.options import taken
from geosr.models.computing import BACKENDS, PRECISIONS, Computing


def test_the_choices_are_those_of_the_library():
    command = main.get_command(None, "superresolve")
    params = {param.name: param for param in command.params}
    assert tuple(params["backend"].type.choices) == BACKENDS
    assert tuple(params["precision"].type.choices) == PRECISIONS
    params = command.make_context("superresolve", ["a.tif", "b.tif"]).params
    assert taken(Computing, params) == Computing()
