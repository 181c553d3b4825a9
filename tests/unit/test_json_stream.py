"""Reading JSON element by element."""

import json
import math
import time
import tracemalloc

import pytest

from linegroup.errors import UserError
from linegroup.files import sha256_of
from linegroup.sources import json_stream
from linegroup.sources.json_stream import JsonObject


@pytest.fixture
def put(tmp_path):
    def write(content):
        path = tmp_path / "a.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def collected(path):
    """The object as `json.load` would give it."""
    reader = JsonObject(path)
    found = {}
    for element in reader.elements():
        assert json.loads(element.text) == element.value
        assert "\n" not in element.text
        if element.index is None:
            found[element.key] = element.value
        else:
            assert element.index == len(found.setdefault(element.key, []))
            found[element.key].append(element.value)
    assert reader.digest == sha256_of(path)
    return {key: found.get(key, []) for key in reader.keys}


TREE = {
    "info": {"a": [1, {"b": None}], "text": 'é 線 \u2028 " \\ [ { ] }'},
    "images": [
        {"id": 1, "x": [1.5e-3, -2, 1e300]},
        {},
        [],
        [[]],
        "text",
        12345678901234567890,
        True,
        None,
        -0.5,
        1e5,
        2e5,
        7,
    ],
    "empty": [],
    "n": -12.75,
    "last": [["a" * 50]],
}


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_same_as_json_wherever_the_window_ends(put, monkeypatch, chunk, indent, ascii_only):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    path = put(json.dumps(TREE, indent=indent, ensure_ascii=ascii_only))
    assert collected(path) == TREE


@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_byte_order_mark_line_ends_and_outer_space(put, monkeypatch, chunk):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    text = json.dumps(TREE, indent=2).replace("\n", "\r\n")
    assert collected(put(b"\xef\xbb\xbf \n" + text.encode() + b"\n\n")) == TREE
    assert collected(put("{}")) == {}


@pytest.mark.parametrize("chunk", [1, 5, 1 << 20])
def test_not_a_number_passes(put, monkeypatch, chunk):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    path = put('{"a": [NaN, -Infinity, Infinity, 1]}')
    nan, low, high, one = [element.value for element in JsonObject(path).elements()]
    assert math.isnan(nan)
    assert (low, high, one) == (-math.inf, math.inf, 1)


@pytest.mark.parametrize("chunk", [3, 1 << 20])
def test_cut_anywhere_is_an_error_with_a_position(put, monkeypatch, chunk):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    text = json.dumps(TREE, ensure_ascii=False)
    content = text.encode()
    for end in range(len(content)):
        with pytest.raises(UserError, match=r"a\.json is (no valid JSON at character|not UTF-8)"):
            list(JsonObject(put(content[:end])).elements())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "character 1 .*one JSON object"),
        ("[1]", "one JSON object"),
        ('"{"', "one JSON object"),
        ('{"a": 1} x', "character 10 .*follows the end"),
        ('{"a": 1, "a": 2}', "'a' stands there twice"),
        ('{"a" 1}', "expected ':'"),
        ("{a: 1}", "double quotes"),
        ('{"a": [1 2]}', r"expected ',' or '\]'"),
        ('{"a": [1,]}', "Expecting value"),
        ('{"a": 1,}', "double quotes"),
        ('{"a":\n [1,\n x]}', r"character 13 \(line 3\)"),
        ('{"a": [1}', r"expected ',' or '\]'"),
        ('{"a": ["\x01"]}', "control character"),
        ('{"a": [1', "but the file ends here"),
        (b'{"a": "\xff"}', "not UTF-8 text near byte 7"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    ],
)
def test_mistakes_are_named(put, content, message):
    with pytest.raises(UserError, match=message):
        list(JsonObject(put(content)).elements())


def test_unreadable(tmp_path):
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(UserError, match="Cannot read "):
            list(JsonObject(path).elements())


@pytest.mark.parametrize("chunk", [100, 1 << 20])
@pytest.mark.parametrize(
    ("bad", "problem"),
    [("[" * 100_000 + '"]\\""' + "]" * 100_000, "nested too deeply"), ("9" * 5000, "cannot be read")],
)
@pytest.mark.parametrize("shape", ["%s", '{"a": %s, "b": "]} \\\\"}'])
def test_element_that_cannot_be_held_costs_only_itself(put, monkeypatch, chunk, bad, problem, shape):
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    path = put('{"a": [1, %s, 2], "b": 3}' % (shape % bad))
    found = list(JsonObject(path).elements())
    assert [(e.key, e.index, e.value) for e in found] == [("a", 0, 1), ("a", 1, None), ("a", 2, 2), ("b", None, 3)]
    assert problem in found[1].problem
    assert [e.problem for e in (found[0], *found[2:])] == ["", "", ""]


def test_deep_nesting_without_end(put):
    with pytest.raises(UserError, match="unclosed brackets"):
        list(JsonObject(put('{"a": ' + "[[" * 100_000)).elements())


def test_memory_does_not_grow_with_the_file(put, monkeypatch):
    monkeypatch.setattr(json_stream, "CHUNK", 1 << 16)

    def peak(count):
        record = json.dumps({"id": 1, "polyline": [0.25] * 400})
        path = put('{"annotations": [' + ",".join([record] * count) + "]}")
        tracemalloc.start()
        assert sum(1 for _ in JsonObject(path).elements()) == count
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    small, large = peak(700), peak(2800)
    assert large < small * 1.1 < 1 << 20


def test_error_in_the_middle_does_not_read_the_rest(put, monkeypatch):
    path = put('{"a": [{"id": 1 "x": 2}, ' + "0," * (1 << 20) + "0]}")
    monkeypatch.setattr(json_stream, "CHUNK", 1 << 12)
    tracemalloc.start()
    with pytest.raises(UserError, match="character 17"):
        list(JsonObject(path).elements())
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_long_element_takes_linear_time(put, monkeypatch):
    monkeypatch.setattr(json_stream, "CHUNK", 1 << 10)
    times = []
    for points in (100_000, 400_000):
        path = put('{"a": [[' + "1.5," * points + "0]]}")
        start = time.process_time()
        (element,) = JsonObject(path).elements()
        times.append(time.process_time() - start)
        assert len(element.value) == points + 1
    assert times[1] < 12 * times[0]
