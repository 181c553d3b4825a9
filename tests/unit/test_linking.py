"""Strokes of one ink and how they are linked to lines."""

import itertools
import tracemalloc

import cv2
import networkx
import numpy as np
import pytest

from linegroup.grouping.linking import link_lines, share_out
from linegroup.grouping.matching import match_ends
from linegroup.grouping.strokes import find_strokes

SIZE = (300, 400)


def drawn(*lines, thickness=2, size=SIZE):
    masks = [
        cv2.polylines(np.zeros(size, np.uint8), [np.round(line * 16).astype(np.int32)], False, 255, thickness, 16, 4)
        for line in lines
    ]
    return [mask > 100 for mask in masks]


def curve(place, angle, bend, half=130):
    u = np.linspace(-half, half, 80)[:, None]
    along = np.array([np.cos(angle), np.sin(angle)])
    return np.asarray(place) + u * along + bend * u**2 * np.array([-along[1], along[0]])


def linked(mask, plot):
    """The pixels of each line."""
    lines = link_lines(mask, plot)
    labels = share_out(mask, lines)
    return [labels == k + 1 for k in range(len(lines))]


def test_strokes_of_a_cross_meet_in_one_place():
    one, other = drawn(curve((200, 150), 0.2, 0), curve((200, 150), 1.3, 0))
    strokes = find_strokes(one | other)
    long = [k for k, points in enumerate(strokes.each) if len(points) > 50]
    assert len(long) == 4
    assert all((strokes.nodes[k] >= 0).sum() == 1 for k in long)
    for points in strokes.each:
        assert (np.abs(np.diff(points, axis=0)).max(axis=1, initial=0) <= 1).all(), "each pixel touches the next"
    assert strokes.thickness[long] == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize("shape", ["ring", "pixel", "nothing", "all", "checkerboard", "line"])
def test_strokes_of_anything(shape):
    mask = np.zeros((40, 50), np.uint8)
    if shape == "ring":
        cv2.circle(mask, (25, 20), 12, 1, 2)
    elif shape == "pixel":
        mask[7, 9] = 1
    elif shape == "all":
        mask[:] = 1
    elif shape == "checkerboard":
        mask[::2, ::2] = mask[1::2, 1::2] = 1
    elif shape == "line":
        mask[0] = 1
    strokes = find_strokes(mask > 0)
    assert len(strokes) == len(strokes.nodes) == len(strokes.thickness)
    if shape == "ring":
        assert sum(len(points) for points in strokes.each) > 50
    if shape == "pixel":
        assert [points.tolist() for points in strokes.each] == [[[9, 7]]]
    whole = np.zeros(mask.shape, int)
    for line in linked(mask > 0, mask.shape):
        whole += line
    np.testing.assert_array_equal(whole, mask)


def test_crossing_lines_of_one_colour_keep_their_identity():
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(150):
        turn = np.deg2rad(rng.uniform(20, 90))
        first = rng.uniform(-0.6, 0.6)
        second = first + turn if first + turn < 1.45 else first - turn
        place = rng.uniform((150, 120), (250, 180))
        masks = drawn(
            *(curve(place, angle, rng.uniform(-0.002, 0.002)) for angle in (first, second)),
            thickness=int(rng.integers(1, 5)),
        )
        lines = linked(masks[0] | masks[1], (150, 200))
        if len(lines) == 2:
            best = max(
                min((a & masks[0]).sum() / masks[0].sum(), (b & masks[1]).sum() / masks[1].sum())
                for a, b in itertools.permutations(lines)
            )
            kept += best > 0.9
    assert kept >= 0.93 * 150


