"""The HTTP interface, asked over a socket."""

import asyncio
import io
import json
import logging
import math
import socket
import threading
import time

import pytest
from PIL import Image

from linegroup.serving.answers import Reply
from linegroup.serving.formats import FORMATS, format_accepted
from linegroup.serving.logs import JsonFormatter
from linegroup.serving.schema import ClusterAnswer, ModelInfo
from linegroup.serving.stages import Overloaded
from linegroup.serving.telemetry import Telemetry
from linegroup.wire import ModelRecord, from_json

MODEL = ModelRecord(name="held", version="1")


class Held:
    """Answers when it is told to, by the picture's content; remembers what was cancelled."""

    def __init__(self):
        self.begun, self.cancelled = [], []
        self.free = {}
        self.is_ready = True

    def let_go(self, content):
        self.free.setdefault(content, threading.Event()).set()

    async def run(self, order):
        self.begun.append(order)
        if order.content == b"broken":
            raise RuntimeError("a secret of ours")
        if order.content == b"busy":
            raise Overloaded("All replicas are busy.", 7)
        gate = self.free.setdefault(order.content, threading.Event())
        try:
            while not gate.is_set():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled.append(order.content)
            raise
        return Reply(b'{\n "a": 1\n}\n', "application/json", ".json", 1, MODEL, {"group": 1.0})

    async def info(self):
        return ModelInfo(name="held", version="1", metrics={}, parameters={})

    async def ready(self):
        return self.is_ready


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def client(serve, local_stages, tmp_path_factory):
    web = tmp_path_factory.mktemp("web")
    (web / "index.html").write_text("<!doctype html><title>t</title>")
    (web / "app.js").write_text("export {};\n" * 2000)
    (web.parent / "secret.txt").write_text("secret")
    with serve(local_stages, web=web) as client:
        yield client


@pytest.fixture
def held():
    return Held()


def send(client, path, png, **fields):
    return client.post(path, files={"file": ("chart.png", png)}, data=fields)


def test_a_request_of_the_reference_service_works_unchanged(client, chart_png):
    reply = send(
        client, "/v1/cluster", chart_png,
        clustering_method="hdbscan", eps="0.5", min_samples="5", l2_normalize="true", auto_eps="false", auto_eps_k="10",
        auto_eps_q="0.9", use_spatial="True", spatial_weight="0.1", candidate_method="non_white", white_threshold="245",
        canny_threshold1="50", canny_threshold2="150", canny_aperture_size="3", canny_l2gradient="false",
        canny_dilate_iter="1", max_candidate_points="20000",
    )  # fmt: skip
    assert reply.status_code == 200, reply.text
    found = ClusterAnswer.model_validate(reply.json())
    assert found.meta.parameters["use_spatial"] is True
    assert found.meta.parameters["method"] == "hdbscan"
    assert found.meta.parameters["max_candidate_points"] == 20000
    assert found.num_clusters == len(found.clusters) == len(found.cluster_pixel_values)
    assert {"decode", "embed", "group", "write"} <= set(found.meta.timings_ms)


def test_what_is_not_given_comes_from_the_model(client, chart_png, tiny_predictor):
    used = send(client, "/v1/cluster", chart_png, eps="").json()["meta"]["parameters"]
    assert used["eps"] == tiny_predictor.grouping.eps
    assert used["method"] == "link"


def test_lines_equal_predict(client, chart_png, tiny_predictor):
    found = from_json(send(client, "/v1/lines", chart_png).content)
    expected = tiny_predictor.predict_bytes(chart_png, "chart.png").document
    assert found.lines == expected.lines
    assert (found.image, found.model) == (expected.image, expected.model)
    assert found.lines


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("eps", "nan"), ("eps", "-1"), ("eps", "inf"), ("eps", "1e308"), ("eps", "x"), ("min_samples", "0"),
        ("min_samples", "-1"), ("min_samples", str(2**63)), ("canny_aperture_size", "4"), ("white_threshold", "256"),
        ("clustering_method", "magic"), ("candidate_method", "all"), ("auto_eps_q", "1.5"), ("max_work", "1"),
        ("epz", "1"), ("mask", "gif"), ("format", "exe"), ("use_spatial", "maybe"), ("seed", "1e3x"),
    ],
)  # fmt: skip
def test_wrong_fields_are_named(client, chart_png, field, value):
    reply = send(client, "/v1/lines", chart_png, **{field: value})
    assert (reply.status_code, reply.json()["error"]["field"]) == (422, field)
    assert field in reply.json()["error"]["message"]


