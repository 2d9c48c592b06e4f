import numpy as np
import pytest

from geosr.burst import hugin, hugin_projects, photos
from geosr.errors import BurstError
from tests.photographs import SIZE, frames, save_burst


@pytest.fixture
def scanned(tmp_path):
    return photos.scan([save_burst(tmp_path / "in", frames([np.eye(3)] * 3))])


def project(tmp_path, names, size=SIZE):
    path = tmp_path / "burst.pto"
    points = [(np.zeros((1, 2)), np.zeros((1, 2)))] * (len(names) - 1)
    hugin.write_project(path, names, size, points, view=50, roll=0)
    return path


def test_the_photos_of_a_project_are_found_by_name_in_its_order(tmp_path, scanned):
    names = ["/somewhere/else/3.tif", r"C:\photos\1.tif"]
    found = hugin_projects.photos_of(project(tmp_path, names), scanned)
    assert [photo.name for photo in found] == ["3.tif", "1.tif"]


@pytest.mark.parametrize(
    ("names", "size", "why"),
    [
        (["1.tif", "9.tif"], SIZE, "9.tif"),
        (["1.tif"], SIZE, "a second photo"),
        (["1.tif", "2.tif"], (99, 88), "99 x 88"),
    ],
)
def test_a_project_of_other_photos_is_refused(tmp_path, scanned, names, size, why):
    with pytest.raises(BurstError, match=why):
        hugin_projects.photos_of(project(tmp_path, names, size), scanned)
