"""What the service tells of itself: counters and histograms for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.registry import Collector

from linegroup.serving.answers import Reply

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Telemetry:
    """The figures of one HTTP process, in a registry of its own.

    Args:
        in_flight: How many requests are at work or waiting, asked when somebody looks.
        replica: Which of several processes behind one address this is, as a label of every figure; "": the only one.
    """

    def __init__(self, in_flight: Callable[[], int], replica: str = "") -> None:
        self.registry = CollectorRegistry()
        self._replica = replica
        self._requests = Counter(
            "linegroup_http_requests", "Answers.", ["route", "method", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "linegroup_http_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "linegroup_stage_seconds", "Work on a picture.", ["stage"], buckets=_SECONDS, registry=self.registry
        )
        self._pictures = Counter(
            "linegroup_pictures", "Pictures by what became of them.", ["kind", "outcome"], registry=self.registry
        )
        self._lines = Counter("linegroup_lines", "Lines found.", registry=self.registry)
        self._bytes = Counter("linegroup_picture_bytes", "Encoded pictures taken in.", registry=self.registry)
        gauge = Gauge("linegroup_requests_in_flight", "At work or waiting.", registry=self.registry)
        gauge.set_function(in_flight)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def done(self, kind: str, size: int, reply: Reply) -> None:
        """A picture of `size` bytes was done."""
        self._pictures.labels(kind, "done").inc()
        self._bytes.inc(size)
        self._lines.inc(reply.lines)
        self.stages(reply.timings_ms)

    def failed(self, kind: str, code: str) -> None:
        """A picture was not done."""
        self._pictures.labels(kind, code).inc()

    def stages(self, timings_ms: Mapping[str, float]) -> None:
        """What a picture's stages took."""
        for stage, milliseconds in timings_ms.items():
            self._stages.labels(stage).observe(milliseconds / 1e3)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(_Of(self._replica, self.registry) if self._replica else self.registry)


class _Of(Collector):
    """Figures with the label `replica`: those of another process are other series, not the same ones jumping."""

    def __init__(self, replica: str, figures: Collector) -> None:
        self._replica = replica
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        for metric in self._figures.collect():
            labelled = [each._replace(labels={**each.labels, "replica": self._replica}) for each in metric.samples]
            metric.samples = labelled
            yield metric
