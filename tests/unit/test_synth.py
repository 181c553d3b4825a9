"""Generated charts: exact truth, same seed same bytes, a distribution that means what it says."""

import json
from dataclasses import replace
from itertools import pairwise

import cv2
import matplotlib
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from linegroup.cli import app
from linegroup.errors import UserError
from linegroup.geometry import apply_dihedral, dihedral, resample, transform
from linegroup.images import decode
from linegroup.masks import decode as decode_runs
from linegroup.shards import ShardSet
from linegroup.sources.coco import read_coco, write_coco
from linegroup.sources.synth import absolute_source, open_stream
from linegroup.sources.synth.charts import ChartStream, chart_stream, remake
from linegroup.sources.synth.choosing import balanced
from linegroup.sources.synth.curves import FAMILIES
from linegroup.sources.synth.damage import DamageConfig
from linegroup.sources.synth.distribution import RENDERERS, ChartDistribution
from linegroup.sources.synth.drafting import photocopied
from linegroup.sources.synth.draw import draw_chart
from linegroup.sources.synth.palettes import PALETTES
from linegroup.sources.synth.rendering import render
from linegroup.sources.synth.spec import clip_parts
from linegroup.sources.synth.statistics import describe
from linegroup.sources.synth.writing import draw_in_order
from linegroup.targets import draw_targets

UNDAMAGED = {"damage": {"profile": {"none": 1}}}


def undamaged(seed: int = 0, **settings) -> ChartStream:
    return chart_stream({"seed": seed, **UNDAMAGED, **settings})


# Truth


def ink_share(stream: ChartStream, number: int) -> tuple[float, int]:
    """IoU of the lines' masks with chart minus chart without lines, and pixels that changed far from any mask.

    A pixel counts as changed where it went at least as much of the way to a line's colour as masks ask for.
    """
    drawn, sample = stream.draw(number), stream.read(number)
    masks = [decode_runs(line.runs, sample.size) for line in sample.instances]
    union = np.any(masks, axis=0)
    plain = render(drawn.chart, lines=False).pixels.astype(float)
    change = np.abs(drawn.rendering.pixels - plain).max(axis=-1)
    lines = [drawn.chart.lines[line.z - 1][1] for line in sample.instances]
    changed = np.zeros_like(union)
    for mask, line in zip(masks, lines, strict=True):
        contrast = np.abs(255 * np.array(line.colour) - plain).max(axis=-1) * line.opacity
        share = min(1 / 3, max(0.12, line.thickness / 3))
        near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        changed |= near & (change > 0) & (change >= 0.97 * share * contrast)
    far = cv2.dilate(union.astype(np.uint8), np.ones((5, 5), np.uint8)) == 0
    # Markers filled with the page's colour hide a grid or a band below: a change that is no ink.
    hides = any(line.marker_fill == "page" for line in lines)
    return (changed & union).sum() / (changed | union).sum(), 0 if hides else int((far & (change > 16)).sum())


@pytest.mark.parametrize("renderer", RENDERERS)
def test_masks_are_the_ink(renderer):
    # Below a half-transparent legend the change is weaker than a line's colour tells.
    stream = undamaged(seed=11, renderer={renderer: 1}, legend_opaque=1)
    found = [ink_share(stream, number) for number in range(12)]
    assert np.mean([share for share, _ in found]) >= 0.98
    # A line below the half-covered edge of a legend shines through a little.
    assert sum(far for _, far in found) < 15