def test_the_nearest_name_is_told(client, chart_png):
    assert "'eps'" in send(client, "/v1/cluster", chart_png, epz="1").json()["error"]["message"]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_formats_by_name_and_by_accept(client, chart_png, name):
    by_name = send(client, "/v1/lines", chart_png, format=name)
    assert by_name.status_code == 200, by_name.text
    assert by_name.headers["content-type"].startswith(FORMATS[name].media_type)
    assert FORMATS[name].exporter.suffix in by_name.headers["content-disposition"]
    by_type = client.post(
        "/v1/lines", files={"file": ("chart.png", chart_png)}, headers={"Accept": FORMATS[name].media_type}
    )
    if FORMATS[name].media_type != "text/csv" or name == "csv":
        assert len(by_type.content) == pytest.approx(len(by_name.content), abs=60)
    else:
        assert by_type.status_code == 200


@pytest.mark.parametrize(
    ("accept", "name"),
    [("", "json"), ("*/*", "json"), ("text/csv", "csv"), ("image/*", "svg"), ("text/html", None),
     ("text/html, application/json;q=0.9, */*;q=0.8", "json"), ("image/png;q=1, image/svg+xml;q=0.5", "label_png"),
     ("application/json;q=0, text/csv;q=0.1", "csv"), ("*/*;q=0", None), ("text/csv;q=x", None), (";;,,", None)],
)  # fmt: skip
def test_accept(accept, name):
    assert format_accepted(accept) == name


