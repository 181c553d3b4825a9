"""The document `linegroup.lines/1`."""

import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from linegroup.config import GroupingConfig
from linegroup.errors import UserError
from linegroup.wire import Colour, ImageRecord, LineRecord, LinesDocument, ModelRecord, from_json, json_schema, to_json


def line(number=1, **changes):
    values = {
        "id": number,
        "score": 0.5,
        "pixel_count": 12,
        "bbox": (3, 4, 5, 6),
        "colour": Colour.of(255, 0, 16),
        "polyline": ((3.0, 4.5), (7.25, 9.0)),
    }
    return LineRecord(**{**values, **changes})


def document(lines=(), **changes):
    values = {
        "image": ImageRecord(name="Ä “1”.png", width=40, height=30, orientation_applied=6, frames=2),
        "lines": lines,
        "parameters": GroupingConfig().model_dump(mode="json"),
        "model": ModelRecord(name="linegroup", version="abc"),
        "timings_ms": {"decode": 1.25},
    }
    return LinesDocument(**{**values, **changes})


@pytest.mark.parametrize("count", [0, 1, 3])
def test_text_and_back(count):
    made = document(tuple(line(k + 1) for k in range(count)))
    text = to_json(made)
    assert text.endswith("}\n")
    assert from_json(text) == made
    assert from_json(text.encode()) == made


def test_keys_that_others_rely_on():
    tree = json.loads(to_json(document((line(),))))
    assert list(tree) == ["schema", "image", "lines", "calibration", "parameters", "model", "notes", "timings_ms"]
    assert tree["schema"] == "linegroup.lines/1"
    assert tree["image"] == {"name": "Ä “1”.png", "width": 40, "height": 30, "orientation_applied": 6, "frames": 2}
    assert tree["lines"] == [
        {
            "id": 1,
            "name": "",
            "score": 0.5,
            "pixel_count": 12,
            "bbox": [3, 4, 5, 6],
            "colour": {"hex": "#ff0010", "rgb": [255, 0, 16]},
            "polyline": [[3.0, 4.5], [7.25, 9.0]],
            "parts": [0],
            "closed": False,
            "thickness": None,
            "mask": None,
            "series": None,
        }
    ]
    assert tree["parameters"] == GroupingConfig().model_dump(mode="json")
    assert tree["model"] == {"name": "linegroup", "version": "abc"}


def test_notes_may_be_missing():
    """Documents made before there were any."""
    tree = json.loads(to_json(document(notes=("a sample",))))
    assert from_json(json.dumps(tree)).notes == ("a sample",)
    del tree["notes"]
    assert from_json(json.dumps(tree)).notes == ()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "make",
    [
        lambda value: line(score=value),
        lambda value: line(polyline=((value, 0.0),)),
        lambda value: document(timings_ms={"decode": value}),
        lambda value: document(parameters={"eps": value}),
    ],
    ids=["score", "polyline", "timings", "parameters"],
)
def test_no_number_without_end(make, value):
    with pytest.raises(ValidationError):
        make(value)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": 0},
        {"score": 1.01},
        {"pixel_count": 0},
        {"polyline": ()},
        {"parts": (0, 2)},
        {"parts": (1,)},
        {"polyline": ((0, 0), (1, 1), (5, 5), (6, 6)), "parts": (0, 2), "closed": True},
        {"colour": {"hex": "red", "rgb": (1, 2, 3)}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_values_out_of_range(changes):
    with pytest.raises(ValidationError):
        line(**changes)


def test_text_that_is_nested_too_deeply():
    with pytest.raises(UserError, match="nested too deeply"):
        from_json("[" * 200_000)


def test_curves_are_the_parts():
    made = line(polyline=((0, 0), (1, 1), (5, 5), (6, 6)), parts=(0, 2))
    assert made.curves == [((0, 0), (1, 1)), ((5, 5), (6, 6))]


def test_later_additions_are_passed_over():
    tree = json.loads(to_json(document((line(),))))
    tree["new"] = tree["image"]["new"] = tree["lines"][0]["new"] = 1
    tree["parameters"]["new_setting"] = "x"
    assert from_json(json.dumps(tree)).lines == (line(),)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "document"),
        ("{", "document"),
        (b"\xff\xfe\x00", "document"),
        ("[]", "schema"),
        ('{"schema": "linegroup.lines/2"}', "linegroup.lines/2"),
        ('{"schema": "linegroup.lines/1"}', "image"),
    ],
)
def test_other_texts_are_refused_in_words(text, word):
    with pytest.raises(UserError, match=word):
        from_json(text)


def test_nan_in_a_text_is_refused():
    text = to_json(document((line(),))).replace('"score": 0.5', '"score": NaN')
    with pytest.raises(UserError, match="score"):
        from_json(text)


def test_schema_describes_what_is_written():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    tree = json.loads(to_json(document((line(),))))
    validator.validate(tree)
    tree["lines"][0]["bbox"] = [1, 2, 3]
    assert not validator.is_valid(tree)
    tree["lines"][0]["bbox"] = [1, 2, 3, 4]
    del tree["image"]["width"]
    assert not validator.is_valid(tree)


def test_the_documented_example_is_a_document():
    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    example = text.split("```json\n")[1].split("```")[0]
    (found,) = from_json(example).lines
    assert found.colour == Colour.of(*found.colour.rgb)
