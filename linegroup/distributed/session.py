"""A quiet Ray for the length of a `with` block: the cluster that is there, or a private one."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ray
from ray.data import DataContext
from ray.exceptions import RayError
from ray.util.annotations import RayDeprecationWarning

from linegroup.environment import default_variables
from linegroup.errors import UserError

logger = logging.getLogger(__name__)

LOCAL = "local"
"""Address that always means a private Ray of this process."""

OBJECT_STORE_BYTES = 512 * 2**20
"""Shared memory of a private Ray. Samples travel through files, so little passes through it."""

FEW_RESTARTS: Mapping[str, Any] = MappingProxyType({"max_restarts": 3, "max_task_retries": 3})
"""For actors of Ray Data: what kills its process must not do so for ever, as it does by default."""

_KNOCK_SECONDS = 10
_SMALLEST_STORE = 80 * 2**20
_WRITTEN = ("RAY_AUTH_MODE",)
"""What Ray itself writes into the environment."""

_PRIVATE = {
    # Workers decode picture after picture: keep freed memory, as new pages cost up to a third of their time (glibc).
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20),
    "RAY_USAGE_STATS_ENABLED": "0",
    # Without a GPU in the task's request, leave CUDA_VISIBLE_DEVICES alone: the coming default, which Ray warns about.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Only for spot nodes; without the dashboard it prints errors.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


@contextlib.contextmanager
def start_ray(
    address: str | None = None,
    num_cpus: int | None = None,
    *,
    object_store_memory: int = OBJECT_STORE_BYTES,
    dashboard: bool = False,
    log_to_driver: bool = False,
) -> Iterator[None]:
    """Ray, ready to use inside the block.

    Where this process is connected already, that connection is used and left alone. Otherwise
    `address`, then the environment's `RAY_ADDRESS`, names the running cluster to join (`auto` finds
    the one of this machine); it is left at the end, never stopped. With neither, or with `local`, a
    private Ray starts with token authentication and ends with the block, its files with it.

    Args:
        address: Cluster to join, `auto`, `local`, or None.
        num_cpus: CPUs that a private Ray offers to its tasks; may be more than the machine has.
        object_store_memory: Bytes of shared memory of a private Ray.
        dashboard: Whether a private Ray starts its dashboard (a few seconds more).
        log_to_driver: Whether what its workers write appears on standard error here.

    Raises:
        UserError: the named cluster does not answer or refuses the token, or a private Ray does not start.
    """
    with contextlib.ExitStack() as stack:
        if not ray.is_initialized():
            address = address or os.environ.get("RAY_ADDRESS") or LOCAL
            if address == LOCAL:
                store = max(object_store_memory, _SMALLEST_STORE)
                stack.enter_context(_private(num_cpus, store, dashboard, log_to_driver))
            else:
                stack.enter_context(_joined(address))
        stack.enter_context(_quiet_data())
        yield


@contextlib.contextmanager
def restarts_allowed() -> Iterator[None]:
    """Ray 2.60 deprecates the only way to say `FEW_RESTARTS`, and has no other yet."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*ray_remote_args.*", category=RayDeprecationWarning)
        yield


@contextlib.contextmanager
def _private(num_cpus: int | None, object_store_memory: int, dashboard: bool, log_to_driver: bool) -> Iterator[None]:
    # Unix sockets lie below this folder and their paths may have 107 characters at most: keep it short.
    folder = Path(tempfile.mkdtemp(prefix="lg-", dir="/tmp" if Path("/tmp").is_dir() else None))
    try:
        with (
            default_variables(_PRIVATE | _token(), _WRITTEN),
            _logger_level("ray._private.authentication", logging.ERROR),
        ):
            try:
                ray.init(
                    address=LOCAL,
                    num_cpus=num_cpus,
                    object_store_memory=object_store_memory,
                    include_dashboard=dashboard,
                    logging_level=logging.ERROR,
                    log_to_driver=log_to_driver,
                    _temp_dir=str(folder),
                )
            # Ray raises nothing more special where a machine is too busy to start it in time.
            except Exception as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise UserError(
                    f"Ray did not start: {reason} Try again when the machine is less busy, or do without:"
                    " --workers 0 or --serial."
                ) from error
            try:
                yield
            finally:
                ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _joined(address: str) -> Iterator[None]:
    with default_variables({"RAY_USAGE_STATS_ENABLED": "0"}, _WRITTEN):
        try:
            _knock(address)
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        except (OSError, ValueError, RuntimeError, RayError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"Cannot join the Ray cluster at {address!r}: {reason.rstrip('.')}. Check that it runs, and that"
                " RAY_AUTH_MODE and its token are set here as they are there; `local` starts a private Ray instead."
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


def _knock(address: str) -> None:
    """Fail at once where nothing listens: Ray itself tries for minutes. Addresses without a port pass."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()


@contextlib.contextmanager
def _quiet_data() -> Iterator[None]:
    """No bars and notes of Ray Data's own; what stood before is put back."""
    with warnings.catch_warnings():
        # The first call builds Ray's defaults, with names that Ray itself calls deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        context = DataContext.get_current()
    quiet = {"enable_progress_bars": False, "print_on_execution_start": False}
    before = {name: getattr(context, name) for name in quiet}
    for name, value in quiet.items():
        setattr(context, name, value)
    try:
        with _logger_level("ray.data", logging.ERROR):
            yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)


@contextlib.contextmanager
def _logger_level(name: str, level: int) -> Iterator[None]:
    noisy = logging.getLogger(name)
    before = noisy.level
    noisy.setLevel(level)
    try:
        yield
    finally:
        noisy.setLevel(before)


def _token() -> dict[str, str]:
    """A token for a private Ray, so that none is written into the home folder.

    The mode is left to Ray, which turns authentication on for the clusters it starts: set here,
    after `import ray`, it would not be seen by this process.
    """
    return {} if "RAY_AUTH_TOKEN_PATH" in os.environ else {"RAY_AUTH_TOKEN": _process_token()}


@functools.cache
def _process_token() -> str:
    # One per process: Ray keeps the first token it has read.
    return secrets.token_hex(32)
