"""Generated charts per second: by one process and by several, with exact masks, and the memory of many.

Charts of 640 × 480 with six lines each, otherwise as the default distribution has them, are drawn by one
process and by `--cpus` processes alternately (after a warm-up that is not counted); the figure is the
median of the repeats. For the rival, each line's mask is drawn as one would by Matplotlib alone: a second
figure, with everything else taken out, rendered once per line. Memory is the peak resident set of a fresh
process that draws `--memory` charts, beside one that draws a tenth of them (Linux).

    python benchmarks/synth.py [--charts 200] [--cpus 2] [--repeats 3] [--memory 2000] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np

from linegroup.sources.synth.charts import RENDERERS, ChartStream
from linegroup.sources.synth.writing import draw_in_order

FIXED = "width_usual=[640,640]&usual=1&aspect=[1.33333,1.33333]&lines={6: 1}&panels={1: 1}"
SOURCE = f"synth:charts?seed=1&{FIXED}"

MEMORY = """
import resource, sys
from linegroup.sources.synth import open_stream
stream = open_stream(sys.argv[1])
for number in range(int(sys.argv[2])):
    stream.read(number)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def rate(workers: int, charts: int, first: int) -> float:
    """Charts per second, the start of the processes not counted: the first chunks are drawn before the clock."""
    warm = 32 * workers
    samples = draw_in_order(SOURCE, range(first, first + warm + charts), workers)
    for _ in range(warm):
        next(samples)
    begin = time.perf_counter()
    done = sum(1 for _ in samples)
    return done / (time.perf_counter() - begin)


def masks_by_whole_figures(charts: int) -> float:
    """Seconds for a chart whose masks are got by rendering the whole figure anew without each line."""
    stream = ChartStream(1)
    seconds = []
    for number in range(charts):
        chart = stream.draw(number).chart
        begin = time.perf_counter()
        for _ in range(len(chart.lines) + 1):
            RENDERERS[chart.renderer](chart, lines=False)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def masks_by_us(charts: int) -> float:
    """Seconds for a chart with its masks, likewise."""
    stream = ChartStream(1)
    seconds = []
    for number in range(charts):
        chart = stream.draw(number).chart
        begin = time.perf_counter()
        RENDERERS[chart.renderer](chart)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def peak_memory(charts: int) -> float:
    """MiB."""
    command = [sys.executable, "-c", MEMORY, SOURCE, str(charts)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"charts": 200, "cpus": min(2, os.cpu_count() or 1), "repeats": 3, "memory": 2000}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true", help="print the JSON object only")
    flags = parser.parse_args()
    one, several = [], []
    for turn in range(flags.repeats):
        one.append(rate(1, flags.charts // 2, turn * 1000))
        several.append(rate(flags.cpus, flags.charts, turn * 1000))
    memory = {charts: peak_memory(charts) for charts in (flags.memory // 10, flags.memory)}
    ours, rival = masks_by_us(40), masks_by_whole_figures(40)
    result = {
        "benchmark": "synth",
        "charts_per_second": {
            "1": round(statistics.median(one), 2),
            str(flags.cpus): round(statistics.median(several), 2),
        },
        "speed-up": round(float(np.median(np.array(several) / np.array(one))), 2),
        "memory_mib": {str(charts): round(mib, 1) for charts, mib in memory.items()},
        "ratio_to_whole_figures": round(rival / ours, 2),
    }
    if not flags.json:
        print(f"charts/s: one process {result['charts_per_second']}, speed-up {result['speed-up']}")
        print(f"masks by rendering whole figures: {rival * 1000:.0f} ms a chart; ours {ours * 1000:.0f} ms")
        print(f"peak memory in MiB by number of charts: {result['memory_mib']}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
