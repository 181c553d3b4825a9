"""Linking and tracing: how fast, and how true without any model.

- Speed: generated, undamaged charts of 640 × 480 with eight lines, and one of 4000 × 3000 with six; once from
  everything that is not page, once from the true foreground with embeddings, as a model gives them. One core.
- Round trip: generated charts with one line, drawn by the drawing rule, traced: Hausdorff distance within the picture.
- Crossings: two smooth lines of one ink that cross at 20 to 90 degrees: share of pairs whose both lines keep
  90 % of their pixels.

    python benchmarks/lines.py [--charts 500] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import time
from collections import Counter
from dataclasses import replace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from linegroup.config import GroupingConfig
from linegroup.grouping import group_field, make_field
from linegroup.grouping.linking import link_lines, share_out
from linegroup.images import decode
from linegroup.metrics.series import resample
from linegroup.sample import Maps, Sample
from linegroup.sources.synth import open_stream
from linegroup.targets import draw_targets, line_pixels
from linegroup.vectors.trace import trace

EIGHT = "synth:charts?seed=77&lines={8: 1}&panels={1: 1}&width=[640, 641]&width_usual=[640, 641]&aspect=[1.33, 1.34]"
ONE = "synth:charts?seed=31&lines={1: 1}&panels={1: 1}"
UNDAMAGED = "&damage.profile={none: 1}"
NEAR = 1.5


def main() -> None:
    """Print a table and a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--charts", type=int, default=500, help="of the round trip")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true", help="the JSON object only")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    found = {
        "eight_lines": speed(charts(EIGHT, 3 if args.quick else 12), 3),
        "large": speed([large_chart()], 1 if args.quick else 3),
        "round_trip": round_trip(60 if args.quick else args.charts),
        "crossings": crossings(60 if args.quick else 400),
    }
    if not args.json:
        for name, figures in found.items():
            print(name, *(f"  {key}: {value}" for key, value in figures.items()), sep="\n")
    print(json.dumps(found))


def charts(source: str, count: int) -> list[Sample]:
    """The first charts of a stream."""
    stream = open_stream(source + UNDAMAGED)
    return [stream.read(number) for number in range(count)]


def large_chart() -> Sample:
    """Six crossing lines of one ink in a frame, 4000 × 3000, with grain."""
    from linegroup.images import encode_png
    from linegroup.sample import Instance

    rng = np.random.default_rng(0)
    pixels = np.full((3000, 4000, 3), 245, np.uint8)
    x = np.arange(300, 3800, 2)
    lines = [np.stack([x, 800 + 250 * k + 200 * np.sin(x / (150 + 40 * k) + k)], axis=1) for k in range(6)]
    for line in lines:
        cv2.polylines(pixels, [np.rint(line).astype(np.int32)], isClosed=False, color=(20, 20, 20), thickness=6)
    cv2.rectangle(pixels, (300, 300), (3800, 2700), (0, 0, 0), 5)
    grain = rng.normal(0, 3, pixels.shape[:2]).astype(np.int16)[..., None]
    pixels = np.clip(pixels.astype(np.int16) + grain, 0, 255).astype(np.uint8)
    instances = tuple(Instance(k + 1, line, thickness=6) for k, line in enumerate(lines))
    return Sample(0, (3000, 4000), instances, image=encode_png(pixels))