@pytest.mark.parametrize("renderer", RENDERERS)
def test_polylines_run_along_the_middle_of_their_ink(renderer):
    """Ink across the line, weighed: its centre is on the polyline. Places with other lines near are left out."""
    settings = {
        "family": {"smooth": 1},
        "markers": 0,
        "markers_only": 0,
        "palette": {"distinct": 1},
        "dashed_charts": 0,
    }
    stream = undamaged(seed=3, renderer={renderer: 1}, overflow=0, **settings)
    away = []
    for number in range(12):
        drawn, sample = stream.draw(number), stream.read(number)
        total = np.sum([c.astype(int) for c in drawn.rendering.coverage], axis=0).astype(np.float32)
        for line in sample.instances:
            coverage = drawn.rendering.coverage[line.z - 1].astype(np.float32)
            for part in line.part_arrays():
                points = resample(part, 3.0)
                for before, here, after in zip(points[:-2], points[1:-1], points[2:], strict=True):
                    along = (after - before) / max(1e-6, np.hypot(*(after - before)))
                    reach = np.arange(-line.thickness / 2 - 2, line.thickness / 2 + 2.01, 0.25)
                    places = (here + reach[:, None] * np.array([-along[1], along[0]])).astype(np.float32)
                    look = [
                        cv2.remap(plane, places[:, :1], places[:, 1:], cv2.INTER_LINEAR)[:, 0]
                        for plane in (coverage, total)
                    ]
                    if look[0].sum() > 0 and np.allclose(*look):
                        away.append(abs((reach * look[0]).sum() / look[0].sum()))
    assert len(away) > 1000
    assert np.quantile(away, 0.99) <= 0.75
    assert np.mean(away) <= 0.25


@pytest.mark.parametrize("renderer", RENDERERS)
def test_drafted_pages_are_black_lines_and_what_is_no_line(renderer):
    """Leaders, axis among the curves, keys and captions are drawn and are background; each renderer knows them."""
    stream = chart_stream({"seed": 4, "drafting": 1})
    kinds, levels, keys = set(), [], []
    for number in range(12):
        chart = replace(stream.draw(number).chart, renderer=renderer)
        (panel,) = chart.panels
        kinds |= {shape.kind for shape in panel.shapes}
        levels.append(panel.level)
        keys += [panel.legend.key] if panel.legend else []
        assert {line.colour for line in panel.lines} == {(0.0, 0.0, 0.0)}
        whole, plain = (render(chart, lines=lines) for lines in (True, False))
        change = np.abs(whole.pixels.astype(int) - plain.pixels).max(axis=-1)
        ink = cv2.dilate(np.max(whole.coverage, axis=0), np.ones((5, 5), np.uint8)) > 0
        assert not (change[~ink] > 16).any()
        assert (plain.pixels < 128).any(axis=-1).sum() > 500
    assert kinds == {"leader", "text"}
    assert min(levels) == 0 < max(levels)
    assert max(keys) > 4


def test_drafted_pages_lie_half_as_askew_as_is_asked_for():
    copied = photocopied(DamageConfig(skew=(3, 3)))
    assert copied.skew == (1.5, 1.5)
    assert DamageConfig.model_validate(copied.model_dump()) == copied


def test_drafting_leaves_the_other_charts_alone():
    before, some = (chart_stream({"seed": 4, "drafting": share}) for share in (0.0, 0.5))
    pairs = [(before.draw(number), some.draw(number)) for number in range(10)]
    same = [a.damaged.content == b.damaged.content for a, b in pairs]
    assert same == [b.chart.tracking == a.chart.tracking for a, b in pairs]
    assert 2 <= sum(same) <= 8


def test_restyled_charts_differ_in_what_is_no_line_and_keep_their_truth():
    """Turned labels, filled samples and strong grids are drawn by each renderer and are background."""
    plain, other = (chart_stream({"seed": 6, "restyling": share, **UNDAMAGED}) for share in (0, 1))
    turned, swatches, dashed, short = set(), set(), 0, 0
    for number in range(16):
        before, after = plain.draw(number).chart, other.draw(number).chart
        assert len(before.lines) == len(after.lines)
        for panel in after.panels:
            turned |= {after.renderer} if panel.x.turn else set()
            swatches |= {after.renderer} if panel.legend and panel.legend.swatch else set()
            dashed += bool(panel.grid and panel.grid_dash)
        for (_, one), (_, two) in zip(before.lines, after.lines, strict=True):
            gaps = [np.isnan(line.xy[:, 0]).sum() for line in (one, two)]
            short += gaps[1] > gaps[0] + 3
        whole, bare = (render(after, lines=lines) for lines in (True, False))
        change = np.abs(whole.pixels.astype(int) - bare.pixels).max(axis=-1)
        ink = cv2.dilate(np.max(whole.coverage, axis=0), np.ones((5, 5), np.uint8)) > 0
        assert not (change[~ink] > 16).any()
    assert turned == swatches == set(RENDERERS)
    assert dashed > 2
    assert short > 2


