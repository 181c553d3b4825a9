"""How the frozen validation split was chosen.

    python -m linegroup.sources.synth.choosing > validation.yaml

chooses anew: a new split, with which earlier scores cannot be compared.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

import yaml

from linegroup.sources.synth.charts import VERSION, ChartStream
from linegroup.sources.synth.writing import draw_in_order

COUNT = 300
SEED = 20_261_120
CANDIDATES = 1500


def balanced(tags: Mapping[int, Sequence[str]], count: int) -> list[int]:
    """`count` of the keys, ascending, with rare tags as often as can be: each time the one with the rarest tags."""
    met: Counter[str] = Counter()
    left = dict(sorted(tags.items()))
    chosen = []
    for _ in range(min(count, len(left))):
        best = max(left, key=lambda number: sum(1 / (1 + met[tag]) for tag in left[number]) / len(left[number]) ** 0.5)
        met.update(left.pop(best))
        chosen.append(best)
    return sorted(chosen)


def main() -> None:
    """Choose a split and write it to standard output."""
    stream = ChartStream(SEED)
    tags = {s.id: s.tags for s in draw_in_order(f"synth:charts?seed={SEED}", range(CANDIDATES), os.cpu_count() or 1)}
    frozen = {
        "version": VERSION,
        "seed": SEED,
        "numbers": balanced(tags, COUNT),
        "distribution": stream.distribution.model_dump(mode="json"),
    }
    sys.stdout.write("# The frozen validation split; see choosing.py for how it was chosen.\n")
    sys.stdout.write(yaml.safe_dump(frozen, sort_keys=False, default_flow_style=None, width=110))


if __name__ == "__main__":
    main()
