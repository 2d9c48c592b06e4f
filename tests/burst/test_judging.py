from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from geosr.burst import judging
from geosr.burst.homography import apply
from geosr.burst.job import Aligned
from geosr.burst.judging import Judgement
from geosr.burst.photos import Frame
from geosr.rasters.profile import Profile


def burst_of(*frames):
    """Frames of these sharpnesses, brightnesses and clipped shares; nothing else of them is looked at."""
    return [
        Frame(SimpleNamespace(name=str(i)), None, Path(), Path(), bright, sharp, clipped)
        for i, (sharp, bright, clipped) in enumerate(frames)
    ]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([(1, 100, 0)] * 5, 2),
        ([(1, 100, 0)] * 6, 2),
        ([(1, 100, 0)] * 2, 0),
        ([(1, 100, 0), (1.05, 100, 0), (1, 100, 0), (1.05, 100, 0), (3, 100, 0)], 4),
        ([(1, 100, 0), (1, 100, 0), (2, 20, 0), (1, 100, 0), (1, 100, 0)], 1),
        ([(1, 100, 0), (1.2, 100, 0), (1, 100, 0), (3, 110, 0.1), (1, 100, 0)], 1),
        ([(1.0, 50, 0), (2, 200, 0), (1.5, 90, 0), (2, 20, 0)], 2),
        # A bracket of three exposures, taken twice: middle, dark, washed out.
        ([(1.18, 160, 0.1), (1.14, 135, 0.08), (1.11, 187, 0.15), (1.19, 160, 0.11), (1.16, 135, 0.08),
          (1.21, 185, 0.19)], 3),
    ],
)  # fmt: skip
def test_the_reference_is_the_sharpest_of_the_well_exposed(frames, expected):
    assert judging.references(burst_of(*frames))[0].photo.name == str(expected)


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.text(), st.booleans(), st.floats(0, 9), st.lists(st.floats(-9, 9), min_size=9, max_size=9)))
)
def test_judgements_come_back_as_they_were(made):
    found = tuple(
        Judgement(name, kept, gain=(gain, 1.0), matrix=tuple(matrix), control=(tuple(matrix[:4]),))
        for name, kept, gain, matrix in made
    )
    aligned = Aligned(found, 128, 0.25)
    assert Aligned.from_bytes(aligned.to_bytes()) == aligned


def test_only_frames_that_clip_earlier_lose_their_clipped_pixels():
    ends = judging.clipped(
        "uint8", [Judgement("a", True), Judgement("b", True, gain=2.0), Judgement("c", True, gain=1.001)]
    )
    assert [np.isfinite(high) for _, high in ends] == [False, False, False], "the result can hold no more"
    ends = judging.clipped(
        "uint8", [Judgement("a", True), Judgement("b", True, gain=0.6), Judgement("c", True, gain=0.99)]
    )
    assert [np.isfinite(high) for _, high in ends] == [False, True, False]
    assert ends[1][1] < 0.95 * 255
    same = judging.clipped("uint8", [Judgement("a", True), Judgement("b", True, gain=1.01)])
    assert not np.isfinite(same).any()
    assert not np.isfinite(judging.clipped("float32", [Judgement("a", True), Judgement("b", True, gain=2.0)])).any()


def test_a_georeferenced_frame_lies_where_its_transform_says():
    one = Profile(10, 10, 1, "uint8", transform=Affine(2, 0, 100, 0, -2, 50))
    other = Profile(10, 10, 1, "uint8", transform=Affine(2, 0, 106, 0, -2, 46))
    np.testing.assert_allclose(apply(judging.georeferenced(one, other), np.array([[5.0, 5.0]])), [[2.0, 3.0]])
    assert (judging.georeferenced(one, Profile(10, 10, 1, "uint8")) == np.eye(3)).all()