def speed(samples: list[Sample], repeats: int) -> dict[str, Any]:
    """Milliseconds of candidates, grouping and tracing, medians over the charts of the best of the repeats."""
    rng = np.random.default_rng(0)
    answer: dict[str, Any] = {}
    for name, candidates in (("without a model", "non_background"), ("with a model's maps", "model")):
        config = GroupingConfig(method="link", candidates=candidates)
        rows = []
        for sample in samples:
            assert sample.image is not None
            pixels = decode(sample.image).pixels
            maps = ideal_maps(sample, rng) if candidates == "model" else None
            rows.append(min((timed(pixels, maps, config) for _ in range(repeats + 1)), key=sum))
        make, group, follow = (statistics.median(column) for column in zip(*rows, strict=True))
        both = sorted(row[1] + row[2] for row in rows)
        answer[name] = {
            "candidates_ms": round(make),
            "grouping_ms": round(group),
            "tracing_ms": round(follow),
            "grouping_and_tracing_ms": round(statistics.median(both)),
            "slowest_ms": round(both[-1]),
        }
    answer["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return answer


def ideal_maps(sample: Sample, rng: np.random.Generator) -> Maps:
    """The true foreground, and embeddings of eight dimensions around a random centre for each line."""
    truth = draw_targets(sample)
    centres = rng.normal(size=(truth.count + 1, 8)).astype(np.float32) * 2
    noise = rng.standard_normal((*truth.labels.shape, 8), dtype=np.float32) * np.float32(0.2)
    return Maps((centres[truth.labels] + noise).transpose(2, 0, 1), truth.foreground.astype(np.float32))


def timed(pixels: NDArray[np.uint8], maps: Maps | None, config: GroupingConfig) -> tuple[float, float, float]:
    """Milliseconds of the three stages."""
    marks = [time.perf_counter()]
    field = make_field(pixels, maps, config)
    marks.append(time.perf_counter())
    groups = group_field(field, config)
    marks.append(time.perf_counter())
    for part in groups.members:
        trace(*field.positions[part].T)
    marks.append(time.perf_counter())
    first, second, third = (1e3 * (b - a) for a, b in itertools.pairwise(marks))
    return first, second, third


def round_trip(count: int) -> dict[str, Any]:
    """Hausdorff distances of traced lines from the vectors they were drawn of."""
    stream = open_stream(ONE + UNDAMAGED)
    distances, families, near = [], Counter[str](), Counter[str]()
    for number in range(count):
        sample = stream.read(number)
        line = replace(sample.instances[0], runs=None)
        sample = replace(sample, instances=(line,))
        (pixels,) = line_pixels(sample)
        height, width = sample.size
        if not len(pixels):
            continue
        found = trace(pixels % width, pixels // width)
        parts = np.split(found.points, list(found.parts[1:]))
        there = resample([np.concatenate([p, p[:1]]) if found.closed else p for p in parts])
        vectors = [np.asarray(part, dtype=np.float64) for part in line.part_arrays()]
        true = resample([np.concatenate([p, p[:1]]) if line.closed else p for p in vectors])
        true = true[((true >= -0.5) & (true <= (width - 0.5, height - 0.5))).all(axis=1)]
        away = max(cKDTree(there).query(true)[0].max(), cKDTree(true).query(there)[0].max())
        distances.append(float(away))
        family = str(line.meta.get("family", "?"))
        families[family] += 1
        near[family] += away < NEAR
    return {
        "charts": len(distances),
        f"below {NEAR} px": round(float(np.mean(np.array(distances) < NEAR)), 3),
        "median px": round(statistics.median(distances), 2),
        "by family": {name: f"{near[name]}/{families[name]}" for name in sorted(families)},
    }


def crossings(count: int) -> dict[str, Any]:
    """Pairs of lines of one ink that keep their identity."""
    rng = np.random.default_rng(0)
    kept = sum(_kept(rng) for _ in range(count))
    return {"pairs": count, "kept": round(kept / count, 4)}


def _kept(rng: np.random.Generator) -> bool:
    turn, first = np.deg2rad(rng.uniform(20, 90)), rng.uniform(-0.6, 0.6)
    second = first + turn if first + turn < 1.45 else first - turn
    place, thickness = rng.uniform((150, 120), (250, 180)), int(rng.integers(1, 5))
    masks = []
    for angle in (first, second):
        u, along = np.linspace(-130, 130, 80)[:, None], np.array([np.cos(angle), np.sin(angle)])
        line = place + u * along + rng.uniform(-0.002, 0.002) * u**2 * np.array([-along[1], along[0]])
        drawn = np.zeros((300, 400), np.uint8)
        cv2.polylines(drawn, [np.rint(line * 16).astype(np.int32)], False, 255, thickness, cv2.LINE_AA, 4)
        masks.append(drawn > 100)
    ink = masks[0] | masks[1]
    lines = link_lines(ink, (150, 200))
    labels = share_out(ink, lines)
    groups = [labels == k + 1 for k in range(len(lines))]
    return len(groups) == 2 and any(
        min((a & masks[0]).sum() / masks[0].sum(), (b & masks[1]).sum() / masks[1].sum()) > 0.9
        for a, b in itertools.permutations(groups)
    )


if __name__ == "__main__":
    main()
