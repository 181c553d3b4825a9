"""Who does the work: what the HTTP interface calls, and its simplest form, in threads of this process."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

from linegroup.predict import Predictor
from linegroup.serving.answers import Reply
from linegroup.serving.schema import ModelInfo
from linegroup.serving.work import Order, answer, embed

T = TypeVar("T")


class Overloaded(Exception):
    """More is waiting than is allowed: come again. Answered with 503.

    Attributes:
        retry_after_s: When, in seconds.
    """

    def __init__(self, message: str = "The service is busy.", retry_after_s: float = 1.0) -> None:
        super().__init__(message, retry_after_s)
        self.message = message
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message


class Stages(Protocol):
    """What the HTTP interface asks for its answers."""

    async def run(self, order: Order) -> Reply:
        """Do one picture.

        Cancelling the call gives the work up.

        Raises:
            UserError: the client's fault (`ImageError`: the picture's); 4xx.
            Overloaded: 503.
            TimeoutError: 504.
        """

    async def info(self) -> ModelInfo:
        """What is loaded.

        Raises:
            Overloaded: nothing is, yet.
        """

    async def ready(self) -> bool:
        """Whether a model is loaded."""


class LocalStages:
    """A predictor in threads of this process: for tests and comparisons.

    Args:
        predictor: Finds the lines.
        info: What `/model/info` tells of it.
        threads: Pictures that are done at the same time.
    """

    def __init__(self, predictor: Predictor, info: ModelInfo, threads: int = 1) -> None:
        self._predictor = predictor
        self._info = info
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="linegroup")

    async def run(self, order: Order) -> Reply:
        """See `Stages`; work that has begun goes on to the end of its stage when the call is cancelled."""
        parcel = await self._call(partial(embed, self._predictor, order))
        return await self._call(partial(answer, parcel, order.kind, order.options))

    async def info(self) -> ModelInfo:
        """See `Stages`."""
        return self._info

    async def ready(self) -> bool:
        """Always: the predictor was given."""
        return True

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    async def _call(self, work: partial[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)
