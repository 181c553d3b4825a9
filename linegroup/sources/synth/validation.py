"""The frozen validation split: charts of one stream, chosen so that every tag is well represented (see `choosing`)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from typing import Any

import yaml

from linegroup.errors import UserError
from linegroup.sample import Sample
from linegroup.sources.synth.charts import VERSION, ChartStream, chart_stream


class ValidationStream:
    """The charts of the split, numbered from 0."""

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

    def __len__(self) -> int:
        return len(self.numbers)

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


@functools.cache
def _frozen() -> dict[str, Any]:
    path = files("linegroup.sources.synth") / "validation.yaml"
    tree: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return tree