def test_nothing_acceptable_is_406(client, chart_png):
    reply = client.post("/v1/lines", files={"file": ("a.png", chart_png)}, headers={"Accept": "text/html"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (406, "not_acceptable")


def test_masks(client, chart_png):
    rle, none, labelled = (send(client, "/v1/lines", chart_png, mask=m).json() for m in ("rle", "none", "png"))
    assert all(line["mask"]["counts"] for line in rle["lines"])
    assert not any(line["mask"] for line in none["lines"] + labelled["lines"])
    import base64

    labels = Image.open(io.BytesIO(base64.b64decode(labelled["labels_png"])))
    assert labels.size == (140, 90)
    assert labels.getextrema()[1] == len(rle["lines"])


def test_every_answer_has_an_id_and_headers(client):
    for path, status in (("/health", 200), ("/nothing", 404), ("/v1/lines", 405), ("/metrics", 200)):
        reply = client.get(path, headers={"X-Request-ID": "my-id.1"})
        assert (reply.status_code, reply.headers["x-request-id"]) == (status, "my-id.1")
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
        if status != 200:
            assert reply.json()["request_id"] == "my-id.1"
    odd = client.get("/health", headers={"X-Request-ID": "a b<script>"}).headers["x-request-id"]
    assert len(odd) == 32
    unsigned = client.get("/docs", auth=("admin", "no"))
    assert (unsigned.status_code, len(unsigned.headers["x-request-id"])) == (401, 32)


def test_the_page_and_its_policy(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert client.get("/web/app.js").headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "path",
    ["/web/../secret.txt", "/web/%2e%2e/secret.txt", "/web/..%2fsecret.txt", "/web//etc/passwd", "/web/%00", "/web/"],
)
def test_nothing_outside_the_pages_folder(client, path):
    reply = client.get(path)
    assert reply.status_code == 404
    assert "secret" not in reply.text


def test_ranges_of_files_are_not_served(client):
    ranges = ",".join(f"{k}-{k}" for k in range(5000))
    started = time.process_time()
    reply = client.get("/web/app.js", headers={"Range": f"bytes={ranges}"})
    assert (reply.status_code, len(reply.content)) == (200, 22000)
    assert time.process_time() - started < 1


def test_docs_need_no_scripts_and_name_everything(client):
    page = client.get("/docs").text
    assert "<script" not in page
    assert "clustering_method" in page
    assert "/v1/lines" in page
    tree = client.get("/openapi.json").json()
    fields = tree["paths"]["/v1/cluster"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"file", "eps", "canny_l2gradient", "max_candidate_points"} <= set(fields["properties"])
    assert fields["required"] == ["file"]
    assert {"400", "401", "413", "415", "422", "503", "504"} <= set(tree["paths"]["/v1/lines"]["post"]["responses"])
    assert "#/components/schemas/ClusterAnswer" in json.dumps(tree["paths"]["/v1/cluster"])


def test_the_model_is_told_without_nan(client):
    info = client.get("/model/info").json()
    assert (info["version"], info["metrics"]["val_loss"]) == ("7", None)


def test_ready_follows_the_model(serve, held):
    with serve(held) as client:
        assert client.get("/ready").json() == {"status": "ready"}
        held.is_ready = False
        reply = client.get("/ready")
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        assert client.get("/health").status_code == 200


def test_figures_of_every_stage(client, chart_png):
    send(client, "/v1/cluster", chart_png)
    text = client.get("/metrics", auth=None).text
    for stage in ("decode", "embed", "group", "write"):
        assert f'linegroup_stage_seconds_count{{stage="{stage}"}}' in text
    assert 'linegroup_http_requests_total{method="POST",route="/v1/cluster",status="200"}' in text
    assert "linegroup_requests_in_flight 0.0" in text
    for path in ("/nothing/1", "/nothing/2"):
        client.get(path)
    assert "/nothing" not in client.get("/metrics").text


def test_batches_come_as_they_are_done(serve, held):
    with serve(held, batch_parallel=3) as client:
        names = [b"one", b"two", b"three", b"broken"]
        files = [("files", (name.decode(), name)) for name in names]
        with client.stream("POST", "/v1/lines", files=files) as reply:
            assert reply.headers["content-type"] == "application/x-ndjson"
            rows = reply.iter_lines()
            for name in (b"three", b"one", b"two"):
                held.let_go(name)
                row = json.loads(next(rows))
                while row["name"] == "broken":
                    assert row["error"]["code"] == "internal_error"
                    assert "secret" not in json.dumps(row)
                    row = json.loads(next(rows))
                assert row == {"index": names.index(name), "name": name.decode(), "status": 200, "document": {"a": 1}}
        assert len(held.begun) == 4


def test_one_or_many(client, chart_png):
    both = [("file", ("a", chart_png)), ("files", ("b", chart_png))]
    assert client.post("/v1/lines", files=both).json()["error"]["field"] == "file"
    many = client.post("/v1/lines", files=[("files", ("b", chart_png))], data={"format": "csv"})
    assert (many.status_code, many.json()["error"]["field"]) == (422, "format")


def test_the_queue_is_bounded(serve, held):
    with serve(held, max_queued_requests=2, retry_after_s=3) as client:
        waiting = [threading.Thread(target=send, args=(client, "/v1/lines", b"slow")) for _ in range(2)]
        for thread in waiting:
            thread.start()
        until(lambda: len(held.begun) == 2)
        for files in ({"file": b"x"}, [("files", b"x")]):
            started = time.monotonic()
            reply = client.post("/v1/lines", files=files)
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "3")
            assert time.monotonic() - started < 5
        assert "linegroup_requests_in_flight 2.0" in client.get("/metrics").text
        held.let_go(b"slow")
        for thread in waiting:
            thread.join()
        until(lambda: "linegroup_requests_in_flight 0.0" in client.get("/metrics").text)
        held.let_go(b"x")
        assert client.post("/v1/lines", files={"file": b"x"}).status_code == 200


def test_what_replicas_refuse_is_passed_on(serve, held):
    with serve(held) as client:
        reply = send(client, "/v1/lines", b"busy")
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "7")
        reply = send(client, "/v1/lines", b"broken")
        assert reply.status_code == 500
        assert "secret" not in reply.text


