"""What a replica does: the same as `predict`, within bounds, in plain data."""

import json
import pickle
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from linegroup.config import GroupingConfig
from linegroup.errors import UserError
from linegroup.grouping import GROUPERS, group_field, maps_read
from linegroup.images import ImageError, TooManyPixels, UnknownFormat, decode, encode_png
from linegroup.model import LineModel
from linegroup.predict import Predictor
from linegroup.sample import Field, Groups
from linegroup.serving import deadline, digits
from linegroup.serving.calm import calm
from linegroup.serving.digits import json_by_id, json_rows
from linegroup.serving.limits import Limits, within
from linegroup.serving.stages import Overloaded
from linegroup.serving.thinning import group_thinned
from linegroup.serving.work import Late, Order, answer, embed, plain_name
from linegroup.wire import to_json


def without_times(text):
    tree = json.loads(text)
    tree.pop("timings_ms")
    return tree


def test_lines_are_those_of_predict(tiny_predictor, chart_png):
    reply = answer(embed(tiny_predictor, Order(chart_png, "a.png")), "lines", {})
    expected = without_times(to_json(tiny_predictor.predict_bytes(chart_png, "a.png").document))
    found = without_times(reply.body)
    expected["parameters"] = found["parameters"]
    assert found == expected
    assert found["lines"]
    assert (reply.lines, reply.model.version) == (len(found["lines"]), "7")


@pytest.mark.parametrize("method", sorted(GROUPERS))
def test_parcels_travel_and_hold_candidates_only(tiny_predictor, chart_png, method):
    parcel = embed(tiny_predictor, Order(chart_png, overrides={"method": method, "most_clusters": 3}))
    packed = pickle.dumps(parcel, protocol=5)
    again = pickle.loads(packed)
    assert len(packed) < 80 * len(parcel.positions) + 4000
    tree = json.loads(answer(again, "cluster", {}).body)
    direct = group_field(parcel.field(), GroupingConfig.model_validate(parcel.grouping))
    assert tree["num_clusters"] == direct.count
    assert tree["meta"]["parameters"]["method"] == method


def test_clusters_hold_every_candidate_with_its_colour(tiny_predictor, chart_png):
    tree = json.loads(answer(embed(tiny_predictor, Order(chart_png)), "cluster", {}).body)
    pixels = decode(chart_png).pixels
    for number, points in tree["clusters"].items():
        xs, ys = np.array(points).T
        assert pixels[ys, xs].tolist() == tree["cluster_pixel_values"][number]
    found = {tuple(p) for points in [*tree["clusters"].values(), tree["noise"]] for p in points}
    assert len(found) == tree["meta"]["num_candidates"]
    assert tree["meta"]["image"]["width"] == 140


def test_parcels_change_no_number(tiny_predictor, chart_png):
    sent = tiny_predictor.embed(decode(chart_png).pixels, heads=maps_read(tiny_predictor.grouping))
    received = pickle.loads(pickle.dumps(embed(tiny_predictor, Order(chart_png)), protocol=5)).field()
    for name in sent.__dataclass_fields__:
        assert np.array_equal(getattr(received, name), getattr(sent, name)), name


def test_what_goes_wrong_survives_pickling():
    for error in (UserError("a"), ImageError("b"), TooManyPixels("c"), UnknownFormat("d"), Late("e")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))
    again = pickle.loads(pickle.dumps(Overloaded("busy", 3)))
    assert (str(again), again.retry_after_s) == ("busy", 3)


def test_nobody_works_when_nobody_waits(tiny_predictor, chart_png):
    with pytest.raises(Late):
        embed(tiny_predictor, Order(chart_png, deadline=time.time() - 1))
    parcel = replace(embed(tiny_predictor, Order(chart_png)), deadline=time.time() - 1)
    with pytest.raises(Late):
        answer(parcel, "lines", {})


def test_more_pixels_than_allowed(tiny_predictor, chart_png):
    with pytest.raises(TooManyPixels):
        embed(tiny_predictor, Order(chart_png, max_pixels=1000))


@pytest.mark.parametrize("candidates", ["all_pixels", "non_white", "model"])
def test_a_page_that_is_all_candidates_is_refused_before_it_is_copied(tiny_predictor, candidates):
    page = encode_png(np.full((100, 100, 3), 90, dtype=np.uint8))
    overrides = {"method": "dbscan", "candidates": candidates, "foreground_threshold": 0.0}
    with pytest.raises(UserError, match="10,000 pixels are candidates"):
        embed(tiny_predictor, Order(page, overrides=overrides, limits=Limits(max_candidates=5_000)))


