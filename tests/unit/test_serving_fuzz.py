"""Any parameters whatever: an answer or a refusal that names the field, never an error of ours, never NaN."""

import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linegroup.config import GroupingConfig
from linegroup.grouping import CANDIDATES, GROUPERS
from linegroup.images import encode_png
from linegroup.serving.parameters import KEPT, NAMES

CASES = int(os.environ.get("LINEGROUP_CASES", "150"))

ODD = st.sampled_from(
    ["nan", "inf", "-inf", "1e308", "-1", "0", "-0.0", "1e-320", str(2**63), str(2**31), "1_0", " 3 ", "0x10", "true",
     "٣",
     "1e5", "99999999999999999999999", "None", "null", "[]", "\x00", "é", "a" * 3000]
)  # fmt: skip
NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True).map(str),
    st.floats(1e-6, 2).map(str),
    st.integers(0, 12).map(str),
    st.integers(-(2**65), 2**65).map(str),
)
VALUES = st.one_of(NUMBERS, NUMBERS, st.sampled_from(["true", "false"]), ODD)
METHODS, WAYS = st.sampled_from(sorted(GROUPERS)), st.sampled_from(sorted(CANDIDATES))
FIELDS = sorted({NAMES.get(name, name) for name in GroupingConfig.model_fields} - KEPT - set(NAMES.values()))


@st.composite
def forms(draw):
    form = draw(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5))
    form |= {"clustering_method": draw(METHODS)} if draw(st.integers(0, 9)) else {}
    form |= {"candidate_method": draw(WAYS)} if draw(st.booleans()) else {}
    if draw(st.integers(0, 19)) == 0:
        form[draw(st.sampled_from(["max_work", "over_work", "eps ", "model_uri", "__class__"]))] = "1"
    return form


def pictures():
    random = np.random.default_rng(0)
    page = np.full((24, 32, 3), 200, dtype=np.uint8)
    page[10:12, 3:29] = (200, 20, 20)
    return [
        encode_png(page),
        encode_png(random.integers(0, 256, (17, 23, 3), dtype=np.uint8)),
        encode_png(np.zeros((1, 1, 3), dtype=np.uint8)),
        encode_png(np.full((9, 40, 3), 255, dtype=np.uint8)),
    ]


@pytest.fixture(scope="module")
def client(serve, local_stages):
    with serve(local_stages) as client:
        yield client


def refuse(text):
    raise AssertionError(f"{text} in an answer")


@pytest.mark.slow
@pytest.mark.timeout(6000)
@given(form=forms(), path=st.sampled_from(["/v1/cluster", "/v1/lines"]), picture=st.sampled_from(pictures()))
@settings(max_examples=CASES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
def test_any_parameters(client, form, path, picture):
    reply = client.post(path, files={"file": ("a.png", picture)}, data=form)
    assert reply.status_code in (200, 422), (reply.status_code, reply.text, form)
    tree = json.loads(reply.content, parse_constant=refuse)
    if reply.status_code == 422:
        error = tree["error"]
        assert error["message"]
        assert error["code"] == "cannot_be_done" or error["field"] in form
