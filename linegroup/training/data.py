"""What a run learns from and is scored on: shard folders and generated streams, opened by name here alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linegroup.config import Config, DataConfig
from linegroup.errors import UserError, unknown_name
from linegroup.plans import BatchPlan
from linegroup.shards import ShardSet, category_name
from linegroup.sources.synth import CATEGORY, SCHEME, STREAMS, SampleStream, absolute_source, is_stream, open_stream

STREAM_CATEGORIES: Mapping[int, str] = {1: CATEGORY}
"""What is drawn in the samples of a stream."""

_OTHER_SCHEME = re.compile(r"[A-Za-z][\w+-]+:")


@dataclass(frozen=True)
class Source:
    """An open source of training samples.

    Attributes:
        name: As the configuration names it.
        weight: Its part of the mix.
        samples: Where they are read.
    """

    name: str
    weight: float
    samples: ShardSet | SampleStream

    @property
    def row_groups(self) -> tuple[int, ...] | None:
        """Samples in each row group; None for a stream."""
        return self.samples.row_group_sizes if isinstance(self.samples, ShardSet) else None

    @property
    def categories(self) -> Mapping[int, str]:
        """Category names by number."""
        return self.samples.categories if isinstance(self.samples, ShardSet) else STREAM_CATEGORIES

    def __str__(self) -> str:
        charts = f"{len(self.samples)} charts of" if isinstance(self.samples, ShardSet) else "endless charts of"
        return f"{charts} {self.name}"


def training_sources(data: DataConfig) -> tuple[Source, ...]:
    """The sources of `data.train` or `data.mix`, opened.

    Raises:
        UserError: none are named, or one is not there.
    """
    named = data.mix if data.train is None else {data.train: 1.0}
    if not named:
        raise UserError(
            "Say what to train on: data.train=SHARDS, a folder made by `linegroup shard`; or charts that are generated,"
            f" data.train={SCHEME}charts; or several of these by weight, data.mix."
        )
    return tuple(Source(name, weight, _open(name)) for name, weight in named.items())


def validation_set(data: DataConfig) -> ShardSet | None:
    """The samples that models are scored on, if there are any.

    Raises:
        UserError: `data.val` is not there, or has no end.
    """
    path = validation_path(data)
    samples = ShardSet(path, "val") if path is not None and "val" in ShardSet(path).splits else None
    return samples if samples is not None and len(samples) else None


def validation_path(data: DataConfig) -> str | None:
    """The shards whose `val` split is scored: `data.val`, else those of `data.train`; streams have none.

    Raises:
        UserError: `data.val` names a stream.
    """
    if data.val is not None and is_stream(data.val):
        raise UserError(
            f"data.val={data.val} has no end, and scores are those of a fixed set: name shards, or leave data.val out"
            " to train without validation."
        )
    if data.val is not None or data.train is None or is_stream(data.train):
        return data.val
    return data.train


def prepare_data(data: DataConfig) -> DataConfig:
    """The section made fit for other processes: absolute paths, `val` filled in, the category by name.

    Raises:
        UserError: no data, no such category, or shards that are named twice.
    """
    val = validation_path(data)
    settled = data.model_copy(
        update={
            "train": None if data.train is None else _absolute(data.train),
            "mix": {_absolute(name): weight for name, weight in data.mix.items()},
            "val": None if val is None else _absolute(val),
        }
    )
    if len(settled.mix) < len(data.mix):
        raise UserError(f"data.mix names the same shards twice: {', '.join(data.mix)}.")
    return settled.model_copy(update={"category": _category_of(settled)})


def batch_plan(config: Config, world: int = 1) -> BatchPlan:
    """Which samples make which batch of a run of `world` processes."""
    sources = training_sources(config.data)
    return BatchPlan(
        tuple(source.row_groups for source in sources),
        config.training.batch_size,
        world,
        config.training.seed,
        weights=tuple(source.weight for source in sources),
        epoch_samples=config.data.epoch_samples,
    )


def training_digests(data: DataConfig) -> dict[str, Any]:
    """What names the training data exactly, wherever they lie: one digest, or those of a mix with their weights."""
    sources = training_sources(data)
    if data.train is not None:
        return {"data.train (digest)": sources[0].samples.digest}
    return {"data.mix (digests and weights)": [[source.samples.digest, source.weight] for source in sources]}


def data_tags(data: DataConfig) -> dict[str, str]:
    """What a tracked run says of its data: digests under `data.train` or `data.mix`, and `data.val`."""
    sources, val = training_sources(data), validation_path(data)
    if data.train is not None:
        tags = {"data.train": sources[0].samples.digest}
    else:
        tags = {"data.mix": "; ".join(f"{s.name}, weight {s.weight:g}: {s.samples.digest}" for s in sources)}
    return tags if val is None else {**tags, "data.val": ShardSet(val).digest}


def _open(name: str) -> ShardSet | SampleStream:
    return open_stream(name) if is_stream(name) else ShardSet(_folder(name), "train")


def _absolute(name: str) -> str:
    return absolute_source(name) if is_stream(name) else str(_folder(name).absolute())


def _folder(name: str) -> Path:
    path = Path(name)
    if _OTHER_SCHEME.match(name) and not path.exists():
        raise unknown_name("kind of data", name, ["a shard folder", *(SCHEME + known for known in STREAMS)])
    return path


def _category_of(data: DataConfig) -> str | None:
    """By name: a number is that of the first source; the others must know its name."""
    first, *others = training_sources(data)
    name = category_name(data.category, first.categories, Path(first.name))
    known = {source.name: source.categories for source in others}
    if data.val is not None:
        known[data.val] = ShardSet(data.val).categories
    for where, categories in known.items():
        if name is not None and name not in categories.values():
            raise unknown_name(f"category of the shards {where}", name, categories.values())
    return name
