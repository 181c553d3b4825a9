"""Chains of one ink that follow each other, as lines."""

import cv2
import numpy as np
import pytest

from linegroup.grouping.chain import Chain, Chains
from linegroup.grouping.chains import link_strokes
from linegroup.grouping.gathering import gather
from linegroup.grouping.linking import link_lines
from linegroup.grouping.strokes import find_strokes


def flat(first, last, y, gaps=()):
    """A chain along a row, from column to column."""
    xs = np.arange(first, last + 1, dtype=float)
    return Chain(np.stack([xs, np.full(len(xs), float(y))], axis=1), tuple(map(float, gaps)), 2.0)


def rows_of(chains, lines):
    """Numbers of the chains in each line."""
    return {frozenset(next(k for k, c in enumerate(chains) if c is chain) for chain in line) for line in lines}


@pytest.mark.parametrize("seed", range(4))
def test_chains_follow_the_nearest_whatever_their_order(seed):
    chains = [flat(0, 120, 10), flat(0, 130, 40), flat(140, 300, 12), flat(150, 300, 38), flat(20, 60, 80)]
    order = np.random.default_rng(seed).permutation(len(chains))
    shuffled = [chains[k] for k in order]
    lines = rows_of(chains, gather(shuffled, 300))
    assert lines == {frozenset({0, 2}), frozenset({1, 3})}, "the short one below is left"


def test_the_best_of_all_ways_not_the_nearest_first():
    # The longest chain's nearest successor is the only one that the other chain can have.
    chains = [flat(0, 150, 20), flat(0, 140, 32), flat(160, 300, 26), flat(170, 300, 10)]
    assert rows_of(chains, gather(chains, 300)) == {frozenset({0, 3}), frozenset({1, 2})}


def test_dashed_chains_go_on_in_dashed_ones():
    dashed, solid = [4] * 20, ()
    chains = [flat(0, 140, 20, dashed), flat(0, 140, 30), flat(160, 300, 20, solid), flat(160, 300, 30, dashed)]
    assert rows_of(chains, gather(chains, 300)) == {frozenset({0, 3}), frozenset({1, 2})}


def test_many_short_pieces_are_a_line_and_one_is_none():
    pieces = [flat(60 * k, 60 * k + 40, 50) for k in range(5)]
    assert rows_of(pieces, gather([*pieces, flat(125, 155, 90)], 300)) == {frozenset(range(5))}


def test_pieces_one_after_the_other_are_one_line_of_an_ink_of_its_own():
    """A step line that others hide here and there: pieces of it lie over each other's columns."""
    chains = [flat(0, 150, 20), flat(60, 120, 60), flat(160, 300, 60)]
    assert rows_of(chains, gather(chains, 300)) == {frozenset({0}), frozenset({1, 2})}
    assert rows_of(chains, gather(chains, 300, alone=False)) == {frozenset({0, 1, 2})}


@pytest.mark.parametrize("alone", [True, False])
def test_two_that_run_beside_each_other_are_two_lines(alone):
    chains = [flat(0, 300, 20), flat(10, 290, 60)]
    assert rows_of(chains, gather(chains, 300, alone=alone)) == {frozenset({0}), frozenset({1})}


def test_without_chains_all_the_ink_is_one_line():
    assert gather([], 300) == [[]]
    assert gather([flat(5, 9, 3)], 300) == [[]]


def drawn(*lines):
    mask = np.zeros((220, 400), np.uint8)
    for points in lines:
        cv2.polylines(mask, [np.round(points).astype(np.int32)], False, 1, 2)
    return mask > 0


XS = np.linspace(20, 380, 120)


def test_lines_from_one_point_are_two_and_a_spike_is_one():
    up, down = (np.stack([XS, 110 + sign * 80 * ((XS - 20) / 360)], axis=1) for sign in (1, -1))
    assert len(link_lines(drawn(up, down), (220, 400))) == 2
    spike = np.array([[20, 200], [190, 195], [200, 15], [210, 195], [380, 200]])
    assert len(link_lines(drawn(spike), (220, 400))) == 1


@pytest.mark.parametrize("alone", [True, False])
def test_a_dashed_loop_turns_round_smoothly(alone):
    t = np.linspace(0, 2 * np.pi, 400)
    ellipse = np.stack([200 + 150 * np.cos(t), 110 + 80 * np.sin(t)], axis=1)
    dashes = [ellipse[k : k + 11] for k in range(0, 400, 18)]
    chains = link_strokes(find_strokes(drawn(*dashes)), 400, alone=alone)
    assert max(len(chain.points) for chain in chains) > 0.9 * sum(len(chain.points) for chain in chains)


def usual_dash(chain):
    return Chains.of([chain]).usual()[1][0]


@pytest.mark.parametrize("bend", [0.6, 0.7, 0.75])
def test_dashes_in_a_steady_rhythm_go_on_round_a_sharp_bend(bend):
    """In its trough the line turns by 60 degrees and more within a gap."""
    x = np.linspace(110, 290, 4000)
    line = np.stack([x, 200 - bend * (np.hypot(x - 200, 4) - 4)], axis=1)
    along = np.append(0, np.cumsum(np.hypot(*np.diff(line, axis=0).T)))
    dashes = [line[(along >= start) & (along < start + 9)] for start in np.arange(0, along[-1] - 9, 17)]
    (chain,) = link_strokes(find_strokes(drawn(*dashes)), 400)
    assert len(chain.gaps) == len(dashes) - 1


def test_a_chain_knows_its_dashes():
    dashes = [np.array([[x, 50.0], [x + 14, 50.0]]) for x in range(20, 360, 20)]
    (chain,) = link_strokes(find_strokes(drawn(*dashes)), 400)
    assert 10 <= usual_dash(chain) <= 18
    assert len(chain.dashes) == len(chain.gaps) + 1 == len(dashes)
    (solid,) = link_strokes(find_strokes(drawn(np.array([[20, 50], [360, 60]]))), 400)
    assert usual_dash(solid) > 300
    (short,) = link_strokes(find_strokes(drawn(np.array([[20, 50], [34, 50]]))), 400)
    assert np.isnan(usual_dash(short)), "a single short stroke may be a dash or not"
