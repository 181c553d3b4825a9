"""Chains of two styles are cut where these meet, and what has nothing else to go on in stays whole."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linegroup.grouping.chain import Chain, join_chains
from linegroup.grouping.linking import link_lines, share_out
from linegroup.grouping.style import cut_at_changes, mend, nats_apart

counts = st.integers(0, 200)


def dashed(first, dashes, gap=5.0):
    """A chain along a row whose pieces are strokes of their own."""
    pieces, x = [], float(first)
    for dash in dashes:
        xs = x + np.arange(dash)
        pieces.append(Chain(np.stack([xs, np.full(len(xs), 10.0)], axis=1), (), 2.0))
        x = xs[-1] + gap
    (whole,) = join_chains(pieces, [(2 * k + 1, 2 * k + 2) for k in range(len(pieces) - 1)])
    return whole


@given(st.integers(1, 2000), counts, st.integers(1, 2000), counts)
def test_one_style_for_two_never_tells_more_shortly(n, k, m, j):
    k, j = min(k, n), min(j, m)
    assert nats_apart(n, m, k, j) >= -1e-6 * (n + m)
    assert nats_apart(n, 3 * n, k, 3 * k) == pytest.approx(0, abs=1e-6 * max(1, k))


@pytest.mark.parametrize("turned", [False, True])
def test_dashes_that_run_into_a_solid_line_are_cut_off(turned):
    """Also where the chain is told from its other end."""
    solid = Chain(np.stack([200.0 + np.arange(200), np.full(200, 10.0)], axis=1), (), 2.0)
    ends = [(1, 3 if turned else 2)]
    if turned:
        solid = Chain(solid.points[::-1], (), 2.0)
    (mixed,) = join_chains([dashed(0, [8] * 15), solid], ends, ends)
    parts = cut_at_changes(mixed)
    assert [len(part.points) for part in parts] == [15 * 8, 200]
    assert [len(part.gaps) for part in parts] == [14, 0]
    assert [sum(part.dashes) for part in parts] == [15 * 8, 200]


def test_a_thin_line_that_runs_into_a_thick_one_is_cut_off():
    thin, thick = (
        Chain(np.stack([first + np.arange(200.0), np.full(200, 10.0)], axis=1), (), width)
        for first, width in ((0, 1.2), (200, 3.0))
    )
    (mixed,) = join_chains([thin, thick], [(1, 2)], [(1, 2)])
    parts = cut_at_changes(mixed)
    assert [len(part.points) for part in parts] == [200, 200]
    assert [part.thickness for part in parts] == [1.2, 3.0]
    # Of a short stretch, where two lines run in each other, nothing is concluded.
    short = Chain(thick.points[:60], (), 3.0)
    (mixed,) = join_chains([thin, short], [(1, 2)], [(1, 2)])
    assert cut_at_changes(mixed) == [mixed]


def test_a_chain_of_one_style_is_left_alone():
    for dashes in ([8] * 40, [300], [12, 3] * 20, [90, 60, 80]):
        chain = dashed(0, dashes)
        assert cut_at_changes(chain) == [chain]


@given(st.lists(st.integers(1, 30), min_size=2, max_size=12), st.data())
def test_what_is_cut_and_mended_is_what_it_was(dashes, data):
    chain = dashed(0, dashes)
    at = data.draw(st.sampled_from(chain.joins))
    one, other = chain.cut(at)
    assert len(one.points) == at
    (whole,) = mend([one, other], [(chain, [one, other])])
    np.testing.assert_array_equal(whole.points, chain.points)
    assert (whole.gaps, whole.dashes) == (chain.gaps, chain.dashes)
    assert (whole.joins, whole.widths) == (chain.joins, chain.widths)


def test_gaps_stay_in_their_places_whichever_way_chains_are_joined():
    narrow, wide = dashed(0, [10] * 3, gap=4.0), dashed(100, [10] * 3, gap=8.0)
    turned = Chain(
        wide.points[::-1], wide.gaps[::-1], 2.0, dashes=wide.dashes[::-1], joins=wide.joins, widths=wide.widths
    )
    for other, link in ((wide, (1, 2)), (turned, (1, 3))):
        (chain,) = join_chains([narrow, other], [link])
        assert [part.gaps for part in chain.cut(30)] == [narrow.gaps, wide.gaps]


def test_what_met_without_a_gap_meets_again_and_a_ring_stays_one():
    one, other = (Chain(np.stack([x + np.arange(50.0), np.full(50, 9.0)], axis=1), (), 2.0) for x in (0, 50))
    (whole,) = join_chains([one, other], [(1, 2)], [(1, 2)])
    parts = whole.cut(50)
    (again,) = mend(parts, [(whole, parts)])
    assert (again.gaps, again.dashes) == ((), (100.0,))
    ring = Chain(parts[1].points, (), 2.0, closed=True)
    assert [chain.closed for chain in mend([parts[0], ring], [(whole, parts)])] == [False, True]


def test_a_stroke_that_two_lines_share_goes_to_each_of_them_once():
    """It is there twice, with the same points."""

    def row(first, last, y, width=2.0):
        xs = np.arange(first, last, dtype=float)
        return Chain(np.stack([xs, np.full(len(xs), float(y))], axis=1), (), width)

    wholes = [join_chains([row(0, 40, y), row(42, 90, 10, y)], [(1, 2)])[0] for y in (9, 11)]
    cuts = [(whole, list(whole.cut(40))) for whole in wholes]
    mended = mend([part for _, parts in cuts for part in parts], cuts)
    assert [chain.widths for chain in mended] == [whole.widths for whole in wholes]


def test_an_end_that_has_found_another_one_is_not_mended():
    whole = dashed(0, [8] * 6)
    one, other = whole.cut(24)
    third = Chain(other.points + np.array([0.0, 2.0]), (), 2.0)
    (linked,) = join_chains([one, third], [(1, 2)])
    assert len(mend([linked, other], [(whole, [one, other])])) == 2


@pytest.mark.parametrize("gap", [4, 6])
def test_a_dashed_line_and_a_solid_one_that_touch_keep_their_styles(gap):
    """Both turn where they touch: by the ends there, each would go on in the other."""
    xs = np.arange(20, 381, dtype=float)
    away = np.abs(xs - 200)
    upper, lower = 110 - 0.3 * away, 110 + 0.3 * away
    mask = np.zeros((220, 400), np.uint8)
    cv2.polylines(mask, [np.stack([xs, lower], axis=1).round().astype(np.int32)], False, 1, 2)
    for k in range(0, len(xs), 8 + gap):
        piece = np.stack([xs, upper], axis=1)[k : k + 9]
        cv2.polylines(mask, [piece.round().astype(np.int32)], False, 1, 2)
    found = link_lines(mask > 0, (220, 400))
    assert len(found) == 2
    labels = share_out(mask > 0, found)
    left, right = np.arange(220)[:, None] < 108, np.arange(220)[:, None] > 114
    for half in (np.s_[:, :180], np.s_[:, 220:]):
        names = [set(labels[half][(side & (labels[half] > 0))].tolist()) for side in (left, right)]
        assert [len(name) for name in names] == [1, 1]
        assert names[0] != names[1]
    # The dashed one is the same on both sides.
    assert len(set(labels[:100][labels[:100] > 0].tolist())) == 1