def test_limits_hold_whatever_is_asked_for():
    for method in GROUPERS:
        asked = GroupingConfig(
            method=method, max_work=0, over_work="error", min_samples=1e6, auto_eps_k=10**9, max_candidate_points=10**9
        )
        used = within(asked, Limits())
        assert 0 < used.max_work <= Limits().max_work
        assert used.over_work == "sample"
        assert used.max_candidate_points <= Limits().max_candidate_points
        assert used.auto_eps_k <= 1000
        assert used.method != "hdbscan" or used.min_samples <= 1000
        share = within(asked.model_copy(update={"min_samples": 0.99}), Limits())
        assert share.method != "hdbscan" or share.min_samples * share.max_candidate_points <= 1000


def scattered(labels, size=(40, 60)):
    ys, xs = np.nonzero(labels)
    count = len(ys)
    positions = np.stack([xs, ys], axis=1).astype(np.int32)
    features = np.eye(4, dtype=np.float32)[labels[ys, xs].astype(int)]
    return Field(positions, features, np.ones(count, np.float32), np.zeros((count, 3), np.float32), size)


def test_of_many_candidates_a_sample_is_grouped_and_the_rest_goes_with_it():
    truth = np.zeros((40, 60), dtype=int)
    truth[5:9, 2:58], truth[20:24, 2:58], truth[33:36, 2:58] = 1, 2, 3
    field = scattered(truth)
    config = GroupingConfig(method="dbscan", eps=0.5, min_samples=5)
    groups = group_thinned(field, config, 120)
    xs, ys = field.positions.T
    assert np.array_equal(groups.labels, truth[ys, xs])
    assert "120 of 616" in groups.notes[0]
    assert group_thinned(field, config, 616).notes == ()


def test_dust_and_pages_are_not_traced():
    limits = Limits(max_lines=3, max_trace_work=1000)
    labels = np.zeros((40, 60), dtype=int)
    labels[::2, ::2] = 1
    dust = scattered(labels)
    with pytest.raises(UserError, match=r"600 pixels in 600 pieces.*cluster"):
        limits.check_lines(dust, Groups(np.ones(600, np.int32), np.ones(1, np.float32)))
    with pytest.raises(UserError, match="4 lines were found, at most 3"):
        limits.check_lines(dust, Groups((np.arange(600) % 4 + 1).astype(np.int32), np.ones(4, np.float32)))
    Limits().check_lines(dust, Groups(np.ones(600, np.int32), np.ones(1, np.float32)))


def test_twenty_thick_lines_across_a_megapixel_are_traced():
    labels = np.zeros((1000, 1000), dtype=int)
    for k in range(20):
        labels[25 + 49 * k : 30 + 49 * k] = k + 1
    ys, xs = np.nonzero(labels)
    field = replace(scattered(labels > 0, labels.shape), features=np.zeros((len(ys), 0), np.float32))
    Limits().check_lines(field, Groups(labels[ys, xs].astype(np.int32), np.ones(20, np.float32)))


