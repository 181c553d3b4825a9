"""The packaged model: it is there, it is small, and it does what it is for on real charts."""

from pathlib import Path

import numpy as np
import pytest

from linegroup.images import read_image
from linegroup.predict import Predictor
from linegroup.training.artifact import PRETRAINED_FOLDER, load_artifact

CHARTS = Path(__file__).parents[2] / "examples" / "real_charts"


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load(device="cpu")


def test_small_and_whole():
    assert sum(path.stat().st_size for path in PRETRAINED_FOLDER.iterdir()) < 8_000_000
    artifact = load_artifact(PRETRAINED_FOLDER)
    assert set(artifact.config.model.heads) == {"embedding", "foreground", "tangent", "crossing"}
    assert 0 < artifact.metrics["val_ari"] <= 1


def test_it_is_the_default(predictor):
    assert predictor.model is not None
    assert predictor.version == load_artifact(PRETRAINED_FOLDER).version


@pytest.mark.parametrize(("name", "lines"), [("0013", 5), ("0023", 2), ("0024", 3)])
def test_real_charts_have_their_number_of_lines(predictor, name, lines):
    assert predictor.predict_file(CHARTS / "images" / f"{name}.png").groups.count == lines


def test_text_and_axes_are_no_foreground(predictor):
    pixels = read_image(CHARTS / "images" / "0013.png").pixels
    assert predictor.model is not None
    foreground = predictor.model.maps(pixels).foreground
    ink = pixels.min(axis=2) < 200
    margin = np.zeros_like(ink)
    margin[-25:], margin[:, :25] = True, True  # tick labels, titles of axes
    assert (ink & margin).sum() > 300
    assert foreground[ink & margin].mean() < 0.1
