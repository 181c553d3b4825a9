"""The service on this machine: a private Ray, one address, and a clean end."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from ray import serve
from ray.exceptions import RayError
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.schema import LoggingConfig

from linegroup.distributed.serving.application import APP, application
from linegroup.distributed.serving.arguments import ServiceArguments
from linegroup.distributed.serving.proxied import PROXY_MIDDLEWARES, PROXY_SETTING
from linegroup.distributed.session import start_ray
from linegroup.environment import default_variables
from linegroup.errors import UserError
from linegroup.serving.access import LOOPBACK_HOSTS
from linegroup.serving.settings import ServiceSettings

STORE_BYTES = 512 * 2**20
"""Shared memory for pictures and candidates on their way."""

_ENVIRONMENT = {
    # Threads that spin while they wait take the CPU from the other stage.
    "OMP_WAIT_POLICY": "PASSIVE",
    PROXY_SETTING: PROXY_MIDDLEWARES,
    # Three times as long is given to a proxy that starts; of 5 s each it is dead on a machine that has other work.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "40",
}
"""What Ray's processes find, unless it is said otherwise."""

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def serving(
    arguments: ServiceArguments, settings: ServiceSettings, host: str = "127.0.0.1", port: int = 8000
) -> Iterator[str]:
    """The service, ready, for the length of the block; at its end what is in is finished first.

    Args:
        arguments: What is deployed.
        settings: Of the service.
        host: Where it listens.
        port: Likewise.

    Yields:
        Its address.

    Raises:
        UserError: without sign-in on another host than loopback, the port is taken, or the model cannot be loaded.
    """
    if settings.loopback_only and host not in LOOPBACK_HOSTS | {"::1"}:
        raise UserError(
            f"Without sign-in the service listens on loopback only, not on {host}. Set API_AUTH_PASSWORD, or leave out"
            " --host."
        )
    check_port(host, port)
    cpus = arguments.max_embedders * arguments.embedder_cpus + arguments.max_clusterers * arguments.clusterer_cpus
    with quiet_serve(), start_ray("local", int(cpus) + 1, object_store_memory=STORE_BYTES, log_to_driver=True):
        start_http(host, port)
        try:
            handle = serve.run(application(arguments, settings), name=APP, route_prefix="/")
        except RuntimeError as error:
            raise UserError(f"The service did not start: {_reason(error)}") from error
        try:
            yield f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        finally:
            left = handle.drain.remote(settings.request_timeout_s).result()
            if left:
                _log.warning("%d requests were not answered in time.", left)
            serve.shutdown()  # type: ignore[no-untyped-call]


def start_http(host: str, port: int) -> None:
    """Open the address; nothing is deployed yet.

    Raises:
        UserError: Serve's proxy was not there in time.
    """
    try:
        serve.start(
            proxy_location=ProxyLocation.HeadOnly,
            http_options=HTTPOptions(host=host, port=port),
            logging_config=LoggingConfig(log_level="WARNING", enable_access_log=False),
        )
    except RayError as error:
        raise UserError(
            "The service did not start: its HTTP proxy was not there in time. Try again when the machine is less busy."
        ) from error


def check_port(host: str, port: int) -> None:
    """Whether the address is free.

    Raises:
        UserError: it is not, or there is no such address here.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            raise UserError(f"{host}:{port} cannot be used: {error.strerror}. Choose another --port.") from None


def wait_for_end() -> None:
    """Until Ctrl-C or SIGTERM; a second one is not waited for."""
    ended = threading.Event()
    before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, end)
    ended.wait()


@contextlib.contextmanager
def quiet_serve() -> Iterator[None]:
    """No notes of Serve's own in this process; threads of replicas that wait sleep; the proxy gives plain ids."""
    logger = logging.getLogger("ray.serve")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with default_variables(_ENVIRONMENT):
            yield
    finally:
        logger.setLevel(level)


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