def test_restyling_leaves_the_other_charts_alone():
    before, some = (chart_stream({"seed": 4, "restyling": share}) for share in (0.0, 0.5))
    same = [before.draw(k).damaged.content == some.draw(k).damaged.content for k in range(10)]
    assert 2 <= sum(same) <= 8


def test_dash_gaps_are_background_and_the_polyline_goes_through():
    never = dict.fromkeys(("markers", "markers_only", "gap", "overflow", "partial", "annotations"), 0)
    widths = {"thickness_usual": (2, 2), "thickness": (2, 2)}
    black = {"palette": {"black": 1}, "same_styles": {"dashes": 1}, "legend": {"none": 1}, "family": {"smooth": 1}}
    stream = undamaged(seed=2, lines={4: 1}, **never, **widths, **black)
    gaps = 0
    for number in range(4):
        sample, drawn = stream.read(number), stream.draw(number)
        for line in sample.instances:
            assert line.parts == (0,)
            dash = drawn.chart.lines[line.z - 1][1].dash
            at = np.rint(resample(line.xy, 1.0)).astype(int)
            inked = decode_runs(line.runs, sample.size)[at[:, 1], at[:, 0]]
            assert (inked.mean() < 0.97) == bool(dash)
            gaps += bool(dash)
    assert gaps >= 8


def test_what_an_opaque_legend_hides_is_no_ink():
    stream = undamaged(seed=4, legend={"inside": 1}, legend_opaque=1, lines={6: 1})
    hidden = 0
    for number in range(8):
        drawn, sample = stream.draw(number), stream.read(number)
        labels = draw_targets(sample).labels
        for left, top, right, bottom in drawn.rendering.covers:
            box = np.s_[round(top) : round(bottom), round(left) : round(right)]
            assert not labels[box].any()
            hidden += 1
    assert hidden


@pytest.mark.parametrize("index", range(8))
def test_turning_and_drawing_commute(index):
    for number in range(3):
        sample = ChartStream(9).read(number)
        turned = draw_targets(transform(sample, dihedral(index, sample.size)))
        straight = draw_targets(sample)
        assert np.array_equal(turned.labels, apply_dihedral(index, straight.labels))
        assert np.array_equal(turned.coverage, apply_dihedral(index, straight.coverage))


def test_coco_there_and_back(tmp_path):
    samples = [ChartStream(5).read(number) for number in range(6)]
    write_coco(samples, tmp_path / "a.json", tmp_path / "images")
    found, rejects = read_coco(tmp_path / "a.json", tmp_path / "images")
    assert rejects == []
    assert found == samples
    for sample, again in zip(samples, found, strict=True):
        assert np.array_equal(draw_targets(sample).labels, draw_targets(again).labels)


# Seeds


def test_same_seed_same_bytes_in_any_order_and_process():
    stream = ChartStream(7)
    one_by_one = [stream.read(number) for number in (5, 0, 3, 1, 4, 2)]
    by_two = list(draw_in_order("synth:charts?seed=7", range(6), workers=2))
    assert sorted(one_by_one, key=lambda sample: sample.id) == by_two
    assert stream.read(0) != ChartStream(8).read(0)


def test_a_chart_can_be_made_again_alone():
    sample = chart_stream({"seed": 3, "grid": 1.0, "lines": {2: 1}}).read(17)
    stored = json.loads(json.dumps(dict(sample.meta)))
    assert remake(stored) == sample
    stored["generator"]["version"] = 0
    with pytest.raises(UserError, match="version 0"):
        remake(stored)
    with pytest.raises(UserError, match="not generated"):
        remake({})


