"""The threads in which a replica works, watched: work that does not end makes the replica unhealthy."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

T = TypeVar("T")


class Stuck(RuntimeError):
    """Work has not ended in time: Serve replaces the replica."""


class Workshop:
    """Threads for the work on pictures, beside the event loop, which stays free for health checks.

    Args:
        threads: Pieces of work at the same time; others wait, and can be given up while they do.
        patience_s: Work that takes longer hangs.
    """

    def __init__(self, threads: int, patience_s: float) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="linegroup")
        self._patience = patience_s
        self._numbers = itertools.count()
        self._begun: dict[int, float] = {}

    async def do(self, work: Callable[..., T], *args: object) -> T:
        """The result of `work(*args)`, done in a thread.

        Cancelling the call gives up work that waits; what has begun goes on to its end, and so does the call: the
        replica is not free before.
        """
        context = contextvars.copy_context()
        doing = self._pool.submit(context.run, partial(self._watched, work, *args))
        waiting = asyncio.wrap_future(doing)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not doing.cancel():
                while not doing.done():
                    # Whoever cancels twice must wait as well.
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.wait([waiting])
            raise

    @property
    def at_work(self) -> int:
        """Pieces of work that have begun and not ended."""
        return len(self._begun)

    def check(self) -> None:
        """For the health check.

        Raises:
            Stuck: a piece of work hangs.
        """
        oldest = min(self._begun.values(), default=None)
        if oldest is not None and time.monotonic() - oldest > self._patience:
            raise Stuck(f"Work on a picture has not ended within {self._patience:g} s.")

    def _watched(self, work: Callable[..., T], *args: object) -> T:
        number = next(self._numbers)
        self._begun[number] = time.monotonic()
        try:
            return work(*args)
        finally:
            del self._begun[number]
