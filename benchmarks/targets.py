"""Drawing the truth of 30 lines at 1000 × 700: pixel lists against one full mask per line.

The rival draws every line onto a mask of its own with `cv2.polylines` and adds the masks up, as training
scripts do it: labels, coverage and crossings. (Its whole-pixel rule is coarser than ours; only time is
compared.) Both run alternately in one process; the ratio is taken pair by pair. The ratio of the two best
times is given beside it: on a busy machine a drawing of a millisecond is often interrupted, and then its
pair says nothing.

    python benchmarks/targets.py [--lines 30] [--repeats 101] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from linegroup.sample import Sample
from linegroup.targets import draw_targets
from linegroup.testing import chart_sample

SIZE = (700, 1000)


def full_masks(sample: Sample) -> tuple[Any, Any, Any]:
    """The straightforward way: a full mask for each line, then sums over all of them."""
    masks = []
    for line in sample.instances:
        mask = np.zeros(sample.size, dtype=np.uint8)
        cv2.polylines(mask, [np.rint(line.xy).astype(np.int32)], False, 1, round(line.thickness or 2))
        masks.append(mask)
    labels = np.zeros(sample.size, dtype=np.uint16)
    for k, mask in enumerate(masks, start=1):
        labels[mask > 0] = k
    coverage = np.sum(masks, axis=0)
    return labels, coverage, coverage > 1


def pixel_lists(sample: Sample) -> tuple[Any, Any, Any]:
    """Ours, with the same three answers."""
    targets = draw_targets(sample)
    return targets.labels, targets.coverage, targets.crossing


def seconds(draw: Callable[[Sample], object], sample: Sample) -> float:
    """Time of one drawing."""
    start = time.perf_counter()
    draw(sample)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=101)
    parser.add_argument("--json", action="store_true", help="only the JSON line")
    options = parser.parse_args()
    sample = chart_sample(1, SIZE, options.lines)
    ours, theirs = pixel_lists(sample), full_masks(sample)
    agree = float(((ours[0] > 0) & (theirs[0] > 0)).sum() / ((ours[0] > 0) | (theirs[0] > 0)).sum())
    assert agree > 0.5, "the two do not draw the same lines"
    times = [(seconds(full_masks, sample), seconds(pixel_lists, sample)) for _ in range(options.repeats)]
    ratios = sorted(rival / own for rival, own in times)
    result = {
        "benchmark": "targets",
        "lines": options.lines,
        "size": SIZE,
        "rival_ms": round(1e3 * statistics.median(rival for rival, _ in times), 2),
        "ours_ms": round(1e3 * statistics.median(own for _, own in times), 2),
        "ratio": round(statistics.median(ratios), 1),
        "ratio_range": [round(ratios[0], 1), round(ratios[-1], 1)],
        "ratio_of_best": round(min(rival for rival, _ in times) / min(own for _, own in times), 1),
        "target": 10,
    }
    if not options.json:
        print(f"one full mask per line  {result['rival_ms']:8.2f} ms")
        print(f"pixel lists             {result['ours_ms']:8.2f} ms")
        low, high = result["ratio_range"]
        print(f"ratio {result['ratio']} ({low}-{high}), of the best times {result['ratio_of_best']}, target >= 10")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
