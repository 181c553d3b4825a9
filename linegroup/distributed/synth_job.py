"""The sharding job whose input is a stream of generated charts: nothing is read, every part draws its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field as Setting
from pydantic import model_validator

from linegroup.distributed.parts import Folder, Part, Plan, job_settings
from linegroup.distributed.shard_job import FolderJob
from linegroup.files import write_bytes
from linegroup.sample import Sample
from linegroup.sources.coco import Reject
from linegroup.sources.synth import CATEGORY, absolute_source, chosen_numbers, open_stream

DEFAULT_COUNT = 1000
"""Charts of a source without end, where none are asked for."""


class SynthJob(FolderJob):
    """Generated charts → shards."""

    stream: str = Setting("synth:charts", description="Generated source, for example synth:charts?seed=7.")
    count: int | None = Setting(None, ge=1, description="Number of charts; null: all of a source that ends, else 1000.")
    first: int = Setting(0, ge=0, description="Number of the first chart: streams have no end.")
    numbers: tuple[int, ...] = Setting((), description="Exactly these charts, ascending; wins over count.")
    images_per_part: int = Setting(32, ge=1, le=65536, description="Charts per part, the unit of work.")

    inputs: ClassVar[tuple[str, ...]] = ("stream",)

    @model_validator(mode="after")
    def _numbers_ascend(self) -> SynthJob:
        if list(self.numbers) != sorted(set(self.numbers)) or any(number < 0 for number in self.numbers):
            raise ValueError("numbers are at least 0 and ascend, each once")
        return self

    def absolute(self) -> Self:
        """See `FolderJob`."""
        return super().absolute().model_copy(update={"stream": absolute_source(self.stream)})

    def check_input(self) -> None:
        """See `FolderJob`."""
        self.cut_numbers()

    def input_digest(self) -> str:
        """The stream's."""
        return open_stream(self.stream).digest

    def cut(self, folder: Folder) -> Plan:
        """Ranges of numbers."""
        write_bytes(folder.rejects, b"")
        chosen = self.cut_numbers()
        parts = [chosen[start : start + self.images_per_part] for start in range(0, len(chosen), self.images_per_part)]
        ranges = tuple((part[0], part[-1]) for part in parts)
        return Plan(self.input_digest(), len(chosen), {1: CATEGORY}, ranges, ("",) * len(parts), 0)

    def read(self, folder: Folder, categories: dict[int, str], part: Part) -> tuple[list[Sample], list[Reject]]:
        """Draw the charts of a part."""
        del folder, categories
        stream = open_stream(self.stream)
        return [stream.read(number) for number in self.cut_numbers() if part.first <= number <= part.last], []

    @property
    def input_name(self) -> str:
        """The stream's name."""
        return self.stream

    def cut_numbers(self) -> range | tuple[int, ...]:
        """Numbers of the charts."""
        return self.numbers or chosen_numbers(self.stream, self.first, self.count, DEFAULT_COUNT)


def load_synth_job(recipe: Path | None, flags: Mapping[str, Any]) -> SynthJob:
    """A job from a YAML file of its settings; `flags` that are not None win.

    Raises:
        UserError: the file is missing or no YAML mapping, a name is unknown, a value out of range or missing.
    """
    return SynthJob(**job_settings(recipe, flags))
