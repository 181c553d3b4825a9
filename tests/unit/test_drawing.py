"""Ways of a pen: over all strokes, joined end to end, without hooks."""

from itertools import pairwise

import networkx
import numpy as np
import pytest

from linegroup.grouping.chain import Chain
from linegroup.vectors import joining
from linegroup.vectors.hooks import is_hook
from linegroup.vectors.joining import end_to_end
from linegroup.vectors.pen import Graph, pen_ways


@pytest.mark.parametrize("seed", range(6))
def test_a_walk_goes_over_all_strokes_of_a_piece_and_over_few_twice(seed):
    rng = np.random.default_rng(seed)
    places = int(rng.integers(2, 15))
    edges = rng.integers(0, places, (int(rng.integers(1, 25)), 2))
    lengths = rng.uniform(1, 9, len(edges))
    ways = pen_ways(Graph(edges, lengths, places))
    graph = networkx.MultiGraph(edges.tolist())
    assert len(ways.cuts) - 1 == networkx.number_connected_components(graph)
    assert set(ways.strokes.tolist()) == set(range(len(edges)))
    for a, b in zip(ways.cuts[:-1], ways.cuts[1:], strict=True):
        gone = [
            edges[k][::-1] if back else edges[k] for k, back in zip(ways.strokes[a:b], ways.turned[a:b], strict=True)
        ]
        assert all(one[1] == other[0] for one, other in pairwise(gone))
        piece = networkx.node_connected_component(graph, int(gone[0][0]))
        once = sum(lengths[k] for k in set(ways.strokes[a:b].tolist()))
        tree = networkx.MultiGraph([(*e, {"weight": w}) for e, w in zip(edges.tolist(), lengths, strict=True)])
        most = networkx.minimum_spanning_tree(tree.subgraph(piece)).size("weight")
        assert once <= lengths[ways.strokes[a:b]].sum() <= once + most + 1e-9
        if networkx.has_eulerian_path(graph.subgraph(piece)):
            odd = [node for node, degree in graph.subgraph(piece).degree() if degree % 2]
            assert not odd or gone[0][0] in odd or lengths[ways.strokes[a:b]].sum() > once


def dashes(count, closed):
    """Pieces of a circle with gaps, shuffled and turned at random, or of its upper half."""
    rng = np.random.default_rng(count)
    angles = np.linspace(0, 2 * np.pi if closed else np.pi, count, endpoint=False)
    width = 0.6 * (angles[1] - angles[0])
    parts = [50 + 40 * np.stack([np.cos(t), np.sin(t)], axis=1) for t in angles[:, None] + np.linspace(0, width, 5)]
    return [Chain(parts[k][:: rng.choice([-1, 1])], (), 1.0) for k in rng.permutation(count)]


@pytest.mark.parametrize("few", [0, joining.FEW])
@pytest.mark.parametrize("count", [3, 8, 21])
def test_dashes_are_joined_in_their_order(count, few, monkeypatch):
    monkeypatch.setattr(joining, "FEW", few)
    joined = end_to_end(dashes(count, closed=False))
    assert not joined.closed
    turns = np.diff(np.arctan2(*(joined.points - 50).T[::-1]))
    assert (turns > 0).all() or (turns < 0).all()


def test_dashes_of_a_circle_go_around_it_once():
    joined = end_to_end(dashes(12, closed=True))
    turns = np.diff(np.unwrap(np.arctan2(*(joined.points - 50).T[::-1])))
    assert (turns > 0).all() or (turns < 0).all()


def test_a_single_way_is_left_as_it_is():
    ring = Chain(np.array([[0.0, 0], [1, 0], [1, 1]]), (), 1.0, closed=True)
    assert end_to_end([ring]).closed
    np.testing.assert_array_equal(end_to_end([ring]).points, ring.points)


@pytest.mark.parametrize("ink", ["corner", "tip"])
def test_a_hook_is_a_turn_for_ink_that_is_reached_anyway(ink):
    # Down from (10, 8) for two places, then to the right.
    way = np.array([[10, 8.0], [10, 8.5], *([10 + k / 2, 9] for k in range(12))])
    widest = np.zeros((20, 30), dtype=np.int32)
    widest[8:11, 9:20] = 1
    if ink == "tip":
        widest[7, 10] = widest[7, 9] = 1
    assert is_hook(way, 2, widest, 1.5, 1.8) == (ink == "corner")
    assert not is_hook(way[::-1].copy(), 2, widest, 1.5, 1.8)
