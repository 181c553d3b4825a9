"""Which samples make which batch: arithmetic alone, the same for every worker and after every restart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from linegroup.errors import UserError

SEED_BITS = 2**64 - 1
"""Seeds and ids are taken modulo 2^64: numpy's generators want no negative ones."""

PERIOD = 1000
"""Samples after which the pattern of a mix repeats: weights are met to a thousandth."""

STREAM_EPOCH = 2048
"""Samples of an epoch where a source has no end and nothing else is said."""

RowGroups = tuple[int, ...]
"""Number of samples in each row group."""


class Item(NamedTuple):
    """One sample of a batch.

    Attributes:
        source: Number of the source.
        epoch: How often the source has been used up before; always 0 for a stream.
        number: Of the sample within its source.
    """

    source: int
    epoch: int
    number: int


@dataclass(frozen=True)
class Mix:
    """An endless sequence of source numbers, each as often as its weight says.

    A pattern of `PERIOD` places repeats. Each source has its share of them (largest remainder), one at a
    random place of each of as many equal stretches: every batch is mixed nearly as the whole, yet no source
    falls into step with the batch size or the number of workers.

    Attributes:
        weights: Of the sources, > 0.
        seed: Chooses the places.
    """

    weights: tuple[float, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.weights or min(self.weights) <= 0 or not np.isfinite(self.weights).all():
            raise UserError(f"The weights of the sources must be > 0; got {list(self.weights)}.")
        if min(self.counts) < 1:
            raise UserError(
                f"The least weight must be a {PERIOD}th of the whole, or its source is never read; got"
                f" {list(self.weights)}."
            )

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Places of each source in the pattern, `PERIOD` in all."""
        # Scaled by the largest first: the sum of finite weights may not be.
        relative = np.array(self.weights) / max(self.weights)
        shares = relative / relative.sum() * PERIOD
        counts = np.floor(shares).astype(int)
        counts[np.argsort(counts - shares, kind="stable")[: PERIOD - counts.sum()]] += 1
        return tuple(counts.tolist())

    def sources(self, first: int, stop: int) -> list[int]:
        """The sources of positions first … stop - 1."""
        return [int(self._pattern[position % PERIOD]) for position in range(first, stop)]

    def before(self, position: int, source: int) -> int:
        """How many positions before this one are of a source."""
        periods, rest = divmod(position, PERIOD)
        return periods * self.counts[source] + int(np.count_nonzero(self._pattern[:rest] == source))

    @property
    def _pattern(self) -> NDArray[np.int64]:
        return _pattern(self.counts, self.seed)


@dataclass(frozen=True)
class BatchPlan:
    """Which samples make which batch.

    All samples that are ever used stand in one endless sequence; step t of rank r takes positions
    [t·B·W + r·B, + B) of it. So any step can be asked for directly, and W workers with batch B see the very
    samples of one worker with batch W·B. A `Mix` says which source each position is of. A stream gives its
    samples 0, 1, 2, … and never one twice; shards give one permutation after the other, so that in an epoch of
    theirs no sample is lost or doubled.

    An epoch's permutation shuffles the row groups and then the rows within windows of about `window`
    rows, so that reading stays local; with `window` rows or less it is a full permutation.

    Attributes:
        sources: Row groups of each shard source; None for a stream.
        batch_size: B, samples per worker and step.
        world: W, number of workers.
        seed: Chooses the permutations and the mix.
        window: Rows that are shuffled among each other.
        weights: Of the sources; default: all the same.
        epoch_samples: Samples of an epoch, by which checkpoints and validations are counted. None: all of the
            shards, or `STREAM_EPOCH` where a source is a stream. Which samples are drawn does not depend on it.
    """

    sources: tuple[RowGroups | None, ...]
    batch_size: int
    world: int = 1
    seed: int = 0
    window: int = 1024
    weights: tuple[float, ...] = ()
    epoch_samples: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "world", "window", "epoch_samples"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"A batch plan's {name} must be >= 1; got {getattr(self, name)}.")
        if not self.sources or 0 in self.sizes:
            raise UserError("There is no sample to train on: the shards' training split is empty.")
        assert len(self.mix.weights) == len(self.sources), (self.weights, len(self.sources))

    @cached_property
    def mix(self) -> Mix:
        """Which source each position is of."""
        return Mix(self.weights or (1.0,) * len(self.sources), self.seed)

    @cached_property
    def sizes(self) -> tuple[int | None, ...]:
        """Samples of each source; None for a stream."""
        return tuple(None if groups is None else sum(groups) for groups in self.sources)

    @property
    def samples(self) -> int:
        """Number of samples in an epoch."""
        if self.epoch_samples is not None:
            return self.epoch_samples
        sizes = [size for size in self.sizes if size is not None]
        return sum(sizes) if len(sizes) == len(self.sizes) else STREAM_EPOCH

    @property
    def steps_per_epoch(self) -> int:
        """Steps until an epoch's samples were used."""
        return -(-self.samples // (self.batch_size * self.world))

    def items(self, step: int, rank: int = 0) -> list[Item]:
        """The samples of a step."""
        assert step >= 0, step
        assert 0 <= rank < self.world, (rank, self.world)
        first = (step * self.world + rank) * self.batch_size
        sources = self.mix.sources(first, first + self.batch_size)
        draws = {
            source: iter(self._draws(source, self.mix.before(first, source), sources.count(source)))
            for source in set(sources)
        }
        return [next(draws[source]) for source in sources]

    def order(self, epoch: int, source: int = 0) -> NDArray[np.int64]:
        """The permutation `(samples of the shards,)` in an epoch of a shard source's own."""
        groups = self.sources[source]
        assert groups is not None, source
        return _epoch_order(groups, self.seed + source, self.window, epoch)

    def _draws(self, source: int, first: int, count: int) -> list[Item]:
        """What a source gives when it is asked for the time `first`, and `count` times in all."""
        size, stop = self.sizes[source], first + count
        if size is None:
            return [Item(source, 0, number) for number in range(first, stop)]
        chosen: list[Item] = []
        for epoch in range(first // size, (stop - 1) // size + 1):
            before = epoch * size
            rows = self.order(epoch, source)[max(0, first - before) : stop - before]
            chosen += [Item(source, epoch, number) for number in rows.tolist()]
        return chosen


def spread(count: int, limit: int) -> list[int]:
    """All numbers below `count`, or `limit` of them at even distances."""
    if not 0 < limit < count:
        return list(range(count))
    return [i * count // limit for i in range(limit)]


@lru_cache(maxsize=16)
def _pattern(counts: tuple[int, ...], seed: int) -> NDArray[np.int64]:
    rng = np.random.default_rng([seed & SEED_BITS, len(counts)])
    places = np.concatenate([(np.arange(count) + rng.random(count)) / count for count in counts])
    pattern = np.repeat(np.arange(len(counts)), counts)[np.argsort(places, kind="stable")]
    pattern.setflags(write=False)
    return pattern


@lru_cache(maxsize=16)
def _epoch_order(row_groups: RowGroups, seed: int, window: int, epoch: int) -> NDArray[np.int64]:
    rng = np.random.default_rng([seed & SEED_BITS, epoch])
    starts = np.concatenate([[0], np.cumsum(row_groups)])
    groups = rng.permutation(len(row_groups))
    order = np.concatenate([np.arange(starts[g], starts[g + 1]) for g in groups])
    for first in range(0, len(order), window):
        rng.shuffle(order[first : first + window])
    order.setflags(write=False)
    return order
