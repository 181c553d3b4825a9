"""The deployments put together as one application of Ray Serve."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve import Application
from ray.serve.config import BackpressureConfig
from ray.serve.schema import LoggingConfig

from linegroup.distributed.serving.arguments import ServiceArguments
from linegroup.distributed.serving.replicas import Clusterer, Embedder, Ingress
from linegroup.errors import UserError
from linegroup.serving.settings import ServiceSettings

APP = "linegroup"
"""Name of the application."""

EMBEDDER, CLUSTERER, INGRESS = "Embedder", "Clusterer", "Ingress"
"""Names of the deployments, as in the config file."""

HEALTH: dict[str, float] = {"health_check_period_s": 3.0, "health_check_timeout_s": 10.0}
"""Three checks in a row must fail: a replica that hangs is replaced after about half a minute."""

_ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}
"""An embedder's threads share one heap of glibc's, which keeps what is freed (`linegroup.memory`): Ray's own threads
have made others before our first line runs, and those hand a network's large arrays back to the system each time."""

_EMBEDDED, _CLUSTERED = 3, 2
"""Pictures that a replica takes on a CPU: two or one at work, and one at hand."""


def application(arguments: ServiceArguments, settings: ServiceSettings) -> Application:
    """The application, not yet running.

    Args:
        arguments: What is deployed.
        settings: Of the service; they go to every replica.

    Raises:
        UserError: MODEL_DEVICE names a GPU, and the embedder is to have none.
    """
    gpus = _gpus(arguments.embedder_gpus, settings.model_device)
    waiting = settings.max_queued_requests * settings.batch_parallel
    common: dict[str, Any] = {
        **HEALTH,
        "max_queued_requests": waiting,
        "graceful_shutdown_wait_loop_s": 0.5,
        "graceful_shutdown_timeout_s": settings.request_timeout_s + 5.0,
        "logging_config": LoggingConfig(log_level="WARNING", enable_access_log=False),
        "max_constructor_retry_count": 5,
    }
    embedder = serve.deployment(
        name=EMBEDDER,
        user_config={"model_uri": _absolute(arguments.model or settings.model_reference)},
        max_ongoing_requests=2 * arguments.batch if gpus else _EMBEDDED,
        autoscaling_config=_scaling(arguments.max_embedders, arguments.batch if gpus else _EMBEDDED),
        ray_actor_options={
            "num_cpus": arguments.embedder_cpus,
            "num_gpus": gpus,
            "runtime_env": {"env_vars": _ONE_HEAP},
        },
        **common,
    )(Embedder).bind(settings, arguments.batch)
    clusterer = serve.deployment(
        name=CLUSTERER,
        max_ongoing_requests=_CLUSTERED,
        autoscaling_config=_scaling(arguments.max_clusterers, _CLUSTERED),
        ray_actor_options={"num_cpus": arguments.clusterer_cpus},
        **common,
    )(Clusterer).bind(settings, arguments.warm_methods)
    # Its own gate refuses earlier, and says so in our words; this is for what comes faster than it can say.
    ingress = serve.deployment(
        name=INGRESS,
        max_ongoing_requests=4 * settings.max_queued_requests + 64,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=settings.retry_after_s),
        ray_actor_options={"num_cpus": 0},
        **common,
    )(serve.ingress()(Ingress))
    return ingress.bind(settings, embedder, clusterer)


def build(arguments: ServiceArguments) -> Application:
    """The application with the settings of the environment, as `serve/app.py` builds it.

    Raises:
        UserError: the settings are not safe or out of range.
    """
    settings = ServiceSettings.read()
    if settings.loopback_only:
        logging.getLogger(__name__).warning(
            "Nobody has to sign in: the service answers this machine only, as localhost."
        )
    return application(arguments, settings)


def _scaling(most: int, target: float) -> dict[str, Any]:
    return {
        "min_replicas": 1,
        "max_replicas": most,
        "target_ongoing_requests": target,
        "upscale_delay_s": 5.0,
        "downscale_delay_s": 120.0,
    }


def _gpus(wanted: float | None, device: str) -> float:
    """GPUs of an embedder: as wanted, else one where there is one and the device may be one."""
    if wanted is None:
        there = ray.cluster_resources().get("GPU", 0) if ray.is_initialized() else 0  # type: ignore[no-untyped-call]
        return 1.0 if device != "cpu" and there >= 1 else 0.0
    if device.startswith("cuda") and not wanted:
        raise UserError(f"MODEL_DEVICE={device}, but embedder_gpus=0: give it one, or set MODEL_DEVICE=cpu.")
    return wanted


def _absolute(reference: str | None) -> str | None:
    """Replicas have other working folders: a folder (or file) here is named from the root."""
    return str(Path(reference).absolute()) if reference and Path(reference).exists() else reference
