"""What the replicas of each deployment do. Plain classes: `application` makes deployments of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import cv2
import numpy as np
import ray
from fastapi import FastAPI
from numpy.typing import NDArray
from ray import serve

from linegroup.backbones.threads import sharing, use_torch_threads
from linegroup.compiling import use_threads
from linegroup.distributed.serving.draining import Draining
from linegroup.distributed.serving.holder import ModelHolder
from linegroup.distributed.serving.proxied import OneRequestId
from linegroup.distributed.serving.stages import Handle, RayStages
from linegroup.distributed.serving.together import maps_together
from linegroup.distributed.serving.workshop import Workshop
from linegroup.memory import keep_objects
from linegroup.model import LineModel
from linegroup.predict import Predictor
from linegroup.sample import Maps
from linegroup.serving.answers import Reply
from linegroup.serving.api import build_api
from linegroup.serving.loading import load_model
from linegroup.serving.logs import configure_logs
from linegroup.serving.schema import ModelInfo
from linegroup.serving.settings import ServiceSettings
from linegroup.serving.tracing import working_on
from linegroup.serving.warming import warm_up
from linegroup.serving.work import Order, Parcel, answer, embed
from linegroup.training.registry import meant_version

MORE_PATIENCE_S = 10.0
"""Work that goes on so long after the time of its request hangs."""

BATCH_WAIT_S = 0.005
"""How long a picture waits for others on a GPU."""

_THREADS_PER_BATCH = 2

_ON_CPU = 2
"""Pictures at a time of an embedder without a GPU: while one is decoded or its candidates chosen, the network has the
other; a quarter more of them per second on two cores."""

Pixels = NDArray[np.uint8]
Check = Callable[[], None]
Together = Callable[[tuple[LineModel, Pixels, Check | None]], Coroutine[Any, Any, Maps | Exception]]


class Replica:
    """What all have in common: their share of CPUs, their log, their health.

    Args:
        settings: Of the service.
        threads: Pictures that are worked on at the same time.
    """

    def __init__(self, settings: ServiceSettings, threads: int = 1) -> None:
        configure_logs(settings.log_level)
        self.cpus = assigned("CPU")
        use_cpus(self.cpus)
        self.workshop = Workshop(threads, settings.request_timeout_s + MORE_PATIENCE_S)

    async def check_health(self) -> None:
        """Asked by Serve, which replaces a replica that fails, or does not answer, three times."""
        self.workshop.check()


class Embedder(Replica):
    """Decodes pictures, runs the network, chooses candidates.

    Args:
        settings: Of the service.
        batch: Pictures that go through the network together on a GPU.
    """

    def __init__(self, settings: ServiceSettings, batch: int) -> None:
        self.gpu = assigned("GPU") > 0
        super().__init__(settings, threads=batch * _THREADS_PER_BATCH if self.gpu else _ON_CPU)
        self._together.set_max_batch_size(batch)  # type: ignore[attr-defined]
        device = settings.model_device if settings.model_device != "auto" else ("cuda" if self.gpu else "cpu")
        self.holder = ModelHolder(partial(load_model, device=device, emb_dim=settings.model_emb_dim), meant_version)
        self._follow_s = settings.model_follow_s
        self._following: asyncio.Task[None] | None = None

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Load the model of `ModelChoice`: the first one, or another one in its place; requests go on meanwhile.

        Raises:
            Exception: the first one cannot be loaded. Later ones that cannot are refused and logged.
        """
        if await asyncio.to_thread(self.holder.change, user_config):
            await asyncio.to_thread(keep_objects)
        if self._following is None and self._follow_s:
            self._following = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        """Look from time to time where the alias of the model points; not all replicas at the same moment."""
        while True:
            await asyncio.sleep(self._follow_s * random.uniform(0.8, 1.2))
            if await asyncio.to_thread(self.holder.follow):
                await asyncio.to_thread(keep_objects)

    async def embed(self, order: Order) -> Parcel:
        """See `linegroup.serving.work.embed`."""
        predictor = self.holder.current.predictor
        if self.gpu and predictor.model is not None:
            shared = _Shared(predictor.model, self._together, asyncio.get_running_loop())
            predictor = replace(predictor, model=cast(LineModel, shared))
        with working_on(order.request_id):
            return await self.workshop.do(self._embed, predictor, order)

    def _embed(self, predictor: Predictor, order: Order) -> Parcel:
        """In a thread: pictures that are at work at the same time share the CPUs, one alone has them all."""
        if self.gpu:
            return embed(predictor, order)
        use_cpus(self._share())
        # The large ones are the last: they are to have all as soon as they are alone.
        with sharing(self._share):
            return embed(predictor, order)

    def _share(self) -> int:
        """CPUs for each picture that is at work."""
        return max(1, int(self.cpus / max(1, self.workshop.at_work)))

    async def info(self) -> ModelInfo:
        """What serves."""
        return self.holder.current.info

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=BATCH_WAIT_S)
    async def _together(self, asked: list[tuple[LineModel, Pixels, Check | None]]) -> list[Maps | Exception]:
        """Maps of pictures that came at about the same time; a model that was just replaced does its last ones."""
        return await asyncio.to_thread(_by_model, asked)


