"""The frozen validation split: charts of one stream, chosen so that every tag is well represented.

    python -c "from linegroup.sources.synth.validation import main; main()" > validation.yaml

chooses them anew: a new split, with which earlier scores cannot be compared.
"""

from __future__ import annotations

import functools
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

import yaml

from linegroup.errors import UserError
from linegroup.sample import Sample
from linegroup.sources.synth.charts import VERSION, ChartStream, chart_stream

COUNT = 300
SEED = 20_261_120
CANDIDATES = 1500


class ValidationStream:
    """The charts of the split, numbered from 0; there are `COUNT`."""

    def __init__(self) -> None:
        """Read what is committed.

        Raises:
            UserError: the generator has changed since.
        """
        frozen = _frozen()
        if frozen["version"] != VERSION:
            raise UserError(
                f"The frozen validation split was chosen with generator version {frozen['version']}, this is {VERSION}."
            )
        self.numbers: list[int] = frozen["numbers"]
        self.charts: ChartStream = chart_stream({"seed": frozen["seed"], **frozen["distribution"]})

    @property
    def digest(self) -> str:
        """Names exactly these charts."""
        return f"validation/{self.charts.digest}"

    def read(self, number: int) -> Sample:
        """Chart `number` of the split.

        Raises:
            UserError: there is no such chart.
        """
        if number >= len(self.numbers):
            raise UserError(f"The frozen validation split has {len(self.numbers)} charts; there is no number {number}.")
        return replace(self.charts.read(self.numbers[number]), id=number)


def validation_stream(settings: Mapping[str, Any]) -> ValidationStream:
    """The split; it has no settings.

    Raises:
        UserError: some were given.
    """
    if settings:
        raise UserError(f"synth:validation is frozen: it takes no settings, got {', '.join(settings)}.")
    return ValidationStream()


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


@functools.cache
def _frozen() -> dict[str, Any]:
    path = files("linegroup.sources.synth") / "validation.yaml"
    tree: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tree


def main() -> None:
    """Choose a split and write it to standard output."""
    from linegroup.sources.synth.writing import draw_in_order

    stream = ChartStream(SEED)
    tags = {s.id: s.tags for s in draw_in_order(f"synth:charts?seed={SEED}", range(CANDIDATES), os.cpu_count() or 1)}
    frozen = {
        "version": VERSION,
        "seed": SEED,
        "numbers": balanced(tags, COUNT),
        "distribution": stream.distribution.model_dump(mode="json"),
    }
    sys.stdout.write("# The frozen validation split; see validation.py for how it was chosen.\n")
    sys.stdout.write(yaml.safe_dump(frozen, sort_keys=False, default_flow_style=None, width=110))