def test_dashes_of_two_lines_are_linked_across_their_gaps():
    x = np.arange(20, 380)
    heights = [80 + 60 * np.sin(x / 60), 200 - 50 * np.cos(x / 45)]
    mask, truth = np.zeros(SIZE, bool), []
    for y, period in zip(heights, (14, 9), strict=True):
        own = np.zeros(SIZE, np.uint8)
        for start in range(0, len(x) - 6, period):
            cut = slice(start, start + period * 2 // 3)
            cv2.polylines(own, [np.stack([x[cut], y[cut]], axis=1).round().astype(np.int32)], False, 1, 2)
        truth.append(own > 0)
        mask |= own > 0
    lines = linked(mask, (280, 380))
    assert len(lines) == 2
    for own in truth:
        assert max((line & own).sum() / own.sum() for line in lines) > 0.98


def test_a_line_interrupted_once_is_one():
    line = curve((200, 150), 0.1, 0.001, 180)
    mask = drawn(line[:38], size=SIZE)[0] | drawn(line[44:], size=SIZE)[0]
    assert len(linked(mask, (300, 400))) == 1


def test_parallel_lines_are_two_and_pixels_have_one_line_each():
    x = np.linspace(10, 390, 60)
    first, second = drawn(np.stack([x, 100 + 0 * x], axis=1), np.stack([x, 106 + 0 * x], axis=1))
    lines = linked(first | second, (280, 380))
    assert len(lines) == 2
    assert sorted(line.sum() for line in lines) == sorted([first.sum(), second.sum()])


def best_by_trying(pairs, costs, unlinked):
    options = [0.0]
    for chosen in range(1, len(pairs) + 1):
        for links in itertools.combinations(range(len(pairs)), chosen):
            ends = [end for k in links for end in pairs[k]]
            if len(set(ends)) == len(ends):
                options.append(sum(unlinked[list(pairs[k])].sum() - costs[k] for k in links))
    return max(options)


@pytest.mark.parametrize("seed", range(40))
def test_few_ends_are_matched_at_least_cost(seed):
    rng = np.random.default_rng(seed)
    pairs = np.array(list(itertools.combinations(range(6), 2)))
    pairs = pairs[rng.random(len(pairs)) < 0.6]
    costs, unlinked = rng.uniform(0, 3, len(pairs)), rng.uniform(0.5, 2, 6)
    links = [tuple(link) for link in match_ends(pairs, costs, unlinked).tolist()]
    ends = [end for link in links for end in link]
    assert len(set(ends)) == len(ends)
    price = {tuple(pair): cost for pair, cost in zip(pairs.tolist(), costs, strict=True)}
    saved = sum(unlinked[list(link)].sum() - price[link] for link in links)
    assert saved == pytest.approx(best_by_trying(pairs.tolist(), costs, unlinked))


@pytest.mark.parametrize("seed", range(20))
def test_more_ends_are_matched_at_least_cost(seed):
    rng = np.random.default_rng(seed)
    ring = np.stack([np.arange(20), (np.arange(20) + 1) % 20], axis=1)  # all depend on each other
    pairs = np.concatenate([ring, rng.integers(0, 20, (40, 2))])
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    costs, unlinked = rng.uniform(0, 1, len(pairs)), np.ones(20)
    links = [tuple(link) for link in match_ends(pairs, costs, unlinked).tolist()]
    assert len({end for link in links for end in link}) == 2 * len(links)
    oracle = networkx.Graph()
    oracle.add_nodes_from(range(20))
    for (a, b), cost in sorted(zip(pairs.tolist(), costs.tolist(), strict=True), key=lambda pair: -pair[1]):
        oracle.add_edge(a, b, weight=2 - cost)  # of a pair that stands twice the better one
    best = networkx.max_weight_matching(oracle)
    assert sum(oracle.edges[link]["weight"] for link in links) == pytest.approx(
        sum(oracle.edges[link]["weight"] for link in best)
    )


def test_many_ends_are_matched_once_each():
    rng = np.random.default_rng(0)
    pairs = np.unique(np.sort(rng.integers(0, 300, (3000, 2)), axis=1), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    ends = match_ends(pairs, rng.uniform(0, 2, len(pairs)), np.ones(300)).ravel().tolist()
    assert len(set(ends)) == len(ends) > 250
    assert not len(match_ends(np.zeros((0, 2), np.int64), np.zeros(0), np.ones(4)))


def test_a_grid_takes_little_memory():
    """One crossing with thousands of ends: all pairs of them would be gigabytes."""
    y, x = np.mgrid[:300, :1000]
    mask = (x % 20 < 2) | (y % 6 < 2)
    tracemalloc.start()
    try:
        lines = link_lines(mask, mask.shape)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert lines
    assert peak < 100 * 2**20
