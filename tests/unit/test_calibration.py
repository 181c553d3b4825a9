"""From pixels to values and where lines are read."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linegroup.errors import UserError
from linegroup.vectors.calibration import calibrate, date_of, seconds_of
from linegroup.vectors.calibration_file import read_calibration, write_calibration
from linegroup.vectors.sampling import parse_sampling, series_of
from linegroup.wire import AxisPoint, AxisRecord, CalibrationRecord, Colour, LineRecord


def axis(*points, scale="linear"):
    return AxisRecord(scale=scale, points=tuple(AxisPoint(pixel=pixel, value=value) for pixel, value in points))


def upright(x=None, y=None, **changes):
    x = x or axis(((50, 400), 0), ((450, 400), 10))
    y = y or axis(((50, 400), 0), ((50, 100), 3))
    return CalibrationRecord(x=x, y=y, **changes)


def line(*points, **changes):
    values = {"id": 1, "score": 1, "pixel_count": 1, "bbox": (0, 0, 1, 1), "colour": Colour.of(0, 0, 0)}
    return LineRecord(**{**values, "polyline": points, **changes})


def test_two_points_an_axis():
    found = calibrate(upright()).values(np.array([[50.0, 400], [450, 100], [250, 250]]))
    np.testing.assert_allclose(found, [[0, 0], [10, 3], [5, 1.5]], atol=1e-12)


def test_reversed_logarithmic_and_natural():
    record = upright(
        axis(((50, 400), 1000), ((450, 400), 1), scale="log10"), axis(((50, 400), 1), ((50, 100), np.e), scale="ln")
    )
    found = calibrate(record).values(np.array([[50.0, 400], [450, 100], [250, 250]]))
    np.testing.assert_allclose(found, [[1000, 1], [1, np.e], [1000**0.5, np.e**0.5]])


def test_dates():
    record = upright(axis(((0, 9), "2024-01-01"), ((100, 9), "2024-01-11T00:00:00+00:00"), scale="date"))
    x = calibrate(record).values(np.array([[50.0, 0]]))[0, 0]
    assert x == pytest.approx(seconds_of("2024-01-06"), abs=1e-3)
    assert date_of(seconds_of("2024-01-06")) == "2024-01-06T00:00:00Z"
    assert date_of(1.0009999) == "1970-01-01T00:00:01.001Z", "rounded as in Parquet"
    with pytest.raises(UserError, match="years 1 to 9999"):
        date_of(1e12)
    assert seconds_of("2024-01-06T01:00:00+01:00") == seconds_of("2024-01-06")


@settings(deadline=None, max_examples=60)
@given(
    turn=st.floats(-3, 3),
    skew=st.floats(-0.5, 0.5),
    mirror=st.sampled_from([-1.0, 1.0]),
    places=st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=5),
    more=st.integers(0, 3),
)
def test_turned_and_skewed_axes(turn, skew, mirror, places, more):
    along_x = 80 * np.array([np.cos(turn), np.sin(turn)])
    along_y = 50 * mirror * np.array([-np.sin(turn + skew), np.cos(turn + skew)])
    origin = np.array([300.0, 200])

    def pixel(x, y):
        return tuple(origin + x * along_x + y * along_y)

    record = CalibrationRecord(
        x=axis(*((pixel(v, 0), v) for v in [0.0, 2.0, 1.0, 3.0, -1.0][: 2 + more])),
        y=axis(*((pixel(0, v), v) for v in [1.0, -2.0, 0.5, 4.0, 3.0][: 2 + more])),
    )
    found = calibrate(record)
    np.testing.assert_allclose(found.values(np.array([pixel(*place) for place in places])), places, atol=1e-6)
    assert found.residual < 1e-6


def test_points_that_do_not_agree_are_told():
    record = upright(axis(((0, 0), 0), ((100, 0), 10), ((200, 0), 22)), upright=True)
    assert 3 < calibrate(record).residual < 12


def test_a_fit_names_the_point_that_lies_farthest_off():
    record = upright(y=axis(((50, 400), 0), ((50, 300), 1), ((50.5, 180), 2), ((50, 100), 3)))
    assert calibrate(record).worst == "y, point 3 (2 at [50.5, 180])"


def test_points_in_another_order_than_their_values_by_noise_only():
    """Each tick clicked twice, also on both sides of a chart that is a little turned."""
    twice = axis(((50, 400), 0), ((50, 399), 0), ((400, 395), 0), ((50, 101), 3), ((50, 100), 2.99), ((400, 96), 3))
    assert calibrate(upright(y=twice, upright=True)).residual < 5


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"x": axis(((5, 5), 0), ((5, 5), 1))}, "x points coincide"),
        ({"y": axis(((5, 5), 0), ((90, 5), 1))}, "parallel"),
        ({"x": axis(((0, 5), 0), ((90, 5), 1), scale="log10")}, "above 0"),
        ({"x": axis(((0, 5), "soon"), ((90, 5), "later"), scale="date")}, "'soon' is not a date"),
        ({"x": axis(((0, 5), "a"), ((90, 5), 1))}, "'a' is not a finite number"),
        ({"x": axis(((0, 5), "inf"), ((90, 5), 1))}, "'inf' is not a finite number"),
        ({"y": axis(((50, 400), 1), ((50, 100), "nan"))}, "y, point 2: the value 'nan' is not a finite number"),
        ({"x": axis(((64, 5), 0), ((300, 5), 5), ((536, 5), 0))}, "neither rise nor fall"),
        ({"x": axis(((0, 5), 1), ((90, 5), 1))}, "same value"),
        (
            {"x": axis(((46, 370), 1955), ((300, 370), 2090), ((590, 370), 2000))},
            r"x values neither rise nor fall along the axis, see x, point 2 \(2090 at \[300, 370\]\); check",
        ),
        (
            {"y": axis(((50, 400), 0), ((50, 300), 1), ((50, 200), 1), ((50, 100), 3), ((50, 0), 4))},
            r"see y, point [23] \(1 at",
        ),
        ({"y": axis(((50, 400), 0), ((50, 300), 1), ((50, 200), 9), ((50, 100), 3))}, r"see y, point 3 \(9 at"),
    ],
)
def test_what_cannot_be_read_by(changes, word):
    with pytest.raises(UserError, match=word):
        calibrate(upright(**changes))


def test_files(tmp_path):
    record = upright(axis(((0, 9), "2024-01-01"), ((100, 9), "2024-01-11"), scale="date"))
    write_calibration(record, tmp_path / "a.json")
    assert read_calibration(tmp_path / "a.json").record == record
    (tmp_path / "a.yaml").write_text(
        "x: {scale: date, points: [{pixel: [0, 9], value: 2024-01-01}, {pixel: [100, 9], value: 2024-01-11}]}\n"
        "y: {points: [{pixel: [50, 400], value: 0}, {pixel: [50, 100], value: 3}]}\n"
    )
    assert read_calibration(tmp_path / "a.yaml").record == record
    for text in ("", "{", "[1]", json.dumps({"x": 1})):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UserError, match=r"bad\.json is no calibration"):
            read_calibration(tmp_path / "bad.json")
    with pytest.raises(UserError, match="Cannot read"):
        read_calibration(tmp_path / "none.json")


P = [{"pixel": [1, 2], "value": 1}, {"pixel": [9, 9], "value": 2}]
Y = {"points": P}


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"x": {**Y, "scle": "log10"}, "y": Y}, "x: unknown key 'scle', did you mean 'scale'?"),
        ({"x": Y, "y": Y, "uprigt": True}, "unknown key 'uprigt', did you mean 'upright'?"),
        ({"x": Y, "y": Y, "qqq": True}, "unknown key 'qqq'; keys: schema, x, y, upright"),
        ({"x": {"points": [{**P[0], "pxl": 1}, P[1]]}, "y": Y}, "x, point 1: unknown key 'pxl', did you mean 'pixel'?"),
        ({"x": {"point": P}, "y": Y}, "x: unknown key 'point', did you mean 'points'?"),
        ([], "it must be a mapping with x and y"),
        ({"x": Y}, "y is missing"),
        ({"x": {"points": P[:1]}, "y": Y}, "x, points must be a list of two or more points"),
        ({"x": {"points": [{"pixel": [1, 2]}, P[1]]}, "y": Y}, "x, point 1, value is missing"),
        (
            {"x": {"points": [{"pixel": [1], "value": 1}, P[1]]}, "y": Y},
            "x, point 1, pixel must be two finite numbers, x and y",
        ),
        ({"x": {"points": [3, P[1]]}, "y": Y}, "x, point 1 must be a mapping with pixel and value"),
        ({"x": {**Y, "scale": "log"}, "y": Y}, "x, scale must be linear, log10, ln or date"),
        ({"x": Y, "y": 5}, "y must be a mapping with scale and points"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path, tree, said):
    (tmp_path / "bad.json").write_text(json.dumps(tree))
    with pytest.raises(UserError) as error:
        read_calibration(tmp_path / "bad.json")
    assert str(error.value) == f"{tmp_path / 'bad.json'} is no calibration: {said}."


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_a_file_that_is_nested_too_deeply(tmp_path, name):
    (tmp_path / name).write_text("[" * 200_000 if name == "a.json" else "[" * 2000)
    with pytest.raises(UserError, match="nested too deeply"):
        read_calibration(tmp_path / name)


def test_a_year_is_no_date(tmp_path):
    """It would be seconds since 1970, as in series."""
    path = tmp_path / "axes.yaml"
    path.write_text(
        "x: {scale: date, points: [{pixel: [0, 9], value: 2020}, {pixel: [100, 9], value: 2024}]}\n"
        "y: {points: [{pixel: [50, 400], value: 0}, {pixel: [50, 100], value: 3}]}\n"
    )
    with pytest.raises(UserError, match=r'x, point 1: the value 2020 is a number, and dates are text .* "2020-01-01"'):
        read_calibration(path)


def axes_file(folder, value, pixel="0, 9", scale="date"):
    """Its first x point as given."""
    path = folder / "axes.yaml"
    first = f"{{pixel: [{pixel}], value: {value}}}"
    path.write_text(
        f"x: {{scale: {scale}, points: [{first}, {{pixel: [100, 9], value: 2024-01-11}}]}}\n"
        "y: {points: [{pixel: [50, 400], value: 0}, {pixel: [50, 100], value: 3}]}\n"
    )
    return path


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"value": "1955-01-01", "scale": "linear"}, "'1955-01-01' is not a finite number; for dates say scale: date."),
        ({"value": "'0,5'", "scale": "linear"}, "'0,5' is not a finite number; write it with a decimal point, 0.5."),
        ({"value": "2020-13-01"}, "'2020-13-01' is not a date such as 2024-05-31 or 2024-05: month must be in 1..12."),
        ({"value": "soon"}, "'soon' is not a date such as 2024-05-31 or 2024-05."),
    ],
)
def test_values_that_are_none_are_named_with_their_place(tmp_path, given, said):
    path = axes_file(tmp_path, **given)
    with pytest.raises(UserError) as error:
        read_calibration(path)
    assert str(error.value) == f"{path}: x, point 1: the value {said}"


@pytest.mark.parametrize("given", [{"value": "0,5"}, {"value": 1, "pixel": "64,5, 9"}])
def test_decimal_commas_that_yaml_takes_for_more(tmp_path, given):
    with pytest.raises(UserError, match=r"x, point 1.*; decimals have a point, as 64\.5"):
        read_calibration(axes_file(tmp_path, **given))


def test_a_month_is_its_first_day(tmp_path):
    found = read_calibration(axes_file(tmp_path, "1955-01"))
    np.testing.assert_allclose(found.x.values(np.array([[0.0, 0]])), seconds_of("1955-01-01"))


def test_files_are_named_with_lines_and_by_what_cannot_be_fitted(tmp_path):
    (tmp_path / "a.json").write_text('{"x": 1,\n"y": ')
    with pytest.raises(UserError, match=r"a\.json is no calibration: it ends too early, in line 2\."):
        read_calibration(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"axes\.yaml: The calibration's x points have the same value"):
        read_calibration(axes_file(tmp_path, "2024-01-11"))


def test_documents_pass_over_keys_of_a_newer_version():
    assert CalibrationRecord.model_validate({"x": Y, "y": Y, "later": 1}) == CalibrationRecord(x=Y, y=Y)


def test_native_points_and_what_lies_beyond_the_known():
    series = series_of(line((50, 400), (450, 100), (500, 100)), calibrate(upright()), parse_sampling("native"))
    np.testing.assert_allclose(series.x, (0, 10, 11.25), atol=1e-12)
    np.testing.assert_allclose(series.y, (0, 3, 3), atol=1e-12)
    assert series.extrapolated == (False, False, True)


def test_steps_stay_within_each_part():
    record = calibrate(upright())
    made = line((50, 400), (100, 400), (250, 100), (450, 100), parts=(0, 2))
    series = series_of(made, record, parse_sampling("step=1"))
    np.testing.assert_allclose(series.x, (0, 1, 5, 6, 7, 8, 9, 10))
    assert series.parts == (0, 2)


def test_steps_where_a_curve_turns_back():
    series = series_of(line((50, 400), (250, 250), (130, 100)), calibrate(upright()), parse_sampling("step=1"))
    np.testing.assert_allclose(series.x, (0, 1, 2, 3, 4, 5, 4, 3, 2))


SPURS = {
    "upwards": [(250, 400), (250.3, 380), (250, 400)],
    "forwards": [(250, 400), (262, 396), (250, 400)],
    "backwards": [(250, 400), (238, 396), (250, 400)],
}


@pytest.mark.parametrize("name", SPURS)
@pytest.mark.parametrize("way", [1, -1])
def test_a_spur_gives_no_second_value(name, way):
    """The main run is read: along it y is 0 everywhere."""
    points = [(50, 400), *SPURS[name], (450, 400)][::way]
    series = series_of(line(*points), calibrate(upright()), parse_sampling("step=0.25"))
    np.testing.assert_allclose(series.x, np.arange(0, 10.01, 0.25)[::way], atol=1e-9)
    np.testing.assert_allclose(series.y, 0, atol=1e-9)


def test_parts_that_overlap_a_little_give_no_second_value():
    """The longer one is read there, whatever their order."""
    parts = [(50, 400), (262, 400), (250, 370), (450, 370), (80, 300), (90, 300)]
    series = series_of(line(*parts, parts=(0, 2, 4)), calibrate(upright()), parse_sampling("step=0.1"))
    x = np.round(series.x, 6)
    assert len(np.unique(x)) == len(x) == 101
    assert sorted(x) == list(np.round(np.arange(0, 10.05, 0.1), 6))
    assert np.array(series.y)[x <= 5.3].max() == pytest.approx(0)


def test_a_loop_has_all_its_values():
    ring = [(150, 250), (250, 150), (350, 250), (250, 350)]
    made = line(*ring, closed=True)
    series = series_of(made, calibrate(upright()), parse_sampling("step=1"))
    np.testing.assert_allclose(series.x, (3, 4, 5, 6, 7, 7, 6, 5, 4, 3))


def test_so_many_points_by_length():
    dots = line((50, 400), (90, 100), (90, 100), parts=(0, 1))
    assert series_of(dots, calibrate(upright()), parse_sampling("count=4")).x == pytest.approx((0, 1))
    series = series_of(line((50, 400), (250, 400), (250, 300)), calibrate(upright()), parse_sampling("count=4"))
    np.testing.assert_allclose(series.x, (0, 2.5, 5, 5), atol=1e-12)
    np.testing.assert_allclose(series.y, (0, 0, 0, 1), atol=1e-12)


@pytest.mark.parametrize(
    "text", ["", "native=1", "step", "step=0", "step=-1", "step=inf", "count=1.5", "every=2", "step=x"]
)
def test_other_samplings(text):
    with pytest.raises(UserError, match="unknown"):
        parse_sampling(text)


@pytest.mark.parametrize("step", ["1e-9", "1e-320"])
def test_a_step_that_is_too_small(step):
    with pytest.raises(UserError, match="larger step"):
        series_of(line((58, 400), (450, 100)), calibrate(upright()), parse_sampling(f"step={step}"))


def test_a_count_that_is_too_large():
    with pytest.raises(UserError, match="take fewer"):
        parse_sampling("count=1e12")
    parts = line((50, 400), (90, 100), (100, 400), (190, 100), parts=(0, 2))
    with pytest.raises(UserError, match="take fewer"):
        series_of(parts, calibrate(upright()), parse_sampling("count=600000"))


MONTHS = axis(((0, 9), "2023-12-20"), ((3650, 9), "2024-12-19"), scale="date")


@pytest.mark.parametrize(
    ("step", "dates"),
    [
        ("1mo", ["2024-01-01", "2024-02-01", "2024-03-01"]),
        ("2mo", ["2024-01-01", "2024-03-01"]),
        ("1y", ["2024-01-01"]),
        ("30d", ["2024-01-18", "2024-02-17"]),
        ("720h", ["2024-01-18", "2024-02-17"]),
        ("43200min", ["2024-01-18", "2024-02-17"]),
        ("2592000", ["2024-01-18", "2024-02-17"]),
    ],
)
def test_steps_of_the_calendar(step, dates):
    """A line from 2023-12-20 to 2024-03-05, read at the starts of these."""
    made = line((0, 400), (760, 100))
    found = series_of(made, calibrate(upright(MONTHS)), parse_sampling(f"step={step}"))
    assert [date_of(x) for x in found.x] == [f"{date}T00:00:00Z" for date in dates]


def test_steps_of_months_end_with_the_line():
    made = axis(((0, 9), "1955-01"), ((900, 9), "1955-04"), scale="date")
    found = series_of(line((0, 400), (900, 100)), calibrate(upright(made)), parse_sampling("step=1mo"))
    assert [date_of(x)[:7] for x in found.x] == ["1955-01", "1955-02", "1955-03", "1955-04"]


def test_steps_of_the_calendar_are_for_dates():
    with pytest.raises(UserError, match=r"A step of 1mo is for dates, and the scale of x is linear; give a number, on"):
        series_of(line((50, 400), (450, 100)), calibrate(upright()), parse_sampling("step=1mo"))


@pytest.mark.parametrize("text", ["step=0mo", "step=1.5d", "step=1w", "count=1d", "step=d"])
def test_other_steps_of_the_calendar(text):
    with pytest.raises(
        UserError, match=r"on a date axis seconds \(a day is 86400\), or 1d, 1mo, 1y; on a log axis dec"
    ):
        parse_sampling(text)


def test_too_many_points_tell_what_steps_count():
    with pytest.raises(UserError, match=r"A step of 0\.5 would .* larger step \(on a date axis seconds"):
        series_of(line((0, 400), (760, 100)), calibrate(upright(MONTHS)), parse_sampling("step=0.5"))