def test_a_users_matplotlib_style_changes_nothing():
    stream = ChartStream(1, ChartDistribution(renderer={"matplotlib": 1}))
    before = stream.read(2)
    with matplotlib.rc_context({"axes.linewidth": 9, "xtick.major.pad": 40, "path.sketch": (5, 50, 2)}):
        assert stream.read(2) == before


def test_the_picture_is_what_its_record_says():
    for number in range(20):
        sample = ChartStream(13).read(number)
        assert decode(sample.image).pixels.shape[:2] == sample.size
        assert sample.instances
        assert all(line.runs is not None and len(line.runs) for line in sample.instances)


# The distribution


def test_lines_and_palettes_are_what_is_asked_for():
    stream = undamaged(palette={"black": 1}, lines={5: 1}, panels={1: 1})
    for number in range(6):
        chart = stream.draw(number).chart
        assert len(chart.lines) == 5
        assert len({line.colour for _, line in chart.lines}) == 1
    tags = [set(stream.read(number).tags) for number in range(6)]
    assert sum("same_color" in words for words in tags) == 6


@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_finite_curves(family):
    for seed in range(20):
        curve = FAMILIES[family](np.random.default_rng(seed), 200)
        assert curve.ndim == 2
        assert curve.shape[1] == 2
        assert len(curve) > 2
        assert np.isfinite(curve).all()
        assert family == "loop" or (np.diff(curve[:, 0]) >= 0).all()


@pytest.mark.parametrize("palette", PALETTES)
def test_palettes_are_colours(palette):
    for count in (1, 5, 12, 30):
        colours = PALETTES[palette](np.random.default_rng(count), count)
        assert colours.shape == (count, 3)
        assert ((colours >= 0) & (colours <= 1)).all()