def test_time_runs_out(serve, held):
    with serve(held, request_timeout_s=0.3) as client:
        reply = send(client, "/v1/cluster", b"slow")
        assert (reply.status_code, reply.json()["error"]["code"]) == (504, "timeout")
        until(lambda: held.cancelled == [b"slow"])
        assert held.begun[0].deadline == pytest.approx(time.time(), abs=30)
        rows = client.post("/v1/lines", files=[("files", b"slow")]).text.splitlines()
        assert json.loads(rows[0])["status"] == 504


@pytest.mark.parametrize("field", ["file", "files"])
def test_who_leaves_cancels_the_work(serve, held, field):
    with serve(held) as client:
        form = client.build_request("POST", "/v1/lines", files=[(field, ("a", b"slow"))])
        body = form.read()
        head = f"POST /v1/lines HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        head += f"Content-Type: {form.headers['content-type']}\r\n"
        head += f"Authorization: {client.auth._auth_header}\r\n\r\n"
        with socket.create_connection((client.base_url.host, client.base_url.port)) as sock:
            sock.sendall(head.encode() + body)
            until(lambda: held.begun)
        until(lambda: held.cancelled == [b"slow"])
        until(lambda: "linegroup_requests_in_flight 0.0" in client.get("/metrics").text)
        assert 'outcome="client_gone"' in client.get("/metrics").text


def test_logs_are_json_with_ids_and_without_what_is_private(serve, held, caplog):
    formatter = JsonFormatter()
    rows = []

    class Keep(logging.Handler):
        def emit(self, record):
            rows.append(formatter.format(record))

    logger = logging.getLogger("linegroup")
    handler, level = Keep(), logger.level
    logger.addHandler(handler)
    logger.setLevel("DEBUG")
    try:
        with serve(held) as client:
            held.let_go(b"picture-of-mine")
            client.post(
                "/v1/lines", files={"file": ("private-name.png", b"picture-of-mine")}, headers={"X-Request-ID": "id-1"}
            )
            send(client, "/v1/lines", b"broken")
            client.get("/health", auth=("admin", "wrong-password"))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    trees = [json.loads(row) for row in rows]
    answered = [tree for tree in trees if tree["message"] == "answered"]
    assert (answered[0]["request_id"], answered[0]["route"], answered[0]["status"]) == ("id-1", "/v1/lines", 200)
    assert any("RuntimeError" in tree.get("exception", "") for tree in trees)
    text = "\n".join(rows)
    for private in ("picture-of-mine", "private-name", "correct horse", "wrong-password", "Basic "):
        assert private not in text


def test_numbers_are_finite(client, chart_png):
    def strict(text):
        raise AssertionError(text)

    for path in ("/v1/lines", "/v1/cluster"):
        json.loads(send(client, path, chart_png).content, parse_constant=strict)
    json.loads(client.get("/model/info").content, parse_constant=strict)
    assert math.isfinite(client.get("/model/info").json()["metrics"]["val_ari"])


def test_figures_of_several_processes_are_told_apart():
    found = {}
    for name in ("a", "b"):
        telemetry = Telemetry(lambda: 3, name)
        telemetry.answered("/v1/lines", "POST", 200, 0.1)
        found[name] = set(telemetry.text().decode().splitlines())
    assert 'linegroup_requests_in_flight{replica="a"} 3.0' in found["a"]
    assert not any("{" in line for line in found["a"] & found["b"]), "no series is of both"
    (asked,) = [line for line in found["b"] if line.startswith("linegroup_http_requests_total")]
    assert 'replica="b"' in asked
    assert 'status="200"' in asked
