"""The stages on Ray without Ray: retries, errors, giving up, health; handles are played."""

import asyncio
import json
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from ray.exceptions import ActorDiedError, ActorUnavailableError, OwnerDiedError, RayTaskError
from ray.serve._private import http_util
from ray.serve.config import HTTPOptions
from ray.serve.exceptions import BackPressureError, RayServeException

from linegroup.backbones.threads import share, use_torch_threads
from linegroup.distributed.serving import readiness, replicas
from linegroup.distributed.serving.draining import Draining
from linegroup.distributed.serving.proxied import PROXY_MIDDLEWARES, PROXY_SETTING, OneRequestId
from linegroup.distributed.serving.readiness import Readiness
from linegroup.distributed.serving.replicas import Clusterer, Embedder
from linegroup.distributed.serving.stages import RayStages, cause_of
from linegroup.distributed.serving.workshop import Stuck, Workshop
from linegroup.images import TooManyPixels
from linegroup.serving.api import build_api
from linegroup.serving.schema import ModelInfo
from linegroup.serving.settings import ServiceSettings
from linegroup.serving.stages import Overloaded
from linegroup.serving.tracing import CURRENT
from linegroup.serving.work import Late, Order

ORDER = Order(b"picture")
INFO = ModelInfo(name="m", version="1", metrics={}, parameters={})


class Response:
    """As a `DeploymentResponse`: awaited once, cancelled from outside."""

    def __init__(self, outcome):
        self.outcome = outcome
        self.cancelled = False

    def __await__(self):
        return self._wait().__await__()

    async def _wait(self):
        outcome = self.outcome
        if isinstance(outcome, Response):
            outcome = await outcome
        if outcome is None:
            await asyncio.Event().wait()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def cancel(self):
        self.cancelled = True


class Method:
    """A method of a handle that answers with one outcome after the other."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.calls = []
        self.responses = []

    def remote(self, *args):
        self.calls.append(args)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        self.responses.append(Response(outcome))
        return self.responses[-1]


class Handle:
    def __init__(self, **methods):
        vars(self).update(methods)


def stages(embed=("parcel",), answer=("reply",), info=(INFO,), ask=None):
    embedder = Handle(embed=Method(*embed), info=Method(*info))
    clusterer = Handle(answer=Method(*answer))
    return RayStages(embedder, clusterer, retry_after_s=7, ask=ask), embedder, clusterer


def in_task(error: Exception) -> RayTaskError:
    """As Ray raises what a replica raised: of both types, the message a whole traceback."""
    return RayTaskError("answer", "Traceback (most recent call last): secret", error).as_instanceof_cause()


def upstream() -> RayServeException:
    error = RayServeException("an upstream actor died")
    error.__cause__ = ActorDiedError()
    return error


def owner_died() -> OwnerDiedError:
    return OwnerDiedError("00" * 28, None, "")


LOST = [ActorDiedError, ActorUnavailableError, lambda: in_task(ActorDiedError()), upstream, owner_died]


def unavailable(make):
    return make("gone", None) if make is ActorUnavailableError else make()


@pytest.mark.parametrize("make", LOST)
def test_picture_is_done_again_when_a_replica_dies(make):
    subject, embedder, clusterer = stages(answer=(unavailable(make), unavailable(make), "reply"))
    assert asyncio.run(subject.run(ORDER)) == "reply"
    assert len(embedder.embed.calls) == 3
    # The embedder's response itself is handed on, not what is in it.
    assert [call[0] for call in clusterer.answer.calls] == embedder.embed.responses


def test_retries_are_bounded():
    subject, embedder, _ = stages(answer=(ActorDiedError(),))
    with pytest.raises(Overloaded) as caught:
        asyncio.run(subject.run(ORDER))
    assert len(embedder.embed.calls) == 3
    assert caught.value.retry_after_s == 7


MISTAKES = [TooManyPixels("too large"), Late("late"), ValueError("a bug"), MemoryError()]


@pytest.mark.parametrize("error", MISTAKES, ids=lambda error: type(error).__name__)
def test_other_errors_are_not_retried(error):
    subject, embedder, _ = stages(answer=(in_task(error),))
    with pytest.raises(type(error)):
        asyncio.run(subject.run(ORDER))
    assert len(embedder.embed.calls) == 1


def test_users_error_is_told_as_it_was_raised():
    """Ray's own message of it is a traceback, with paths of ours."""
    subject, *_ = stages(answer=(in_task(TooManyPixels("too large")),))
    with pytest.raises(TooManyPixels) as caught:
        asyncio.run(subject.run(ORDER))
    assert str(caught.value) == "too large"
    assert type(caught.value) is TooManyPixels


