"""Scores of a grouping on many charts, in this process or in several."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Protocol, TypeVar

import cv2

from linegroup.config import DataConfig, GroupingConfig
from linegroup.metrics import score
from linegroup.shards import ShardSet
from linegroup.tuning.charts import Chart, ChartGrouper, MapFolder
from linegroup.tuning.objective import objective

T = TypeVar("T")


class Scorer(Protocol):
    """Charts by number."""

    def objective(self, name: str, config: GroupingConfig, charts: Sequence[int]) -> list[float]:
        """The objective of each of the charts.

        Raises:
            UserError: the setting cannot be used on one of them.
        """

    def metrics(self, config: GroupingConfig, charts: Sequence[int]) -> list[dict[str, float]]:
        """All scores of `METRICS` of each of the charts."""


class ChartScorer:
    """Charts in this process."""

    def __init__(self, read: Callable[[int], Chart]) -> None:
        """Args: read: Gives chart number i, when it is first asked for."""
        self._grouper = functools.cache(lambda i: ChartGrouper(read(i)))

    def objective(self, name: str, config: GroupingConfig, charts: Sequence[int]) -> list[float]:
        """See `Scorer`."""
        chosen = [self._grouper(i) for i in charts]
        return [objective(name, one.chart, one.labels(config)) for one in chosen]

    def metrics(self, config: GroupingConfig, charts: Sequence[int]) -> list[dict[str, float]]:
        """See `Scorer`."""
        chosen = [self._grouper(i) for i in charts]
        return [score(one.chart.truth, one.chart.lines, one.labels(config)) for one in chosen]


class ProcessScorer:
    """Charts spread over processes, each always in the same one, so that its trees are there; used as a context.

    Args:
        samples: Where the charts are.
        folder: Where their maps are.
        indices: Numbers of the charts in `samples`: chart i here is `indices[i]` there.
        data: How the truth is drawn.
        workers: Number of processes.
    """

    def __init__(
        self, samples: ShardSet, folder: MapFolder, indices: Sequence[int], data: DataConfig, workers: int
    ) -> None:
        # Not forked: torch, Arrow and OpenCV have threads.
        context = multiprocessing.get_context("spawn")
        self._pools = [
            ProcessPoolExecutor(1, context, initializer=_open, initargs=(samples, folder, tuple(indices), data))
            for _ in range(workers)
        ]
        self._place: dict[int, int] = {}
        for pool in self._pools:
            # They start now, beside what else there is to do, and not when they are first asked.
            pool.submit(_start)

    def __enter__(self) -> ProcessScorer:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            for pool in self._pools:
                stack.callback(pool.shutdown, cancel_futures=True)

    def objective(self, name: str, config: GroupingConfig, charts: Sequence[int]) -> list[float]:
        """See `Scorer`."""
        return self._spread(_objective, charts, name, config)

    def metrics(self, config: GroupingConfig, charts: Sequence[int]) -> list[dict[str, float]]:
        """See `Scorer`."""
        return self._spread(_metrics, charts, config)

    def _spread(self, work: Callable[..., list[T]], charts: Sequence[int], *given: Any) -> list[T]:
        """The answers for the charts, in their order."""
        for i in charts:
            # In turns, in the order in which they are first asked for: so the first few are spread evenly, too.
            self._place.setdefault(i, len(self._place) % len(self._pools))
        shares = [
            (pool, share) for k, pool in enumerate(self._pools) if (share := [i for i in charts if self._place[i] == k])
        ]
        futures = [pool.submit(work, *given, share) for pool, share in shares]
        # All are waited for: where one has failed, the others must not be left busy with what nobody wants.
        wait(futures)
        answers = [zip(share, future.result(), strict=True) for (_, share), future in zip(shares, futures, strict=True)]
        found = dict(itertools.chain.from_iterable(answers))
        return [found[i] for i in charts]


_scorer: ChartScorer | None = None
"""In a process of a `ProcessScorer`: its charts."""


def _open(samples: ShardSet, folder: MapFolder, indices: Sequence[int], data: DataConfig) -> None:
    global _scorer
    # Ctrl-C reaches all processes of a terminal: the one that asked decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    _scorer = ChartScorer(lambda i: folder.chart(samples, indices[i], data))


def _start() -> None:
    """Nothing but what comes with it: a process with all it needs loaded."""


def _objective(name: str, config: GroupingConfig, charts: Sequence[int]) -> list[float]:
    assert _scorer is not None
    return _scorer.objective(name, config, charts)


def _metrics(config: GroupingConfig, charts: Sequence[int]) -> list[dict[str, float]]:
    assert _scorer is not None
    return _scorer.metrics(config, charts)