class _Shared:
    """Stands in for a model: its pictures wait for others to go through the network with."""

    def __init__(self, model: LineModel, together: Together, loop: asyncio.AbstractEventLoop) -> None:
        self._model = model
        self._together = together
        self._loop = loop

    def maps(self, pixels: Pixels, check: Check | None = None, *_asked: Any) -> Maps:
        """See `LineModel.maps`; called in a thread. On a GPU all that could be asked takes hardly more than some."""
        found = asyncio.run_coroutine_threadsafe(self._together((self._model, pixels, check)), self._loop).result()
        if isinstance(found, Exception):
            raise found
        return found


def _by_model(asked: Sequence[tuple[LineModel, Pixels, Check | None]]) -> list[Maps | Exception]:
    found: dict[int, Maps | Exception] = {}
    for model in {id(model): model for model, *_ in asked}.values():
        members = [i for i, (each, *_) in enumerate(asked) if each is model]
        pictures, checks = [asked[i][1] for i in members], [asked[i][2] for i in members]
        found |= dict(zip(members, maps_together(model, pictures, checks), strict=True))
    return [found[i] for i in range(len(asked))]


class Clusterer(Replica):
    """Groups and traces what was embedded, and writes the answer.

    Args:
        settings: Of the service.
        methods: Groupers that are tried before any work is taken; None: all.
    """

    def __init__(self, settings: ServiceSettings, methods: Sequence[str] | None) -> None:
        super().__init__(settings)
        warm_up(load_model(device="cpu").predictor, methods)
        keep_objects()

    async def answer(self, parcel: Parcel, kind: str, options: Mapping[str, Any]) -> Reply:
        """See `linegroup.serving.work.answer`."""
        with working_on(parcel.request_id):
            return await self.workshop.do(answer, parcel, kind, options)


class Ingress(Replica):
    """Takes requests: the HTTP interface of `linegroup.serving`, with the other deployments as its stages.

    Args:
        settings: Of the service.
        embedder: Handle of `Embedder`.
        clusterer: Handle of `Clusterer`.
    """

    def __init__(self, settings: ServiceSettings, embedder: Handle, clusterer: Handle) -> None:
        super().__init__(settings)
        self.settings = settings
        self.stages = RayStages(embedder, clusterer, settings.retry_after_s)
        self.draining = Draining()
        keep_objects()

    def __serve_build_asgi_app__(self) -> FastAPI:
        app = build_api(self.settings, self.stages, replica=serve.get_replica_context().replica_id.unique_id)
        app.add_middleware(self.draining.middleware)
        app.add_middleware(OneRequestId)
        return app

    async def drain(self, seconds: float) -> int:
        """Take no more requests and wait for those that are in.

        Returns:
            How many are left after that time.
        """
        return await self.draining.drain(seconds)


def assigned(resource: str) -> float:
    """How much of it this replica was given."""
    given: dict[str, float] = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
    return given.get(resource, 0.0)


def use_cpus(cpus: float) -> None:
    """Let torch, OpenCV and compiled loops use so much of the machine, and no more."""
    threads = max(1, int(cpus))
    use_threads(threads)
    use_torch_threads(threads)
    cv2.setNumThreads(threads)
