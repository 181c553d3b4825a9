"""What is done before the first client comes."""

import subprocess
import sys
from pathlib import Path

import pytest

CHARTS = Path(__file__).parents[2] / "examples" / "real_charts" / "images"

PROGRAM = """
import sys
from pathlib import Path
from linegroup import compiling
from linegroup.predict import Predictor
from linegroup.serving.warming import warm_up
from linegroup.serving.work import Order, answer, embed

def made():
    return {loop.py_func.__qualname__ for loop in compiling._KEPT for _ in loop.signatures[:1]}

predictor = Predictor.load("pretrained", "cpu")
warm_up(predictor, ["link", "dbscan"])
before = made()
for path in sys.argv[1:]:
    for method in ("link", "dbscan"):
        parcel = embed(predictor, Order(Path(path).read_bytes(), overrides={"method": method}))
        answer(parcel, "lines", {})
print(*sorted(made() - before))
"""


@pytest.mark.slow
def test_no_client_waits_for_a_loop_to_be_compiled():
    """Charts in colours and in black, with marks and steps: what they need is there after the warm-up."""
    charts = [str(CHARTS / f"{name}.png") for name in ("0013", "0016", "0020", "0024", "0027")]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *charts], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