def test_full_queues_are_an_overload():
    subject, *_ = stages(answer=(BackPressureError(9, 9),))
    with pytest.raises(Overloaded) as caught:
        asyncio.run(subject.run(ORDER))
    assert caught.value.retry_after_s == 7


def test_both_stages_are_told_when_nobody_waits():
    subject, embedder, clusterer = stages(answer=(None,))

    async def leave():
        async with asyncio.timeout(0.05):
            await subject.run(ORDER)

    with pytest.raises(TimeoutError):
        asyncio.run(leave())
    assert embedder.embed.responses[0].cancelled
    assert clusterer.answer.responses[0].cancelled


def test_no_replica_has_no_model_to_tell_of(monkeypatch):
    monkeypatch.setattr("linegroup.distributed.serving.stages._ASK_S", 0.05)
    subject, *_ = stages(info=(None,))
    with pytest.raises(Overloaded):
        asyncio.run(subject.info())


def test_what_has_just_answered_is_ready_without_a_question():
    asked = []
    subject, embedder, _ = stages(ask=lambda: asked.append(1))
    assert asyncio.run(subject.run(ORDER)) == "reply"
    assert asyncio.run(subject.ready())
    assert not asked
    assert not embedder.info.calls, "no place of a picture is taken"


@pytest.mark.parametrize("outcome", [True, False, RuntimeError("no controller"), KeyError("linegroup")])
def test_ready_by_what_serve_says_and_errors_mean_no(outcome):
    asked = []

    def ask():
        asked.append(1)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    subject, embedder, _ = stages(ask=ask)

    async def scene():
        return await asyncio.gather(*(subject.ready() for _ in range(50))), await subject.ready()

    together, later = asyncio.run(scene())
    assert {*together, later} == {outcome is True}
    # However many want to know: one question, and a no is remembered for a moment.
    assert len(asked) == (2 if outcome is True else 1)
    assert not embedder.info.calls


@pytest.mark.parametrize(
    ("running", "expected"),
    [
        ({"Embedder": 1, "Clusterer": 2}, True),
        ({"Embedder": 1, "Clusterer": 0}, False),  # it still compiles: the first picture would wait for it
        ({"Embedder": 0, "Clusterer": 1}, False),
        ({"Embedder": 1}, False),
        ({}, False),
    ],
)
def test_ready_is_when_both_stages_run(monkeypatch, running, expected):
    deployments = {
        name: SimpleNamespace(replica_states={"RUNNING": count, "STARTING": 1}) for name, count in running.items()
    }
    status = SimpleNamespace(applications={"app": SimpleNamespace(deployments=deployments)})
    monkeypatch.setattr(readiness.serve, "status", lambda: status)
    handles = [SimpleNamespace(app_name="app", deployment_name=name) for name in ("Embedder", "Clusterer")]
    assert readiness.replicas_run(*handles) is expected
    assert not readiness.replicas_run(SimpleNamespace(app_name="another", deployment_name="Embedder"))


def test_a_question_that_hangs_is_not_asked_twice(monkeypatch):
    monkeypatch.setattr(readiness, "ASK_S", 0.02)
    monkeypatch.setattr(readiness, "NO_S", 0.0)
    release, asked = threading.Event(), []

    def ask():
        asked.append(1)
        return release.wait(20)

    async def scene():
        subject = Readiness(ask)
        assert [await subject.now() for _ in range(5)] == [False] * 5
        release.set()
        monkeypatch.setattr(readiness, "ASK_S", 20)
        assert await subject.now()

    asyncio.run(scene())
    assert len(asked) <= 2


def test_cause_of_what_is_unknown_is_itself():
    error = RuntimeError("x")
    assert cause_of(error) is error
    wrapped = in_task(KeyError("x"))
    assert cause_of(wrapped) is wrapped


def test_work_that_hangs_is_unhealthy():
    release = threading.Event()

    async def scene():
        shop = Workshop(1, 0.1)
        shop.check()
        doing = asyncio.ensure_future(shop.do(release.wait, 20))
        await asyncio.sleep(0.3)
        with pytest.raises(Stuck):
            shop.check()
        release.set()
        assert await doing
        shop.check()

    asyncio.run(scene())


def test_waiting_work_is_given_up_and_begun_work_ends():
    begun, release, done = threading.Event(), threading.Event(), []

    def work(name):
        begun.set()
        release.wait(20)
        done.append(name)

    async def scene():
        shop = Workshop(1, 60)
        first, second = (asyncio.ensure_future(shop.do(work, name)) for name in "ab")
        await asyncio.to_thread(begun.wait, 20)
        first.cancel()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert not first.done(), "the replica is not free before the work has ended"
        first.cancel()
        await asyncio.sleep(0.05)
        assert not first.done(), "nor for one who cancels twice"
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(scene())
    assert done == ["a"]


