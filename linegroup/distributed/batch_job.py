"""The job that finds the lines of very many pictures: its settings, and its input cut into parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field as Setting
from pydantic import PrivateAttr

from linegroup.distributed import places
from linegroup.distributed.batch_input import cut, digest_of, open_sources
from linegroup.distributed.parts import Folder, PartedJob, Plan, job_settings
from linegroup.files import write_text
from linegroup.predict import Predictor

SCHEMA = "linegroup.predictions/1"
"""Stands in the manifest and in the metadata of every Parquet file."""


class PredictJob(PartedJob):
    """Pictures → one row each, in Parquet files or JSON lines."""

    pictures: tuple[str, ...] = Setting(
        description="Folders, patterns (scans/**/*.png), lists (.txt: a path or URI a line), Parquet files with"
        " pictures or their paths, single pictures; also URIs (s3://bucket/scans)."
    )
    recursive: bool = Setting(False, description="Search the folders below the folders, too.")
    format: Literal["parquet", "jsonl"] = Setting("parquet", description="parquet, or jsonl: JSON lines.")
    model: str | None = Setting(None, description="As `linegroup predict --model` takes it; null: the packaged one.")
    overrides: tuple[str, ...] = Setting((), description="Changed grouping settings: grouping.eps=0.4.")
    pictures_per_part: int = Setting(128, ge=1, le=4096, description="Pictures per part, the unit that is resumed.")
    strict: bool = Setting(False, description="Fail in the end when any picture could not be read.")
    device: str = Setting("auto", description="auto: GPUs where the cluster has any; cpu; cuda.")
    embed_actors: int | None = Setting(
        None, ge=1, description="Processes that hold the network; null: as many as the GPUs or the CPUs can feed."
    )
    actors_per_gpu: int = Setting(4, ge=1, description="Processes that share a GPU: each decodes on a CPU of its own.")
    embed_cpus: float | None = Setting(None, gt=0, description="CPUs of each; null: 1 beside a GPU, else 0.5.")
    group_cpus: float | None = Setting(
        None, gt=0, description="CPUs of a task that groups and traces; null: 1 where GPUs embed, else 0.5."
    )

    inputs: ClassVar[tuple[str, ...]] = ("pictures", "recursive")
    # The model and the grouping settings count by what they are when loaded, see `bound`.
    beside: ClassVar[tuple[str, ...]] = (
        "out",
        "overwrite",
        "strict",
        "model",
        "overrides",
        "device",
        "embed_actors",
        "actors_per_gpu",
        "embed_cpus",
        "group_cpus",
    )
    schema_name: ClassVar[str] = SCHEMA
    _title: ClassVar[str] = "Batch job"

    _bound: dict[str, Any] = PrivateAttr(default_factory=dict)

    def bound(self, predictor: Predictor) -> Self:
        """The job of this very model with these grouping settings."""
        job = self.model_copy()
        job._bound = {
            "model": predictor.record.model_dump(mode="json"),
            "parameters": predictor.grouping.model_dump(mode="json"),
        }
        return job

    def settings(self) -> dict[str, Any]:
        """See `PartedJob`."""
        return {**super().settings(), **self._bound}

    def absolute(self) -> Self:
        """See `PartedJob`."""
        return super().absolute().model_copy(update={"pictures": tuple(map(places.absolute, self.pictures))})

    def input_digest(self) -> str:
        """Of names, sizes and times of files, and of the content of lists."""
        return digest_of(open_sources(self.pictures, self.recursive))

    def cut(self, folder: Folder) -> Plan:
        """One file of records per part."""
        folder.spill.mkdir(parents=True, exist_ok=True)
        sources = open_sources(self.pictures, self.recursive)
        ranges: list[tuple[int, int]] = []
        names: list[str] = []
        total = 0
        for records, count in cut(sources, self.pictures_per_part):
            names.append(f"{len(names):08d}.json")
            write_text(folder.spill / names[-1], json.dumps(records))
            ranges.append((total, total + count - 1))
            total += count
        return Plan(digest_of(sources), total, {}, tuple(ranges), tuple(names), 0)

    @property
    def input_name(self) -> str:
        """The inputs by name."""
        return ", ".join(map(places.shown, self.pictures[:3])) + (", …" if len(self.pictures) > 3 else "")


def load_predict_job(recipe: Path | None, flags: Mapping[str, Any]) -> PredictJob:
    """A job from a YAML file of its settings; `flags` that are not None win.

    Raises:
        UserError: the file is missing or no YAML mapping, a name is unknown, a value out of range or missing.
    """
    return PredictJob(**job_settings(recipe, flags))
