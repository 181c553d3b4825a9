"""Fixtures of the service's tests: a real server on loopback, in a thread of this process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

PASSWORD = "correct horse battery"


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    """`with serve(stages, **settings) as client:` a server, and an httpx client that is signed in."""
    import httpx
    import uvicorn

    from linegroup.serving.api import build_api
    from linegroup.serving.settings import ServiceSettings

    @contextlib.contextmanager
    def start(stages: Any, web: Any = None, **settings: Any) -> Iterator[httpx.Client]:
        given = ServiceSettings.read(**{"_env_file": None, "api_auth_password": PASSWORD, **settings})
        app = build_api(given, stages, **({} if web is None else {"web": web}))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        deadline = time.monotonic() + 60
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        auth = ("admin", PASSWORD) if given.api_auth_enabled else None
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", auth=auth, timeout=120) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(60)

    return start


@pytest.fixture(scope="session")
def tiny_predictor() -> Any:
    """An untrained network with every head, so that every grouper has what it needs."""
    import torch

    from linegroup.config import GroupingConfig, ModelConfig
    from linegroup.model import LineModel
    from linegroup.predict import Predictor

    torch.manual_seed(0)
    config = ModelConfig(width=4, depth=1, emb_dim=4, heads=("embedding", "foreground", "crossing", "tangent"))
    grouping = GroupingConfig(method="link", candidates="non_background", foreground_threshold=0.0)
    return Predictor(LineModel(config).eval(), grouping, "7", "tiny")


@pytest.fixture(scope="session")
def local_stages(tiny_predictor: Any) -> Iterator[Any]:
    """The tiny predictor in threads of this process."""
    from linegroup.serving.schema import ModelInfo
    from linegroup.serving.stages import LocalStages

    info = ModelInfo(
        name="tiny",
        version="7",
        metrics={"val_ari": 0.5, "val_loss": None},
        parameters=tiny_predictor.grouping.model_dump(mode="json"),
    )
    stages = LocalStages(tiny_predictor, info)
    yield stages
    stages.close()


@pytest.fixture(scope="session")
def chart_png() -> bytes:
    """Two lines that cross, on white."""
    import numpy as np

    from linegroup.images import encode_png
    from linegroup.testing import COLOURS, draw_polyline

    pixels = np.full((90, 140, 3), 255, dtype=np.uint8)
    draw_polyline(pixels, np.array([[8.0, 12], [130, 78]]), COLOURS[0])
    draw_polyline(pixels, np.array([[8.0, 80], [130, 10]]), COLOURS[1])
    return encode_png(pixels)
