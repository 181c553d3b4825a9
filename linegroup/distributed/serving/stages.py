"""The stages of the service as replicas on Ray: what the HTTP interface calls, with retries when a replica dies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

from ray.exceptions import NodeDiedError, ObjectLostError, RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from linegroup.distributed.serving.readiness import Readiness, replicas_run
from linegroup.errors import UserError
from linegroup.serving.answers import Reply
from linegroup.serving.schema import ModelInfo
from linegroup.serving.stages import Overloaded
from linegroup.serving.work import Order

Handle = DeploymentHandle[Any]
Response = DeploymentResponse[Any]

LOST = (RayActorError, ObjectLostError, NodeDiedError, ReplicaUnavailableError)
"""A replica, or what it had made, is gone: the work can be done again, for it changes nothing."""

REFUSED = (BackPressureError, DeploymentUnavailableError)
"""No replica takes the work."""

OURS = (UserError, TimeoutError, Overloaded)
"""Errors of the stages that the HTTP interface knows."""

_ASK_S = 3.0
_PAUSE_S = 0.1

_log = logging.getLogger(__name__)


class RayStages:
    """An embedder and a clusterer, each with replicas of its own; see `linegroup.serving.stages.Stages`.

    Args:
        embedder: Handle of `Embedder`.
        clusterer: Handle of `Clusterer`.
        retry_after_s: What is told when there is too much work.
        attempts: How often a picture is begun when replicas die under it.
        ask: Whether both have a replica; None: Serve is asked.
    """

    def __init__(
        self,
        embedder: Handle,
        clusterer: Handle,
        retry_after_s: float = 1.0,
        attempts: int = 3,
        ask: Callable[[], bool] | None = None,
    ) -> None:
        self._embedder = embedder
        self._clusterer = clusterer
        self._retry_after_s = retry_after_s
        self._attempts = attempts
        self._readiness = Readiness(ask or partial(replicas_run, embedder, clusterer))

    async def run(self, order: Order) -> Reply:
        """See `Stages`; done again from the start when a replica dies under it."""
        for attempt in range(1, self._attempts + 1):
            try:
                reply = await self._done(order)
            except Exception as error:
                if not isinstance(cause_of(error), LOST):
                    raise
                _log.warning("a replica died under a picture", extra={"attempt": attempt, "reason": _first(error)})
                await asyncio.sleep(_PAUSE_S)
            else:
                self._readiness.answered()
                return reply
        raise Overloaded("The replicas that worked on the picture stopped.", self._retry_after_s)

    async def info(self) -> ModelInfo:
        """See `Stages`; asked of a replica, whichever is free first."""
        response = _asked(self._embedder.info)
        try:
            async with asyncio.timeout(_ASK_S):
                info: ModelInfo = await self._result(response)
        except TimeoutError:
            raise Overloaded("No model is loaded, or all replicas are busy.", self._retry_after_s) from None
        except LOST:
            raise Overloaded("The replica stopped.", self._retry_after_s) from None
        return info

    async def ready(self) -> bool:
        """See `Stages`; no picture waits for it."""
        return await self._readiness.now()

    async def _done(self, order: Order) -> Reply:
        embedding = _asked(self._embedder.embed, order)
        # The response itself is handed on: what is embedded goes from replica to replica, not through this process.
        answering = _asked(self._clusterer.answer, embedding, order.kind, dict(order.options))
        reply: Reply = await self._result(answering, embedding)
        return reply

    async def _result(self, response: Response, *earlier: Response) -> Any:
        """What a replica answered; it and those before are told when nobody waits any more.

        Raises:
            Exception: of `OURS` or `LOST`, or a mistake of ours.
        """
        try:
            return await response
        except asyncio.CancelledError:
            for each in (response, *earlier):
                each.cancel()  # type: ignore[no-untyped-call]
            raise
        except Exception as error:
            cause = cause_of(error)
            if isinstance(cause, REFUSED):
                raise Overloaded(retry_after_s=self._retry_after_s) from None
            if cause is error:
                raise
            raise cause from None


def _asked(method: Handle, *args: object) -> Response:
    return cast(Response, method.remote(*args))


def cause_of(error: BaseException) -> BaseException:
    """What really happened, out of what Ray has wrapped it in; the error itself where that says most."""
    return next((each for each in _chain(error) if isinstance(each, (*LOST, *REFUSED, *OURS))), error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes; Ray's wrappers, which are of the types of what they wrap, left out."""
    while error is not None:
        if not isinstance(error, RayTaskError):
            yield error
        error = getattr(error, "cause", None) or error.__cause__


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
