"""Sharding charts: Ray Data against one process, and the driver's memory at several sizes of the data.

Charts of 640 × 480 with six lines each are drawn once. Both ways then run alternately in this process,
each into a fresh folder, with the disk's cache warm, and are compared pair by pair (median of the
ratios); both write the same bytes, which is checked. Ray is started before the clock; its start is
reported apart. Memory is the peak resident set of a fresh driver process that starts Ray and runs the
job, and what it grew by during the job (Linux); the largest data sets repeat the pictures by links.

    python benchmarks/sharding.py [--charts 2000] [--cpus 2] [--repeats 3] [--memory 500 2000 8000] [--json]
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
from multiprocessing import Pool
from pathlib import Path

import cv2
import numpy as np

from linegroup.distributed.data import ShardJob, make_shards, make_shards_serial
from linegroup.distributed.session import start_ray
from linegroup.shards import Manifest

SIZE = (480, 640)
LINES = 6
DRAWN = 2000
"""Different pictures; larger sets link to them again."""


def draw_chart(task: tuple[Path, int]) -> list[list[float]]:
    """Write one chart and return its polylines."""
    folder, number = task
    rng = np.random.default_rng(number)
    height, width = SIZE
    picture = np.full((*SIZE, 3), 255, np.uint8)
    cv2.rectangle(picture, (50, 20), (width - 20, height - 40), (0, 0, 0), 1)
    for tick in range(60, height - 40, 60):
        cv2.line(picture, (50, tick), (width - 20, tick), (220, 220, 220), 1)
        cv2.putText(picture, str(tick), (10, tick), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (60, 60, 60), 1, cv2.LINE_AA)
    lines = []
    x = np.linspace(55, width - 25, 80)
    for _ in range(LINES):
        y = np.clip(rng.uniform(60, height - 80) + np.cumsum(rng.normal(0, 6, 80)), 22, height - 42)
        points = np.stack([x, y], axis=1)
        colour = tuple(int(c) for c in rng.integers(0, 200, 3))
        cv2.polylines(picture, [np.round(points * 16).astype(np.int32)], False, colour, 2, cv2.LINE_AA, 4)
        lines.append(points.round(2).ravel().tolist())
    cv2.imwrite(str(folder / f"{number}.png"), picture)
    return lines


def make_charts(root: Path, sizes: list[int]) -> None:
    """`root/images/*.png` and one COCO file for each size, `root/<size>.json`."""
    images = root / "images"
    images.mkdir()
    different = min(max(sizes), DRAWN)
    with Pool() as pool:
        charts = pool.map(draw_chart, [(images, number) for number in range(different)], chunksize=50)
    for number in range(different, max(sizes)):
        os.link(images / f"{number % different}.png", images / f"{number}.png")
    for size in sizes:
        coco = {
            "images": [
                {"id": n, "file_name": f"{n}.png", "width": SIZE[1], "height": SIZE[0], "group": f"doc-{n // 4}"}
                for n in range(size)
            ],
            "annotations": [
                {"id": n * LINES + k, "image_id": n, "category_id": 2, "polyline": line}
                for n in range(size)
                for k, line in enumerate(charts[n % different])
            ],
            "categories": [{"id": 2, "name": "line"}],
        }
        (root / f"{size}.json").write_text(json.dumps(coco))


def job(root: Path, size: int, out: str) -> ShardJob:
    return ShardJob(annotations=root / f"{size}.json", images=root / "images", out=root / out, overwrite=True)


def timed(run, *arguments) -> tuple[float, Manifest]:  # type: ignore[no-untyped-def]
    os.sync()  # what the run before has left to write is not this one's cost
    began = time.perf_counter()
    manifest = run(*arguments)
    return time.perf_counter() - began, manifest


def compare(root: Path, charts: int, cpus: int, repeats: int) -> dict[str, object]:
    began = time.perf_counter()
    with start_ray("local", cpus):
        start = time.perf_counter() - began
        # Workers import what they need once; a first small job keeps that out of the comparison.
        cold, _ = timed(make_shards, job(root, charts, "warm"))
        seconds: dict[str, list[float]] = {"serial": [], "ray": []}
        hashes: set[tuple[str, ...]] = set()
        for _ in range(repeats):
            for name, run in (("serial", make_shards_serial), ("ray", make_shards)):
                spent, manifest = timed(run, job(root, charts, name))
                seconds[name].append(spent)
                hashes.add(tuple(file.sha256 for file in manifest.files))
    assert len(hashes) == 1, "parallel and serial differ"
    ratios = [a / b for a, b in zip(seconds["serial"], seconds["ray"], strict=True)]
    return {
        "charts": charts,
        "cpus": cpus,
        "parts": len({file.path.rpartition("/")[2] for file in manifest.files}),
        "megabytes": round(sum(file.bytes for file in manifest.files) / 1e6, 1),
        "ray_start_s": round(start, 2),
        "first_job_s": round(cold, 2),
        "median_s": {name: round(statistics.median(times), 2) for name, times in seconds.items()},
        "ratio": {
            "median": round(statistics.median(ratios), 2),
            "low": round(min(ratios), 2),
            "high": round(max(ratios), 2),
        },
    }


def driver_memory(root: Path, size: int, cpus: int) -> dict[str, float]:
    """MiB of a fresh driver: at Ray's start, at the peak, and what the job added."""
    command = [sys.executable, __file__, "--driver", str(root), str(size), str(cpus)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def driver(root: Path, size: int, cpus: int) -> None:
    """What the fresh process does."""
    with start_ray("local", cpus):
        import ray

        ray.data.range(4).map(lambda row: row).materialize()  # what Ray Data itself takes is not the job's
        before = _status("VmRSS")
        make_shards(job(root, size, f"memory-{size}"))
        peak = _status("VmHWM")
    print(json.dumps({"before": before, "peak": peak, "grown": round(peak - before, 1)}))


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--charts", type=int, default=2000)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="*", default=[500, 2000, 8000])
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--driver", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.driver:
        driver(Path(options.driver[0]), int(options.driver[1]), int(options.driver[2]))
        return
    with tempfile.TemporaryDirectory(prefix="sharding-") as folder:
        root = Path(folder)
        make_charts(root, sorted({options.charts, *options.memory}))
        result = {"load": os.getloadavg()[0], **compare(root, options.charts, options.cpus, options.repeats)}
        result["driver_mib"] = {str(size): driver_memory(root, size, options.cpus) for size in options.memory}
        result["load_after"] = os.getloadavg()[0]
    if not options.json:
        for key, value in result.items():
            print(f"{key}: {value}")
    print(json.dumps({"benchmark": "sharding", **result}))


if __name__ == "__main__":
    main()
