"""Generated charts onto disk: a COCO file and pictures, drawn by several processes of this machine."""

from __future__ import annotations

import itertools
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import cv2

from linegroup.sample import Sample
from linegroup.sources.coco import write_coco
from linegroup.sources.synth import open_stream

ANNOTATIONS, IMAGES = "annotations.json", "images"

_TOGETHER = 8
"""Charts that a process draws at a time."""


def write_charts(
    source: str, numbers: Iterable[int], out: Path, *, workers: int = 1, watch: Callable[[int], None] | None = None
) -> None:
    """Draw charts of a stream into `out/annotations.json` and `out/images/`; the same bytes for any number of workers.

    The annotation file comes last. Memory does not grow with the number of charts.

    Args:
        source: Name of the stream, as `open_stream` knows it.
        numbers: Which charts, each once.
        out: Folder; files of the same names are replaced.
        workers: Processes.
        watch: Told the number of charts that are done.

    Raises:
        UserError: no such stream.
        OSError: something could not be written.
    """
    open_stream(source)
    write_coco(_watched(draw_in_order(source, numbers, workers), watch), out / ANNOTATIONS, out / IMAGES)


def draw_in_order(source: str, numbers: Iterable[int], workers: int = 1) -> Iterator[Sample]:
    """The samples of a stream in the order of `numbers`, a few of them drawn ahead."""
    rest = iter(numbers)
    chunks = iter(lambda: list(itertools.islice(rest, _TOGETHER)), [])
    if workers < 2:
        stream = open_stream(source)
        yield from (stream.read(number) for chunk in chunks for number in chunk)
        return
    # Forking a process in which OpenCV and numba have threads can hang the child.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_one_thread) as pool:
        ahead: deque[Future[list[Sample]]] = deque()
        try:
            for chunk in chunks:
                ahead.append(pool.submit(_draw, source, chunk))
                if len(ahead) > 2 * workers:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _draw(source: str, numbers: list[int]) -> list[Sample]:
    stream = open_stream(source)
    return [stream.read(number) for number in numbers]


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _watched(samples: Iterable[Sample], watch: Callable[[int], None] | None) -> Iterator[Sample]:
    for done, sample in enumerate(samples, 1):
        yield sample
        if watch is not None:
            watch(done)
