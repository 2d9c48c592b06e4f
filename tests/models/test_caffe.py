"""Network, bicubic, alignment and scoring proved on the authors' weights and the paper's benchmark."""

import numpy as np
import pytest
from PIL import Image

from geosr.errors import ModelError
from geosr.models import caffe
from geosr.rasters.resample import enlarge, shrink

PAPER = {2: 37.83, 3: 34.11, 4: 31.82}
BICUBIC = {2: 33.66, 3: 30.39, 4: 28.42}


def luma(path):
    """Y of ITU-R BT.601 in 16..235, in whole numbers, as Matlab's rgb2ycbcr gives it for 8 bits."""
    rgb = np.asarray(Image.open(path).convert("RGB"), float)
    return np.rint(16 + (rgb @ [65.481, 128.553, 24.966]) / 255)


def psnr(output, truth, scale):
    """As the authors score: their picture lacks the first scale - 1 rows and columns, then `scale` are shaved."""
    inside = (slice(2 * scale - 1, -scale),) * 2
    error = np.clip(np.rint(output), 0, 255)[inside] - truth[inside]
    return 10 * np.log10(255**2 / np.mean(error**2))


@pytest.fixture(scope="module")
def set5(shared):
    return [luma(path) for path in sorted((shared / "Set5").glob("*.bmp"))]


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_published_idn_reproduces_the_paper_on_set5(shared, set5, scale):
    model = caffe.read_idn(shared / "published_idn" / f"IDN_x{scale}.caffemodel", scale)
    scores, plain = [], []
    for image in set5:
        rows, cols = (side // scale * scale for side in image.shape)
        truth = image[:rows, :cols]
        low = shrink(truth, scale)
        output = np.asarray(model((low / 255).astype("float32")[None, ..., None]))[0, ..., 0] * 255
        scores.append(psnr(output, truth, scale))
        plain.append(psnr(enlarge(low, scale), truth, scale))
    assert np.mean(scores) == pytest.approx(PAPER[scale], abs=0.03)
    assert np.mean(plain) == pytest.approx(BICUBIC[scale], abs=0.06)


def test_weights_for_another_scale_or_of_no_network_are_refused(shared, tmp_path):
    weights = (shared / "published_idn" / "IDN_x2.caffemodel").read_bytes()
    for content in (weights[:5000], b"text, no network", b""):
        path = tmp_path / "broken.caffemodel"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"broken\.caffemodel"):
            caffe.read_idn(path, 2)
