"""Whether the service is ready: known from its answers, else asked of Serve, and never of those who do pictures."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

YES_S, NO_S = 20.0, 1.0
"""So long an answer to a picture, and a no, are remembered."""

ASK_S = 3.0
"""So long a question is waited for."""

_log = logging.getLogger(__name__)


class Readiness:
    """Asks at most one question at a time, however many want to know; what fails means no.

    Args:
        ask: Whether each stage has a replica; called in a thread, may fail or hang.
    """

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self._yes = -YES_S
        self._no = -NO_S
        self._asking: asyncio.Future[bool] | None = None

    def answered(self) -> None:
        """A picture was just done."""
        self._yes = time.monotonic()

    async def now(self) -> bool:
        """Whether the service is ready."""
        if time.monotonic() - self._yes < YES_S:
            return True
        if time.monotonic() - self._no < NO_S:
            return False
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().run_in_executor(None, self._safely)
        # A question that hangs is not asked again before it has ended.
        await asyncio.wait([self._asking], timeout=ASK_S)
        ready = self._asking.done() and self._asking.result()
        if not ready:
            self._no = time.monotonic()
        return ready

    def _safely(self) -> bool:
        try:
            return self._ask()
        except Exception as error:
            _log.warning("nobody could say whether all stages run", extra={"reason": repr(error)})
            return False


def replicas_run(*handles: DeploymentHandle[Any]) -> bool:
    """Whether each deployment has a replica that runs: one that has loaded and tried its model, or compiled its loops.

    Raises:
        Exception: Serve's controller does not answer.
    """
    applications = serve.status().applications

    def runs(handle: DeploymentHandle[Any]) -> bool:
        application = applications.get(handle.app_name)
        deployment = application and application.deployments.get(handle.deployment_name)
        return bool(deployment and deployment.replica_states.get("RUNNING", 0))  # type: ignore[call-overload]

    return all(map(runs, handles))