@pytest.mark.parametrize("relation", ["bundle", "tangent", "fan", "common_start", "repeated"])
def test_relations(relation):
    distribution = ChartDistribution(
        relation={relation: 1}, family={"smooth": 1}, mixed_families=0, lines={3: 1}, partial=0, gap=0, overflow=0
    )
    for seed in range(8):
        chart = draw_chart(distribution, np.random.default_rng(seed))
        for panel in chart.panels:
            y = [line.xy[:, 1] for line in panel.lines]
            assert all(np.isfinite(v).all() for v in y)
            if relation == "common_start":
                assert np.ptp([v[0] for v in y]) < 1e-9
            if relation == "bundle" and len(y) > 1:
                apart = min(np.abs(a - b).mean() for a, b in pairwise(sorted(y, key=np.mean)))
                assert apart * (panel.box[3] - panel.box[1]) < 20
            if relation == "fan":
                assert min(np.ptp([v[k] for v in y]) for k in range(len(y[0]))) < 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"palettes": {}}, "did you mean"),
        ({"palette": {"blakc": 1}}, "Did you mean 'black'"),
        ({"palette": {"black": 0}}, "above 0"),
        ({"palette": {"black": -1}}, "greater than or equal to 0"),
        ({"width": [500, 100]}, "range"),
        ({"lines": {0: 1}}, "from 1 to 64"),
        ({"grid": 2}, "less than or equal to 1"),
        ({"seed": "x"}, "whole number"),
        ({"seed": -1}, "at least 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        chart_stream(settings)


def test_names_of_streams():
    assert open_stream("synth:charts?seed=7&grid=0.5").digest == chart_stream({"seed": 7, "grid": 0.5}).digest
    assert open_stream("synth:charts").digest != open_stream("synth:charts?grid=0").digest
    with pytest.raises(UserError, match="synth:charts"):
        open_stream("synth:chart")
    with pytest.raises(UserError, match="key=value"):
        open_stream("synth:charts?seed")


# Statistics


def test_crossings_and_neighbours_are_counted():
    masks = np.zeros((3, 60, 100), bool)
    masks[0, 30, :] = masks[1, :, 50] = masks[2, 34, 60:] = True
    counts = describe(list(masks))
    assert counts["lines"] == 3
    assert counts["crossings"] == 1
    assert 0.2 < counts["near"] < 0.8
    assert describe(list(masks[:1]))["crossings"] == 0


def test_parts_are_cut_at_the_frame():
    zigzag = np.array([[0.1, 0.5], [0.3, 1.5], [0.5, 0.5], [0.9, 0.4]])
    parts = clip_parts([zigzag])
    assert len(parts) == 2
    assert np.allclose(parts[0][-1], [0.2, 1.0])
    assert np.allclose(parts[1][0], [0.4, 1.0])
    assert all((part >= 0).all() and (part <= 1).all() for part in parts)
    assert clip_parts([zigzag + 5]) == []


# The command line


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_charts_on_disk(tmp_path):
    out = tmp_path / "charts"
    assert (
        json.loads(run("synth", "charts", "--count", 4, "--seed", 7, "--out", out, "--workers", 1, "--json"))["charts"]
        == 4
    )
    found, rejects = read_coco(out / "annotations.json", out / "images")
    assert rejects == []
    assert found == [ChartStream(7).read(number) for number in range(4)]


def test_shards_are_the_same_stream(tmp_path):
    out = tmp_path / "shards"
    run("synth", "shards", "--count", 6, "--seed", 7, "--out", out, "--split", "train", "--serial")
    assert list(ShardSet(out, "train")) == [ChartStream(7).read(number) for number in range(6)]
    again = run("synth", "shards", "--count", 6, "--seed", 7, "--out", out, "--split", "train", "--serial")
    assert "nothing to do" in again


def test_the_whole_distribution_can_be_printed_and_read_back(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(run("synth", "charts", "--seed", 4, "--set", "grid=0.25", "--show-config"))
    assert yaml.safe_load(path.read_text())["grid"] == 0.25
    assert absolute_source(f"synth:charts?config={path}&seed=2").startswith("synth:charts?config=%2F")
    assert open_stream(f"synth:charts?config={path}").digest == open_stream("synth:charts?seed=4&grid=0.25").digest


def test_preview(tmp_path):
    out = tmp_path / "sheet.png"
    run("synth", "preview", "--count", 3, "--columns", 2, "--out", out)
    assert decode(out.read_bytes()).pixels.shape[1] > 1200


# The frozen validation split


@pytest.mark.slow
@pytest.mark.long
def test_the_frozen_split_holds_what_it_was_chosen_for():
    samples = list(draw_in_order("synth:validation", range(300), workers=2))
    assert [sample.id for sample in samples] == list(range(300))
    share = {tag: sum(tag in sample.tags for sample in samples) / 300 for tag in {t for s in samples for t in s.tags}}
    assert abs(share["renderer_svg"] - 0.42) < 0.03
    wanted = ("same_color", "dashed", "thin", "crossing", "dense", "markers", "scan", "jpeg", "black", "step", "noisy")
    assert {tag: share[tag] for tag in wanted if share[tag] < 0.2} == {}
    rare = ("parallel", "loop", "panels", "twin", "dark", "greyscale", "similar_color", "same_style", "gaps", "blur")
    assert {tag: share[tag] for tag in rare if share[tag] < 0.09} == {}
    counts = {name: np.array([s.meta["statistics"][name] for s in samples]) for name in samples[0].meta["statistics"]}
    assert 5 < counts["lines"].mean() < 6
    assert set(counts["lines"]) >= set(range(1, 13))
    assert 10 < counts["crossings"].mean() < 15
    assert np.median(counts["crossings"]) >= 6
    assert 0.09 < counts["near"].mean() < 0.16


def test_the_frozen_split_is_this_generators():
    stream = open_stream("synth:validation")
    assert stream.read(7).id == 7
    assert stream.digest == open_stream("synth:validation").digest
    with pytest.raises(UserError, match="has 300 charts"):
        stream.read(300)
    with pytest.raises(UserError, match="frozen"):
        open_stream("synth:validation?seed=1")


def test_rare_tags_are_chosen_first():
    tags = {number: ["common"] for number in range(50)} | {50: ["common", "rare"], 60: ["other"]}
    assert {50, 60} <= set(balanced(tags, 4))
    assert balanced(tags, 100) == sorted(tags)
