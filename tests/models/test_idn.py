from geosr import models


def test_idn_has_the_paper_s_size():
    assert models.build("idn", 2).count_params() == 552_769