def test_draining_finishes_what_is_in_and_refuses_what_comes():
    async def scene():
        draining, release = Draining(), asyncio.Event()

        async def app(scope, receive, send):
            await release.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        around = draining.middleware(app)
        sent = []

        async def send(message):
            sent.append(message)

        inside = asyncio.ensure_future(around({"type": "http"}, None, send))
        await asyncio.sleep(0)
        assert await draining.drain(0.05) == 1
        await around({"type": "http"}, None, send)
        headers = dict(sent[0]["headers"])
        assert (sent[0]["status"], headers[b"retry-after"]) == (503, b"5")
        ending = asyncio.ensure_future(draining.drain(30))
        started = time.monotonic()
        release.set()
        assert await ending == 0
        assert time.monotonic() - started < 10
        await inside
        assert sent[-1]["status"] == 200

    asyncio.run(scene())


def test_request_id_is_left_to_the_proxy():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "headers": [(b"x-request-id", b"1"), (b"a", b"b")]})
        await send({"type": "http.response.body", "body": b""})

    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(OneRequestId(app)({"type": "http"}, None, send))
    assert sent[0]["headers"] == [(b"a", b"b")]
    assert len(sent) == 2


@pytest.mark.parametrize("given", [b"plain-1.2_3", b"a b<script>", b"\xff", b"x" * 65, b"", None])
def test_header_and_body_say_one_request_id_behind_rays_proxy(monkeypatch, given):
    monkeypatch.setattr(http_util, PROXY_SETTING, PROXY_MIDDLEWARES)
    middlewares = http_util.configure_http_middlewares(HTTPOptions()).middlewares
    settings = ServiceSettings.read(_env_file=None, api_auth_token="0123456789abcdef-xyz")
    app = build_api(settings, None)
    app.add_middleware(OneRequestId)
    sent = []

    async def send(message):
        sent.append(message)

    headers = [] if given is None else [(b"x-request-id", given)]
    scope = {"type": "http", "method": "GET", "path": "/model/info", "headers": headers, "query_string": b""}
    asyncio.run(http_util._apply_middlewares(app, middlewares)(scope, None, send))
    ids = [value.decode() for name, value in sent[0]["headers"] if name.lower() == b"x-request-id"]
    assert ids == [json.loads(sent[1]["body"])["request_id"]]
    if given == b"plain-1.2_3":
        assert ids == [given.decode()]
    else:
        assert 32 <= len(ids[0]) <= 36


def test_what_replicas_log_is_of_the_request(monkeypatch, tiny_predictor, chart_png):
    seen = []
    for name in ("embed", "answer"):
        real = getattr(replicas, name)
        monkeypatch.setattr(replicas, name, lambda *given, real=real: seen.append(CURRENT.get()) or real(*given))

    async def scene():
        embedder, clusterer = Embedder.__new__(Embedder), Clusterer.__new__(Clusterer)
        embedder.gpu, embedder.holder = False, SimpleNamespace(current=SimpleNamespace(predictor=tiny_predictor))
        embedder.workshop = clusterer.workshop = Workshop(1, 60)
        embedder.cpus = 1.0
        parcel = await embedder.embed(Order(chart_png, request_id="id-7"))
        reply = await clusterer.answer(parcel, "lines", {})
        assert CURRENT.get() == ""
        return reply

    assert asyncio.run(scene()).lines
    assert seen == ["id-7", "id-7"]


def test_pictures_at_the_same_time_share_the_cpus(monkeypatch, tiny_predictor, chart_png):
    given, seen, met, alone = [], [], threading.Barrier(2), threading.Event()
    monkeypatch.setattr(replicas, "use_cpus", given.append)

    def embed(_, order):
        met.wait(10)
        if order.request_id == "long":
            assert alone.wait(10)
        share()
        seen.append(torch.get_num_threads())

    monkeypatch.setattr(replicas, "embed", embed)

    async def scene():
        embedder = Embedder.__new__(Embedder)
        embedder.gpu, embedder.holder = False, SimpleNamespace(current=SimpleNamespace(predictor=tiny_predictor))
        embedder.workshop, embedder.cpus = Workshop(2, 60), 4.0
        long = asyncio.create_task(embedder.embed(Order(chart_png, request_id="long")))
        await embedder.embed(Order(chart_png, request_id="short"))
        alone.set()
        await long
        monkeypatch.setattr(replicas, "embed", lambda *_: None)
        await embedder.embed(Order(chart_png))

    asyncio.run(scene())
    use_torch_threads(torch.get_num_threads())  # later threads have what was said last
    assert given[1:] == [2, 4]
    assert seen == [2, 4]
