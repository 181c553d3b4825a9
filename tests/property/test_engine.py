"""The clustering engine against scikit-learn, hdbscan and definitions. LINEGROUP_CASES sets the number of clouds."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import hdbscan as library
import numpy as np
import pytest
from hdbscan import _hdbscan_linkage, _hdbscan_tree
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import DBSCAN

from linegroup import compiling
from linegroup.grouping.dbscan import dbscan, dbscan_core, neighbour_distances
from linegroup.grouping.engine.budget import WorkExceeded, allowance
from linegroup.grouping.engine.neighbours import nearest_labels
from linegroup.grouping.engine.plain import plain_dbscan
from linegroup.grouping.engine.tree import LANES, build_tree
from linegroup.grouping.hdbscan import Reachability, extract, hdbscan, span

CASES = int(os.environ.get("LINEGROUP_CASES", "700"))


def hard_cloud(seed):
    """Points `(N, D)` in single or double precision, an eps and a min_samples: every kind in its turn."""
    rng = np.random.default_rng(seed)
    count, dimensions = int(rng.integers(1, 700)), int(rng.integers(1, 18))
    samples = int(rng.integers(1, 41)) if rng.random() < 0.5 else int(rng.integers(1, 7))
    points, eps = KINDS[seed % len(KINDS)](rng, count, dimensions)
    scale = float(rng.choice([1.0, 1.0, 1e-6, 1e6, 0.1]))
    points, eps = points * scale, eps * scale
    if rng.random() < 0.2:
        points = points + rng.normal(size=dimensions) * 1e3 * scale
    dtype = np.float32 if rng.random() < 0.6 else np.float64
    return rng.permutation(points.astype(dtype)), float(eps), samples


def _blobs(rng, count, dimensions):
    centres = rng.normal(size=(int(rng.integers(1, 6)), dimensions)) * rng.uniform(0.2, 3)
    points = centres[rng.integers(len(centres), size=count)] + rng.normal(size=(count, dimensions)) * 0.15
    return points, 0.15 * np.sqrt(2 * dimensions) * rng.uniform(0.5, 1.1)


def _lattice(rng, count, dimensions):
    """Many pairs exactly eps apart."""
    edge = max(2, round(count ** (1 / min(dimensions, 3))))
    points = np.zeros((count, dimensions))
    points[:, : min(dimensions, 3)] = rng.integers(0, edge, (count, min(dimensions, 3)))
    return points * 0.5, float(rng.choice([0.5, 1.0, 0.5 * np.sqrt(2), 0.5 * np.sqrt(3)]))


def _copies(rng, count, dimensions):
    few = rng.normal(size=(int(rng.integers(1, 9)), dimensions))
    return few[rng.integers(len(few), size=count)], rng.uniform(0.01, 2)


def _chain(rng, count, dimensions):
    """Steps that are eps, or a last bit more or less."""
    step = float(np.float32(rng.uniform(0.3, 0.7)))
    steps = step * (1 + rng.choice([0.0, 6e-8, -6e-8, 1e-15, 0.3], p=[0.5, 0.2, 0.2, 0.05, 0.05], size=count))
    points = np.zeros((count, dimensions))
    points[:, int(rng.integers(dimensions))] = np.cumsum(steps)
    return points, step


def _spheres(rng, count, dimensions):
    """Points at nearly eps from a few hubs, all around them: each decision is a close one."""
    hubs = rng.normal(size=(int(rng.integers(1, 5)), dimensions)) * 4
    out = rng.normal(size=(count, dimensions))
    out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
    eps = float(rng.uniform(0.5, 1.5))
    points = hubs[rng.integers(len(hubs), size=count)] + out * eps * (1 + rng.normal(size=(count, 1)) * 1e-7)
    points[: len(hubs)] = hubs[:count]
    return points, eps


def _fragments(rng, count, dimensions):
    """Tight clusters in a row, their gaps around eps; some of them on the border of two."""
    eps = float(rng.uniform(0.5, 1.0))
    places = np.cumsum(eps * (1 + rng.choice([0.0, 0.05, -0.05, 0.9], size=12)))
    points = rng.normal(size=(count, dimensions)) * 0.01 * eps
    points[:, 0] += places[rng.integers(len(places), size=count)]
    return points, eps


def _even(rng, count, dimensions):
    return rng.uniform(size=(count, dimensions)), 0.3 * np.sqrt(dimensions) * rng.uniform(0.3, 1.5)


KINDS = (_blobs, _lattice, _copies, _chain, _spheres, _fragments, _even)


def squared_distances(points):
    exact = points.astype(np.float64)
    squared = np.zeros((len(exact), len(exact)))
    for d in range(exact.shape[1]):
        squared += (exact[:, None, d] - exact[None, :, d]) ** 2
    return squared


def dbscan_by_definition(near, min_samples):
    """Labels and core flags from who is near whom `(N, N)`."""
    core = near.sum(axis=1) >= min_samples
    part = connected_components(near & core[:, None] & core[None])[1]
    labels = np.full(len(near), -1)
    labels[core] = numbered(part[core])
    for i in np.flatnonzero(~core):
        labels[i] = min((labels[j] for j in np.flatnonzero(near[i] & core)), default=-1)
    return labels, core


def reachability(points, min_samples):
    """Mutual reachability `(N, N)` by its definition."""
    squared = squared_distances(points)
    core = np.sort(squared, axis=1)[:, min(min_samples, len(points) - 1)]
    return np.sqrt(np.maximum(squared, np.maximum(core[:, None], core[None])))


def prim(weights):
    """Sorted edges of the minimum spanning tree of a dense graph."""
    near, done, edges = weights[0].copy(), np.zeros(len(weights), dtype=bool), []
    done[0] = True
    for _ in range(len(weights) - 1):
        nearest = int(np.argmin(np.where(done, np.inf, near)))
        edges.append(near[nearest])
        done[nearest] = True
        near = np.minimum(near, weights[nearest])
    return np.sort(edges)


@pytest.mark.parametrize("part", range(10))
def test_dbscan_is_scikit_learns_bit_for_bit(part):
    compared = 0
    for seed in range(part, CASES, 10):
        points, eps, samples = hard_cloud(seed)
        labels, core = dbscan_core(points, eps, samples)
        squared = squared_distances(points)
        near = squared <= eps * eps
        for ours, definition in zip((labels, core), dbscan_by_definition(near, samples), strict=True):
            np.testing.assert_array_equal(ours, definition, err_msg=f"seed {seed}")
        # Whole nodes scikit-learn judges by roots: pairs whose distance rounds to eps while its square exceeds
        # eps² are near or not as its tree happens to fall. There only the definition counts.
        if (near == (np.sqrt(squared) <= eps)).all():
            compared += 1
            expected = DBSCAN(eps=eps, min_samples=samples, algorithm="kd_tree").fit(points.astype(np.float64))
            np.testing.assert_array_equal(labels, expected.labels_, err_msg=f"seed {seed}")
            np.testing.assert_array_equal(np.flatnonzero(core), expected.core_sample_indices_, err_msg=f"seed {seed}")
    assert compared > 0.8 * CASES / 10


@pytest.mark.parametrize("scale", [1e-160, 1e-30, 1e-19, 1e-17, 1e14, 1e16, 1e70])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dbscan_is_the_same_at_any_scale(scale, dtype):
    for seed in range(40):
        points, eps, samples = hard_cloud(seed * 7)  # blobs: no ties that a scale could turn
        if dtype == np.float32 and not 1e-35 < scale < 1e35:
            continue
        scaled = (points.astype(np.float64) * scale).astype(dtype)
        near = squared_distances(scaled) <= (eps * scale) ** 2
        for ours, expected in zip(
            dbscan_core(scaled, eps * scale, samples), dbscan_by_definition(near, samples), strict=True
        ):
            np.testing.assert_array_equal(ours, expected, err_msg=f"seed {seed}")


def test_dbscan_by_scipy_alone_is_the_same():
    for seed in range(CASES // 5):
        points, eps, samples = hard_cloud(seed)
        for ours, plain in zip(dbscan_core(points, eps, samples), plain_dbscan(points, eps, samples), strict=True):
            np.testing.assert_array_equal(ours, plain, err_msg=f"seed {seed}")


def test_by_scipy_alone_far_from_zero_and_at_odd_radii():
    rng = np.random.default_rng(0)
    for eps in (3.0, 5.0, 7.0, 1.5):
        for _ in range(5):
            points = rng.integers(0, 40, (150, 2)) + 1e8
            for ours, plain in zip(dbscan_core(points, eps, 4), plain_dbscan(points, eps, 4), strict=True):
                np.testing.assert_array_equal(ours, plain)
    for eps in (1e-300, 1e300):
        points = rng.normal(size=(50, 2))
        np.testing.assert_array_equal(dbscan(points, eps, 3), plain_dbscan(points, eps, 3)[0])


def test_neighbour_distances_and_spanning_trees_are_those_of_the_definition():
    for seed in range(CASES // 4):
        points, _, samples = hard_cloud(seed)
        if len(points) < 2:
            continue
        tree = build_tree(points)
        k = min(samples, len(points) - 1)
        weights = reachability(points, k)
        np.testing.assert_array_equal(neighbour_distances(tree, k), np.diag(weights), err_msg=f"seed {seed}")
        found = span(tree, k)
        np.testing.assert_array_equal(found.lengths, prim(weights), err_msg=f"seed {seed}")
        np.testing.assert_array_equal(weights[found.ends[:, 0], found.ends[:, 1]], found.lengths)


def test_nearest_labels_are_those_of_all_distances():
    for seed in range(0, CASES // 4):
        points, _, _ = hard_cloud(seed)
        rng = np.random.default_rng(seed)
        labels = rng.integers(-1, 4, len(points))
        labels[rng.integers(len(points))] = 2
        queries = np.concatenate([points[:20], points[:20] + rng.normal(size=points[:20].shape) * np.ptp(points)])
        found = nearest_labels(build_tree(points), labels, queries)
        known = points[labels >= 0].astype(np.float64)
        squared = np.zeros((len(queries), len(known)))
        for d in range(points.shape[1]):
            squared += (queries[:, d, None].astype(np.float64) - known[None, :, d]) ** 2
        for i, row in enumerate(squared):
            assert found[i] == labels[labels >= 0][row == row.min()].min(), seed


def test_trees_hold_every_point_once_within_its_bounds():
    for seed in range(CASES // 10):
        points, _, _ = hard_cloud(seed)
        tree = build_tree(points)
        np.testing.assert_array_equal(np.sort(tree.order), np.arange(len(points)))
        np.testing.assert_array_equal(tree.points, points[tree.order])
        leaves = 0
        for node in range(len(tree.after)):
            inside = tree.points[tree.start[node] : tree.stop[node]].astype(np.float64)
            assert (inside >= tree.lower[node]).all()
            assert (inside <= tree.upper[node]).all()
            away = np.linalg.norm(inside - tree.centre[node].astype(np.float64), axis=1).max()
            assert away <= tree.radius[node] * (1 + 1e-5) + 1e-30
            if tree.after[node] == node + 1:
                leaves += 1
                assert tree.start[node] % LANES == 0
                assert len(inside) <= LANES
                block = tree.blocks[tree.start[node] // LANES]
                np.testing.assert_array_equal(
                    block[:, : len(inside)].T, tree.points[tree.start[node] : tree.stop[node]]
                )
                assert np.isinf(block[:, len(inside) :]).all()
        assert leaves == len(tree.leaf) == -(-len(points) // LANES)


def clustered(rng):
    count, dimensions, centres = int(rng.integers(3, 350)), int(rng.integers(1, 9)), int(rng.integers(1, 7))
    places = rng.normal(size=(centres, dimensions)) * rng.uniform(0.5, 4)
    points = places[rng.integers(centres, size=count)] + rng.normal(size=(count, dimensions)) * rng.uniform(0.05, 1)
    settings = {
        "min_cluster_size": int(rng.integers(2, 30)),
        "min_samples": int(rng.integers(1, min(20, count))),
        "cluster_selection_epsilon": float(rng.choice([0, 0, 0.3, 1.0])),
        "cluster_selection_method": "leaf" if rng.random() < 0.25 else "eom",
        "allow_single_cluster": bool(rng.integers(2)),
    }
    return points, settings


def numbered(labels):
    """Clusters by their first point."""
    names, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.full(len(names), -1)
    real = np.flatnonzero(names >= 0)
    rank[real[np.argsort(first[real])]] = np.arange(len(real))
    return rank[inverse]


def by_the_library(ends, lengths, settings):
    """Labels and probabilities that the library draws from a spanning tree."""
    single = _hdbscan_linkage.label(np.column_stack([ends, lengths]).astype(np.float64))
    tree = _hdbscan_tree.condense_tree(single, settings["min_cluster_size"])
    labels, sure, _ = _hdbscan_tree.get_clusters(
        tree,
        _hdbscan_tree.compute_stability(tree),
        settings["cluster_selection_method"],
        settings["allow_single_cluster"],
        False,
        settings["cluster_selection_epsilon"],
    )
    return numbered(labels), sure


def test_from_a_spanning_tree_without_ties_hdbscan_is_the_librarys():
    # Mutual reachability ties at every core distance; the library breaks ties by chance (shuffled points, another
    # answer in one case of ten). Here each edge is made a little longer than the one before, so nothing ties.
    for seed in range(CASES // 2):
        points, settings = clustered(np.random.default_rng(seed))
        kept = span(build_tree(points), settings["min_samples"])
        apart = Reachability(kept.ends, kept.lengths * (1 + 1e-6 * np.arange(len(kept.lengths))))
        options = {name: value for name, value in settings.items() if name != "min_samples"}
        ours = extract(apart, **options)
        labels, sure = by_the_library(apart.ends, apart.lengths, settings)
        np.testing.assert_array_equal(ours.labels, labels, err_msg=f"seed {seed}")
        np.testing.assert_allclose(ours.probabilities, sure, atol=1e-12, err_msg=f"seed {seed}")


def test_with_ties_hdbscan_is_the_librarys_but_for_points_that_join_where_clusters_part():
    agreed, alike = [], 0
    for seed in range(CASES // 4):
        points, settings = clustered(np.random.default_rng(seed))
        model = library.HDBSCAN(**settings, approx_min_span_tree=False, core_dist_n_jobs=1).fit(points)
        ours = hdbscan(points, **settings).labels
        agreed.append((numbered(model.labels_) == ours).mean())
        alike += model.labels_.max() == ours.max()
    assert np.median(agreed) == 1
    assert np.mean(agreed) > 0.98
    assert alike > 0.97 * len(agreed)


def test_hdbscan_does_not_depend_on_the_order_of_the_points():
    for seed in range(CASES // 7):
        points, _, samples = hard_cloud(seed)
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(points))
        settings = {"min_cluster_size": int(rng.integers(2, 12)), "min_samples": samples}
        one, other = hdbscan(points, **settings), hdbscan(points[order], **settings)
        np.testing.assert_array_equal(numbered(one.labels[order]), other.labels, err_msg=f"seed {seed}")
        np.testing.assert_allclose(one.probabilities[order], other.probabilities, rtol=1e-12)


def test_hdbscan_finds_copies_and_keeps_one_group_whole():
    copies = np.repeat([[0.0, 0.0], [3.0, 0.0]], 40, axis=0)
    found = hdbscan(copies, 10, 5)
    np.testing.assert_array_equal(found.labels, np.repeat([0, 1], 40))
    np.testing.assert_array_equal(found.probabilities, 1)
    assert (hdbscan(copies[:40], 10, 5).labels == -1).all()
    assert (hdbscan(copies[:40], 10, 5, allow_single_cluster=True).labels == 0).all()
    assert hdbscan(np.zeros((1, 3))).labels.tolist() == [-1]
    assert hdbscan(np.zeros((0, 3))).labels.shape == (0,)


def test_one_spanning_tree_serves_many_parameters():
    rng = np.random.default_rng(3)
    points, _ = clustered(rng)
    kept = span(build_tree(points), 5)
    for size in (2, 5, 20):
        np.testing.assert_array_equal(extract(kept, size).labels, hdbscan(points, size, 5).labels)


def test_hundreds_of_neighbours_are_work():
    """Most of the time of large `min_samples` goes into keeping the nearest so far: it is counted, and stopped."""
    points = np.random.default_rng(0).normal(size=(20_000, 8)).astype(np.float32)
    work = allowance(1_000_000)
    with pytest.raises(WorkExceeded):
        span(build_tree(points), 400, work=work)
    assert work[0] < 6_000_000
    few, many = allowance(None), allowance(None)
    for k, spent in ((5, few), (200, many)):
        span(build_tree(points[:3000]), k, work=spent)
    assert many[0] > few[0] + 3000 * 200 / 2


@pytest.mark.parametrize("cluster", [lambda p, w: dbscan(p, 0.3, 200, max_work=w), lambda p, w: hdbscan(p, max_work=w)])
def test_even_points_stop_at_the_allowance_with_a_word_on_what_to_do(cluster):
    points = np.random.default_rng(0).uniform(size=(20_000, 8)).astype(np.float32)
    with pytest.raises(WorkExceeded, match=r"stopped after 20000 steps.*max_work"):
        cluster(points, 20_000)


def test_threads_at_once_do_not_disturb_each_other(monkeypatch):
    clouds = [hard_cloud(seed)[0].astype(np.float32) for seed in range(8)]
    expected = [(dbscan(points, 0.4, 4), hdbscan(points, 4, 4).labels) for points in clouds]
    monkeypatch.setattr("linegroup.compiling._given", [3])
    wrong = []

    def work(i):
        for _ in range(5):
            ours = dbscan(clouds[i], 0.4, 4), hdbscan(clouds[i], 4, 4).labels
            if not all(np.array_equal(a, b) for a, b in zip(ours, expected[i], strict=True)):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(clouds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_threads_are_those_said_last(monkeypatch):
    monkeypatch.setattr(compiling, "_given", [])
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert compiling.threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert compiling.threads() == (os.cpu_count() or 1)
    compiling.use_threads(2)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert compiling.threads() == 2


def test_the_number_of_threads_changes_nothing(monkeypatch):
    points = np.random.default_rng(1).normal(size=(5000, 4)).astype(np.float32)
    found = []
    spent = set()
    for threads in (1, 2, 5):
        monkeypatch.setattr("linegroup.compiling._given", [threads])
        found.append(hdbscan(points, 20, 10))
        work = allowance(None)
        span(build_tree(points), 10, work=work)
        spent.add(int(work[0]))
    assert len(spent) == 1, "nor what is spent"
    for other in found[1:]:
        np.testing.assert_array_equal(other.labels, found[0].labels)
        np.testing.assert_array_equal(other.probabilities, found[0].probabilities)


@pytest.mark.parametrize(
    ("points", "eps", "samples", "message"),
    [
        (np.zeros((3, 2)) * np.nan, 1.0, 2, "finite"),
        (np.full((3, 2), 1e200), 1.0, 2, "1e150"),
        (np.zeros(3), 1.0, 2, r"\(N, D\)"),
        (np.zeros((3, 0)), 1.0, 2, r"\(N, D\)"),
        (np.zeros((3, 2)), 0.0, 2, "eps"),
        (np.zeros((3, 2)), np.inf, 2, "eps"),
        (np.zeros((3, 2)), 1.0, 0, "min_samples"),
    ],
)
def test_bad_input_is_refused(points, eps, samples, message):
    with pytest.raises(ValueError, match=message):
        dbscan(points, eps, samples)


def test_without_machine_code_the_labels_are_the_same():
    points, eps, samples = hard_cloud(0)
    script = (
        "import sys, numpy as np\n"
        "from linegroup.compiling import COMPILES\n"
        "from linegroup.grouping.dbscan import dbscan\n"
        "assert not COMPILES\n"
        "points = np.load(sys.argv[1])\n"
        "np.save(sys.argv[2], dbscan(points, float(sys.argv[3]), int(sys.argv[4])))\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        given, answer = Path(folder) / "points.npy", Path(folder) / "labels.npy"
        np.save(given, points)
        command = [sys.executable, "-c", script, str(given), str(answer), repr(eps), str(samples)]
        subprocess.run(command, check=True, env={**os.environ, "NUMBA_DISABLE_JIT": "1"})
        np.testing.assert_array_equal(np.load(answer), dbscan(points, eps, samples))


def test_no_points_have_no_labels():
    assert dbscan(np.zeros((0, 3)), 1.0, 2).shape == (0,)
    for count in (0, 1, 3):
        with pytest.raises(ValueError, match="min_cluster_size"):
            hdbscan(np.zeros((count, 2)), 1)
        with pytest.raises(ValueError, match="min_samples"):
            hdbscan(np.zeros((count, 2)), 5, 0)
    with pytest.raises(ValueError, match="cluster_selection_method"):
        hdbscan(np.zeros((3, 2)), 2, cluster_selection_method="best")
