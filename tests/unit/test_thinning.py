"""Thinning and what it is made of, against slow ways to the same: scipy's labels, Euler numbers, networkx."""

import networkx
import numpy as np
import pytest
from scipy.ndimage import binary_erosion, binary_opening, distance_transform_edt, label
from skimage.measure import euler_number

from linegroup.sample import Instance, Sample
from linegroup.targets import line_pixels
from linegroup.vectors.bands import find_blots, hollow
from linegroup.vectors.branches import find_branches, stroke_lengths
from linegroup.vectors.ground import find_ground
from linegroup.vectors.needless import without_needless
from linegroup.vectors.places import name_pieces
from linegroup.vectors.thinning import thin, thin_places

EIGHT = np.ones((3, 3))


def some_mask(seed):
    """Lines and blobs of all kinds, with two pixels of paper around."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:60, :80]
    mask = np.zeros((60, 80), dtype=bool)
    for _ in range(rng.integers(1, 5)):
        slope, at = rng.normal(), rng.uniform(0, 60)
        mask |= np.abs(y - at - slope * (x - 40)) < rng.uniform(0.6, 4) * np.hypot(1, slope)
    mask |= binary_opening(rng.random(mask.shape) < 0.6, EIGHT[:2, :2]) & (rng.random() < 0.5)
    mask |= np.abs(np.hypot(x - 40, y - 30) - 15) < rng.uniform(0.6, 3)
    mask[[0, 1, -2, -1]] = mask[:, [0, 1, -2, -1]] = False
    return mask


def drawn(xy, thickness, size=(100, 140)):
    sample = Sample(0, size, (Instance(1, np.asarray(xy, np.float64), thickness=thickness),))
    (pixels,) = line_pixels(sample)
    mask = np.zeros(size, dtype=bool)
    mask.ravel()[pixels] = True
    return mask


def places(shape, nodes):
    picture = np.zeros(shape, dtype=bool)
    picture[nodes[:, 1], nodes[:, 0]] = True
    return picture


@pytest.mark.parametrize("seed", range(8))
def test_pieces_are_those_of_scipy(seed):
    ground = find_ground(some_mask(seed))
    chosen = np.random.default_rng(seed).random(len(ground.nodes)) < 0.6
    piece = np.zeros(len(ground.nodes), dtype=np.int64)
    count = name_pieces(ground.nodes, ground.at, chosen, piece)
    named, number = label(places(ground.at.shape, ground.nodes[chosen]), EIGHT)
    assert count == number
    assert (piece[~chosen] == 0).all()
    x, y = ground.nodes[chosen].T
    # scipy too numbers them by their first place.
    np.testing.assert_array_equal(piece[chosen], named[y, x])


@pytest.mark.parametrize("seed", range(8))
def test_without_the_inside_of_bands_all_hangs_together_as_before(seed):
    ground = find_ground(some_mask(seed))
    state = np.zeros(ground.at.shape, dtype=np.uint8)
    nodes = hollow(ground, find_blots(ground), state)
    np.testing.assert_array_equal(state > 0, places(state.shape, nodes))
    before, after = label(ground.at > 0, EIGHT), label(state > 0, EIGHT)
    assert before[1] == after[1]
    assert len(np.unique(before[0][state > 0])) == before[1]
    assert state[ground.at == 0].sum() == 0


def graph_of(strokes, scale):
    """Junctions and free ends as nodes, strokes as edges; a ring is an edge of a node with itself."""
    graph = networkx.MultiGraph()
    graph.add_nodes_from(range(strokes.junctions))
    for number, (points, nodes) in enumerate(zip(strokes.each, strokes.nodes.tolist(), strict=True)):
        ring = max(nodes) < 0 and len(points) > 3 and scale * np.abs(points[0] - points[-1]).max() <= 1
        first, last = (end if end >= 0 else (number, side) for side, end in enumerate(nodes))
        graph.add_edge(first, first if ring else last)
    return graph


@pytest.mark.parametrize("seed", range(8))
def test_thinned_places_have_the_pieces_and_holes_that_they_had(seed):
    ground = find_ground(some_mask(seed))
    state = np.zeros(ground.at.shape, dtype=np.uint8)
    nodes = hollow(ground, find_blots(ground), state)
    before = state > 0
    anchors = nodes[:: len(nodes) // 20]
    skeleton = thin_places(nodes, anchors, state)
    np.testing.assert_array_equal(state > 0, places(state.shape, skeleton))
    assert (state[anchors[:, 1], anchors[:, 0]] == 1).all()
    assert label(state > 0, EIGHT)[1] == label(before, EIGHT)[1]
    assert euler_number(state > 0, connectivity=2) == euler_number(before, connectivity=2)
    # One wide: what could be eroded from every side is gone, but for anchors and where many lines meet.
    assert binary_erosion(state > 0, np.ones((2, 2))).sum() < 0.02 * len(skeleton) + len(anchors)


@pytest.mark.parametrize("seed", range(8))
def test_strokes_are_in_as_many_pieces_as_the_ground(seed):
    ground = find_ground(some_mask(seed))
    graph = graph_of(thin(ground), ground.scale)
    assert networkx.number_connected_components(graph) == label(ground.at > 0, EIGHT)[1]


@pytest.mark.parametrize("seed", range(8))
def test_each_place_of_a_skeleton_is_in_one_branch_or_junction(seed):
    ground = find_ground(some_mask(seed))
    skeleton = ground.nodes[np.isin(np.arange(len(ground.nodes)), picked(ground, seed))]
    state = places(ground.at.shape, skeleton).astype(np.uint8)
    around = sum(np.roll(state, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)) - state
    meeting = (state > 0) & (around >= 3)
    strokes = find_branches(skeleton, state.copy(), ground)
    assert strokes.junctions == label(meeting, EIGHT)[1]
    inner = [p[int(a >= 0) : len(p) - int(b >= 0)] for p, (a, b) in zip(strokes.each, strokes.nodes, strict=True)]
    found = np.rint(np.concatenate([np.zeros((0, 2)), *inner]) * ground.scale).astype(int)
    assert len(np.unique(found, axis=0)) == len(found)
    np.testing.assert_array_equal(places(state.shape, found), (state > 0) & ~meeting)
    steps = [np.abs(np.diff(p, axis=0)).max() * ground.scale for p in inner if len(p) > 1]
    assert max(steps, default=1) <= 1


def picked(ground, seed):
    """A walk over the ground that crosses itself."""
    rng = np.random.default_rng(seed)
    at = [int(rng.integers(len(ground.nodes)))]
    heading = rng.uniform(0, 2 * np.pi)
    u, v = ground.nodes[at[0]].astype(float)
    for _ in range(300):
        heading += rng.normal(0, 0.15)
        du, dv = round(np.cos(heading)), round(np.sin(heading))
        other = ground.at[int(v + dv), int(u + du)] - 1
        if other < 0:
            heading += 2
            continue
        u, v = u + du, v + dv
        at.append(other)
    return at


@pytest.mark.parametrize("seed", range(8))
def test_no_ink_of_a_pen_is_left_without_a_stroke(seed):
    rng = np.random.default_rng(seed)
    x = np.arange(10, 130, 2.0)
    mask = drawn(np.stack([x, 50 + rng.normal(0, 6, len(x))], axis=1), 2.5)
    ground = find_ground(mask)
    for strokes in (thin(ground), without_needless(thin(ground), ground)):
        inked = np.ones((2 * mask.shape[0], 2 * mask.shape[1]), dtype=bool)
        x, y = np.rint(2 * strokes.points).astype(int).T
        inked[y, x] = False
        away = distance_transform_edt(inked)[::2, ::2] / 2
        assert away[mask].max() < ground.reach + 0.6


def test_of_two_flanks_that_part_nothing_goes_across():
    peak = [(20, 90), (60, 10), (100, 90)]
    ground = find_ground(drawn(peak, 5))
    strokes = without_needless(thin(ground), ground)
    points = strokes.points
    # The ink closes where the flanks are 5 pixels apart: 11 pixels below the tip.
    middle = points[(np.abs(points[:, 0] - 60) < 1) & (points[:, 1] > 17)]
    assert not len(middle)
    assert networkx.number_connected_components(graph_of(strokes, ground.scale)) == 1


def test_a_mark_is_a_blot_and_a_dense_band_is_none():
    y, x = np.mgrid[:80, :160]
    line = (np.abs(y - 40) < 1.1) & (x > 5) & (x < 155)
    assert find_blots(find_ground(line | (np.hypot(x - 80, y - 40) < 8))).any()
    rng = np.random.default_rng(0)
    across = np.arange(40, 70, 0.5)
    noise = drawn(np.stack([across, 50 + rng.normal(0, 12, len(across))], axis=1), 2, (100, 600))
    flat = drawn([(5, 50), (595, 50)], 2, (100, 600))
    ground = find_ground(noise | flat)
    assert (ground.far - ground.reach).max() > 3.2
    assert not find_blots(ground).any()


def test_lengths_of_strokes():
    strokes = thin(find_ground(drawn([(20, 20), (120, 20)], 3)))
    assert stroke_lengths(strokes).sum() == pytest.approx(100, abs=3)
