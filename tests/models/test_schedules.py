import pytest


@pytest.mark.parametrize("shape", ["cosine", "step", "constant"])
def test_the_rate_rises_and_then_follows_its_shape(shape):
    from geosr.models.schedules import Schedule

    rate = [float(Schedule(shape, 1e-3, 1000, 100)(step)) for step in (0, 50, 100, 550, 1000)]
    assert rate[:3] == pytest.approx([0, 5e-4, 1e-3])
    assert rate[3:] == pytest.approx(
        {"cosine": [5e-4, 0], "step": [5e-4, 6.25e-5], "constant": [1e-3, 1e-3]}[shape], abs=1e-9
    )