def test_strokes_are_not_followed_through_noise(tiny_predictor, chart_png):
    noise = encode_png(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    overrides = {"method": "link", "candidates": "all_pixels"}
    limits = Limits(max_jumps=2400)
    with pytest.raises(UserError, match="noise rather than lines"):
        answer(embed(tiny_predictor, Order(noise, overrides=overrides, limits=limits)), "lines", {})
    answer(embed(tiny_predictor, Order(chart_png, overrides=overrides, limits=limits)), "cluster", {})


@pytest.mark.parametrize("compiles", [True, False])
@pytest.mark.parametrize(
    "table",
    [
        np.zeros((0, 2), int),
        np.array([[0, 7], [123, 9]]),
        np.array([[255, 0, 3]], np.uint8),
        np.array([[10**k + d for d in (-1, 0, 1)] for k in range(1, 18)]),
        np.array([[2**63 - 1], [0]]),
    ],
)
def test_digits(table, compiles, monkeypatch):
    monkeypatch.setattr(digits, "COMPILES", compiles)
    assert json_rows(table) == json.dumps(table.tolist(), separators=(",", ":")).encode()


def test_digits_of_many_rows():
    table = np.random.default_rng(0).integers(0, 70_000, (300_000, 2)).astype(np.int32)
    assert json.loads(json_rows(table)) == table.tolist()


@pytest.mark.parametrize("compiles", [digits.COMPILES, False])
@pytest.mark.parametrize("counts", [[], [0], [3], [0, 2, 0], [1] * 9, [2] * 10, [1] * 11, [0] * 100, [1, 0] * 501])
def test_tables_by_number(counts, compiles, monkeypatch):
    monkeypatch.setattr(digits, "COMPILES", compiles)
    table = np.random.default_rng(0).integers(0, 300, (sum(counts), 3)).astype(np.uint8)
    bounds = np.cumsum([0, *counts])
    meant = {str(k + 1): table[bounds[k] : bounds[k + 1]].tolist() for k in range(len(counts))}
    written = json_by_id(table, np.array(counts, dtype=np.int64))
    assert written == json.dumps(meant, separators=(",", ":"))[1:-1].encode()


def test_tables_of_many_numbers_are_written_in_one_pass(monkeypatch):
    table = np.random.default_rng(0).integers(0, 70_000, (60_000, 2)).astype(np.int32)
    counts = [0, 3, *[1] * 59_990, 0, 7, 0]
    passes = []
    monkeypatch.setattr(digits, "_rows", lambda *given, real=digits._rows: passes.append(1) or real(*given))
    written = json.loads(b"{%s}" % json_by_id(table, np.array(counts)))
    assert list(written) == [str(k + 1) for k in range(len(counts))]
    assert [len(rows) for rows in written.values()] == counts
    assert [row for rows in written.values() for row in rows] == table.tolist()
    assert len(passes) == 1


def test_tens_of_thousands_of_clusters_are_written_at_once():
    """A comb of single pixels: a table of digits for each cluster took minutes."""
    pixels = np.full((1, 60_000, 3), 255, dtype=np.uint8)
    pixels[:, ::2] = 0
    overrides = {"candidates": "non_white", "method": "components", "min_pixels": 1}
    parcel = embed(Predictor.load("none"), Order(encode_png(pixels), overrides=overrides))
    started = time.process_time()
    tree = json.loads(answer(parcel, "cluster", {}).body)
    assert time.process_time() - started < 10
    assert tree["num_clusters"] == 30_000
    assert tree["clusters"]["30000"] == [[59_998, 0]]
    assert tree["cluster_pixel_values"]["30000"] == [[0, 0, 0]]
    assert tree["noise"] == []


def test_documents_say_that_a_sample_was_grouped(tiny_predictor, chart_png):
    overrides = {"method": "dbscan", "max_candidate_points": 100}
    parcel = embed(tiny_predictor, Order(chart_png, overrides=overrides, limits=Limits(max_candidate_points=100)))
    notes = json.loads(answer(parcel, "lines", {}).body)["notes"]
    assert "100 of" in notes[0]
    assert json.loads(answer(parcel, "cluster", {}).body)["meta"]["notes"] == notes
    alone = tiny_predictor.predict_bytes(chart_png)
    assert replace(alone, groups=replace(alone.groups, notes=("a sample",))).document.notes == ("a sample",)
    assert json.loads(answer(embed(tiny_predictor, Order(chart_png)), "lines", {}).body)["notes"] == []


def test_time_is_looked_at_between_tiles(monkeypatch, tiny_predictor):
    """A legal picture can be minutes of work: it ends as one that nobody waits for, not as a replica that hangs."""
    monkeypatch.setattr("linegroup.model.LARGEST", 1000)
    monkeypatch.setattr("linegroup.model.TILE", 32)
    now, tiles = [1000.0], []
    monkeypatch.setattr(deadline, "time", SimpleNamespace(time=lambda: now[0]))

    real = LineModel._decoded

    def decoded(model, pictures, heads):
        tiles.append(1)
        now[0] += 1
        return real(model, pictures, heads)

    monkeypatch.setattr(LineModel, "_decoded", decoded)
    content = encode_png(np.full((128, 128, 3), 255, dtype=np.uint8))
    with pytest.raises(Late):
        embed(tiny_predictor, Order(content, deadline=1003.5))
    assert len(tiles) == 4
    embed(tiny_predictor, Order(content))
    assert len(tiles) == 4 + 16


@pytest.mark.parametrize(
    ("given", "plain"),
    [("../../etc/passwd", "passwd"), ("C:\\x\\a.png", "a.png"), ("a\x00\nb.png", "a\ufffd\ufffdb.png"), ("", "")],
)
def test_names_lose_folders_and_control_characters(given, plain):
    assert plain_name(given) == plain


def test_libraries_have_one_thread_while_a_request_is_grouped():
    from threadpoolctl import threadpool_info

    with calm("gmm"):
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}
    with calm("dbscan") as nothing:
        assert nothing is None


def test_without_a_model(chart_png):
    predictor = Predictor.without_model(GroupingConfig(method="link", candidates="non_background"))
    assert answer(embed(predictor, Order(chart_png)), "lines", {}).lines == 2
    with pytest.raises(UserError, match="needs a model"):
        answer(embed(predictor, Order(chart_png, overrides={"method": "dbscan"})), "cluster", {})
