"""The clustering engine against scikit-learn and hdbscan, on points as embeddings of lines make them.

Unequal, anisotropic Gaussian clusters (a random linear map each), 2 % noise, 0.5 % of the points on
bridges between clusters; rms radius 0.25 eps ("tight"), eps 0.35 for centres on the unit sphere and 0.5
for others ("raw"), min_samples 10. Ours and the rival are timed alternately in one process and compared
pair by pair (median of the ratios). Extra memory is the growth of the peak resident set of a fresh process
over what it holds with the points loaded and the code warm (Linux).

    python benchmarks/grouping.py [--repeats 5] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import hdbscan as hdbscan_package
import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN

from linegroup.config import GroupingConfig
from linegroup.grouping import Grouper, make_field
from linegroup.grouping.dbscan import dbscan
from linegroup.grouping.engine.budget import WorkExceeded
from linegroup.grouping.hdbscan import hdbscan
from linegroup.images import decode
from linegroup.sample import Field
from linegroup.sources.synth import open_stream
from linegroup.targets import draw_targets

SAMPLES = 10

EXTRA = """
import re, sys, time
import numpy as np
from pathlib import Path
from linegroup.grouping.dbscan import dbscan
from linegroup.grouping.hdbscan import hdbscan
points, eps = np.load(sys.argv[1]), float(sys.argv[2])
run = (lambda p: dbscan(p, eps, 10)) if sys.argv[3] == "dbscan" else (lambda p: hdbscan(p, max(50, len(p) // 200), 10))
run(points[:2000])
def status(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before, start = status("VmRSS"), time.perf_counter()
run(points)
print(time.perf_counter() - start, status("VmHWM") - before)
"""

FIRST = """
import sys, time
import numpy as np
start = time.perf_counter()
from linegroup.grouping.dbscan import dbscan
from linegroup.grouping.hdbscan import hdbscan
imported = time.perf_counter()
points = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
dbscan(points, 0.5, 5)
one = time.perf_counter()
hdbscan(points, 20, 5)
print(imported - start, one - imported, time.perf_counter() - one)
"""


def clouds(count: int, dimensions: int, clusters: int, *, raw: bool = False, radius: float = 0.25, seed: int = 0):
    """Points `(count, dimensions) float32` and their eps."""
    rng = np.random.default_rng(seed)
    eps = 0.5 if raw else 0.35
    centres = rng.normal(size=(clusters, dimensions))
    centres = centres * 1.5 if raw else centres / np.linalg.norm(centres, axis=1, keepdims=True)
    noise, bridges = count // 50, count // 200
    label = rng.choice(clusters, count - noise - bridges, p=rng.dirichlet(np.full(clusters, 3.0)))
    shape = rng.normal(size=(clusters, dimensions, dimensions))
    shape *= radius * eps / np.linalg.norm(shape, axis=(1, 2), keepdims=True)
    points = centres[label]
    for k in range(clusters):
        points[label == k] += rng.normal(size=((label == k).sum(), dimensions)) @ shape[k]
    scattered = rng.uniform(points.min(axis=0), points.max(axis=0), (noise, dimensions))
    a, b = rng.choice(clusters, (2, bridges))
    along = rng.uniform(size=(bridges, 1))
    between = centres[a] * along + centres[b] * (1 - along) + rng.normal(size=(bridges, dimensions)) * 0.02
    everything = np.concatenate([points, scattered, between]).astype(np.float32)
    return everything[rng.permutation(len(everything))], eps


def sklearn_dbscan(points: NDArray[np.float32], eps: float) -> NDArray[np.int64]:
    """The rival, on both cores."""
    return DBSCAN(eps=eps, min_samples=SAMPLES, algorithm="kd_tree", n_jobs=-1).fit(points).labels_


def smallest(points: NDArray[np.float32]) -> int:
    """min_cluster_size."""
    return max(50, len(points) // 200)


def package_hdbscan(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """The rival, exact, on both cores."""
    model = hdbscan_package.HDBSCAN(
        min_cluster_size=smallest(points), min_samples=SAMPLES, approx_min_span_tree=False, core_dist_n_jobs=-1
    )
    return model.fit(points).labels_


def seconds(run: Callable[[], Any]) -> float:
    """Wall time."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(ours: Callable[[], Any], rival: Callable[[], Any], repeats: int) -> dict[str, Any]:
    """Medians in milliseconds and the ratios."""
    ours()
    pairs = [(seconds(ours), seconds(rival)) for _ in range(repeats)]
    ratios = [b / a for a, b in pairs]
    return {
        "ours_ms": round(1e3 * statistics.median(a for a, _ in pairs), 1),
        "rival_ms": round(1e3 * statistics.median(b for _, b in pairs), 1),
        "ratio": round(statistics.median(ratios), 1),
        "lowest": round(min(ratios), 1),
        "highest": round(max(ratios), 1),
    }


def alone(points: NDArray[np.float32], eps: float, method: str) -> dict[str, float]:
    """Time and extra memory of one call in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "points.npy"
        np.save(file, points)
        command = [sys.executable, "-c", EXTRA, str(file), str(eps), method]
        found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return {"ms": round(1e3 * float(found[0]), 1), "extra_mib": round(float(found[1]), 1)}


def starts() -> dict[str, list[float]]:
    """Seconds to import, to the first DBSCAN and to the first HDBSCAN: freshly installed, and ever after."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        runs = [
            subprocess.run(
                [sys.executable, "-c", FIRST], stdout=subprocess.PIPE, text=True, check=True, env=environment
            ).stdout.split()
            for _ in range(2)
        ]
    return {name: [round(float(v), 2) for v in run] for name, run in zip(("first", "later"), runs, strict=True)}


def chart_field(seed: int) -> Field:
    """Candidates of a generated 640 × 480 chart with 8 lines, as a trained network has them.

    Ink of lines with its soft edges, and every tenth pixel of the other ink (text, axes). Each line has a
    place of its own in the embedding, pixels are spread around it, and the blur of the last layers mixes
    places where lines cross and at edges; what is no line lies around zero.
    """
    fixed = "width_usual=[640,640]&usual=1&aspect=[1.33333,1.33333]&lines={8: 1}&panels={1: 1}"
    sample = open_stream(f"synth:charts?seed={seed}&{fixed}").read(0)
    truth = draw_targets(sample)
    rng = np.random.default_rng(seed)
    places = np.concatenate([np.zeros((1, 8)), rng.normal(size=(truth.count, 8)) * 2]).astype(np.float32)
    embedded = cv2.GaussianBlur(places[truth.labels], (0, 0), 0.6)
    pixels = decode(sample.image).pixels
    ink = make_field(pixels, None, GroupingConfig(candidates="non_background"))
    xs, ys = ink.positions.T
    near = cv2.dilate(truth.foreground.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    kept = near[ys, xs] | (rng.random(len(ink)) < 0.1)
    xs, ys = xs[kept], ys[kept]
    features = embedded[ys, xs] + rng.normal(size=(len(xs), 8)).astype(np.float32) * 0.12
    return Field(ink.positions[kept], features, ink.foreground[kept], ink.colour[kept], ink.size, ink.page)


def chart_times(charts: int = 10) -> dict[str, Any]:
    """Milliseconds of each method on such charts, and of trying again with another parameter: medians."""
    fields = [chart_field(seed) for seed in range(1, charts + 1)]
    times: dict[str, Any] = {"candidates": sorted(len(field) for field in fields)}
    changes = {"dbscan": {"eps": 0.45}, "hdbscan": {"min_cluster_size": 0.02}, "margin": {"margin": 1.3}}
    for method, change in changes.items():
        grouper = Grouper(GroupingConfig(method=method))
        grouper.fit(fields[0])
        fits, refits = [], []
        for field in fields:
            fits.append(1e3 * statistics.median(seconds(partial(grouper.fit, field)) for _ in range(5)))
            refits.append(1e3 * statistics.median(seconds(partial(grouper.refit, **change)) for _ in range(5)))
        times[method] = {
            "fit_ms": round(statistics.median(fits), 1),
            "slowest_ms": round(max(fits), 1),
            "refit_ms": round(statistics.median(refits), 1),
        }
    return times


def worst(count: int) -> dict[str, Any]:
    """Even points, each with just under min_samples neighbours: without limit, and with 10 million steps."""
    points = np.random.default_rng(0).uniform(size=(count, 16)).astype(np.float32)
    full = seconds(lambda: dbscan(points, 0.8, 200))

    def stopped() -> None:
        try:
            dbscan(points, 0.8, 200, max_work=10_000_000)
        except WorkExceeded:
            return
        raise AssertionError("10 million steps should not have been enough")

    return {"count": count, "unlimited_s": round(full, 2), "stopped_s": round(seconds(stopped), 2)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="leave out what takes minutes")
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    flags = parser.parse_args()

    def say(line: str) -> None:
        if not flags.json:
            print(line, flush=True)

    result: dict[str, Any] = {"benchmark": "grouping", "starts": starts()}
    say(f"seconds to import, first DBSCAN, first HDBSCAN: {result['starts']}")
    for name, (count, dimensions, clusters) in {
        "20k x 16, 10": (20_000, 16, 10),
        "20k x 8, 10": (20_000, 8, 10),
        "20k x 8, 3": (20_000, 8, 3),
    }.items():
        points, eps = clouds(count, dimensions, clusters)
        assert (dbscan(points, eps, SAMPLES) == sklearn_dbscan(points, eps)).all()
        found = compare(
            lambda p=points, e=eps: dbscan(p, e, SAMPLES), lambda p=points, e=eps: sklearn_dbscan(p, e), flags.repeats
        )
        result[f"dbscan {name}"] = found
        say(f"DBSCAN {name}: {found}")
    for name, (count, dimensions, clusters, raw) in {
        "100k x 16, 10": (100_000, 16, 10, False),
        "100k x 16, 30 raw": (100_000, 16, 30, True),
        "500k x 8, 10": (500_000, 8, 10, False),
        "500k x 16, 30 raw": (500_000, 16, 30, True),
    }.items():
        points, eps = clouds(count, dimensions, clusters, raw=raw)
        result[f"dbscan {name}"] = alone(points, eps, "dbscan")
        say(f"DBSCAN {name}: {result[f'dbscan {name}']}")
    growth = {}
    for count in (50_000, 100_000, 200_000, 400_000, 800_000):
        points, eps = clouds(count, 16, 10)
        growth[count] = round(1e3 * min(seconds(lambda p=points, e=eps: dbscan(p, e, SAMPLES)) for _ in range(3)), 1)
    result["dbscan growth, 16 dimensions"] = growth
    say(f"DBSCAN ms by number of points: {growth}")
    for name, (count, dimensions) in {"20k x 16": (20_000, 16), "20k x 8": (20_000, 8)}.items():
        points, _ = clouds(count, dimensions, 10)
        found = compare(
            lambda p=points: hdbscan(p, smallest(p), SAMPLES), lambda p=points: package_hdbscan(p), flags.repeats
        )
        result[f"hdbscan {name}"] = found
        say(f"HDBSCAN {name}: {found}")
    points, eps = clouds(100_000, 8, 10)
    result["hdbscan 100k x 8"] = alone(points, eps, "hdbscan")
    if not flags.quick:
        result["hdbscan 100k x 8"] |= compare(
            lambda: hdbscan(points, smallest(points), SAMPLES), lambda: package_hdbscan(points), 2
        )
    say(f"HDBSCAN 100k x 8: {result['hdbscan 100k x 8']}")
    result["chart 640 x 480, 8 lines"] = chart_times()
    say(f"fields of charts: {result['chart 640 x 480, 8 lines']}")
    result["worst case"] = worst(20_000 if flags.quick else 100_000)
    say(f"even points: {result['worst case']}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
