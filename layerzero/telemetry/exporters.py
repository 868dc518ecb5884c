"""Metrics -> Prometheus' text and page, or the OpenTelemetry API. Nothing listens or sends until it is asked to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any, Literal, Protocol

from layerzero.errors import ArgumentError, MissingDependencyError
from layerzero.runtime.record import Called
from layerzero.syntax.visible import visible
from layerzero.telemetry.counting import BOUNDS, Row
from layerzero.telemetry.feed import FEED, Deciding, Feed
from layerzero.telemetry.metrics import Family, Metrics

Kind = Literal["prometheus", "opentelemetry"]

_SAME_MOMENT = 0.05  # seconds
_MISSING = "{} needs {}: pip install 'layerzero[telemetry]'"


class MetricsExporter(Protocol):
    """What `get_metrics_exporter` returns."""

    def export(self) -> str:
        """The numbers as of now, as text."""
        ...

    def close(self) -> None:
        """Stop counting, serving and sending."""
        ...


_made: dict[str, MetricsExporter] = {}
_making = threading.Lock()


def get_metrics_exporter(kind: Kind = "prometheus") -> Any:
    """The exporter of this process, which counts from the first time that it is asked for.

    Args:
        kind: "prometheus": `export()` returns exposition text, `serve(port)` answers scrapes; or "opentelemetry":
            instruments of the application's own meter provider, `export()` flushes it and returns the numbers as JSON.

    Raises:
        ArgumentError: There is no such kind.
        MissingDependencyError: The extra `telemetry` is not installed.
    """
    made: dict[str, type[PrometheusExporter] | type[OpenTelemetryMetrics]]
    made = {"prometheus": PrometheusExporter, "opentelemetry": OpenTelemetryMetrics}
    if kind not in made:
        raise ArgumentError(f"argument `kind`: wanted one of {', '.join(made)}, given {kind!r}")
    with _making:
        if kind not in _made:
            _made[kind] = made[kind]()
        return _made[kind]


class PrometheusExporter:
    """Metrics in a registry of their own. Calls pay for counting only; the text is made when somebody asks."""

    def __init__(self, feed: Feed = FEED) -> None:
        try:
            import prometheus_client
        except ImportError as error:
            raise MissingDependencyError(_MISSING.format("Prometheus", "prometheus-client")) from error
        self._client = prometheus_client
        self.metrics = Metrics(feed)
        self.registry = prometheus_client.CollectorRegistry(auto_describe=False)
        self.registry.register(_Collector(self.metrics))
        self._servers: list[Served] = []

    def export(self) -> str:
        """Prometheus' exposition text."""
        return self._client.generate_latest(self.registry).decode("utf-8")

    def serve(self, port: int = 9464, host: str = "127.0.0.1") -> Served:
        """Answer scrapes over HTTP, on this machine alone unless `host` says otherwise.

        Args:
            port: 0 takes a free one.
            host: The address to listen at; "0.0.0.0" is every interface.

        Returns:
            The server: `.port`, `.close()`.

        Raises:
            OSError: The port is taken.
        """
        server, thread = self._client.start_http_server(port, addr=host, registry=self.registry)
        served = Served(server, thread)
        self._servers.append(served)
        return served

    def close(self) -> None:
        self.metrics.close()
        while self._servers:
            self._servers.pop().close()


class Served:
    """An endpoint that answers until it is closed."""

    def __init__(self, server: Any, thread: threading.Thread) -> None:
        self._server, self._thread = server, thread
        self.host: str = server.server_address[0]
        self.port: int = server.server_address[1]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Collector:
    """Reads the metrics at each scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        shown: Any
        for family in self._metrics.families():
            if family.kind == "histogram":
                shown = HistogramMetricFamily(family.name, family.help, labels=family.labels)
                for labels, row in family.samples:
                    assert isinstance(row, Row)
                    shown.add_metric(labels, list(_cumulative(row)), row.sum)
            else:
                kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
                shown = kind(family.name, family.help, labels=family.labels)
                for labels, value in family.samples:
                    shown.add_metric(labels, value)
            yield shown


def _cumulative(row: Row) -> Iterator[tuple[str, int]]:
    total = 0
    for bound, count in zip((*map(repr, BOUNDS), "+Inf"), row.buckets, strict=True):
        total += count
        yield bound, total


class OpenTelemetryMetrics:
    """The same numbers as instruments of the OpenTelemetry API.

    Where they go is the application's meter provider's to say; without one they go nowhere, and nothing is sent.
    """

    def __init__(self, feed: Feed = FEED, provider: Any = None) -> None:
        try:
            from opentelemetry import metrics as api
        except ImportError as error:
            raise MissingDependencyError(_MISSING.format("OpenTelemetry", "opentelemetry-api")) from error
        self._provider = provider if provider is not None else api.get_meter_provider()
        self._observation = api.Observation
        self.metrics = Metrics(feed)
        self._read: dict[str, Family] = {}
        self._read_at = float("-inf")
        meter = self._provider.get_meter("layerzero")
        for family in self.metrics.families():
            self._observe(meter, family)
        self._seconds = meter.create_histogram("layerzero.kernel_seconds", "s", "Time in the kernel's function.")
        self._feed, self._attached = feed, list[Deciding]()
        feed.listen(self)

    def attach(self, deciding: Deciding) -> None:
        """See feed.Listener."""
        deciding.dispatcher.add_sink(self.called)
        self._attached.append(deciding)

    def called(self, called: Called) -> None:
        """A dispatcher's sink: durations are recorded call by call, as the API has no other way."""
        decision = called.decision
        if decision.kernel is not None:
            words = {"operation": visible(decision.scope.operation), "kernel": visible(decision.kernel)}
            self._seconds.record(called.seconds, words)

    def export(self) -> str:
        """Have the provider send what it has, where it can; returns the numbers as JSON."""
        flush = getattr(self._provider, "force_flush", None)
        if flush is not None:
            self._read_at = float("-inf")
            flush()
        return json.dumps([_plain(family) for family in self.metrics.families()])

    def close(self) -> None:
        self.metrics.close()
        self._feed.leave(self)
        while self._attached:
            self._attached.pop().dispatcher.remove_sink(self.called)

    def _now(self, name: str) -> Family:
        """One family; a collection asks for all of them, one after the other, and gets them of one moment."""
        if monotonic() - self._read_at > _SAME_MOMENT:
            self._read = {family.name: family for family in self.metrics.families()}
            self._read_at = monotonic()
        return self._read[name]

    def _observe(self, meter: Any, family: Family) -> None:
        if family.kind == "histogram":
            return
        name, help = family.name.replace("layerzero_", "layerzero.", 1), family.help
        make = meter.create_observable_counter if family.kind == "counter" else meter.create_observable_gauge

        def read(_: object) -> Iterable[Any]:
            for labels, value in self._now(family.name).samples:
                assert not isinstance(value, Row)
                yield self._observation(value, dict(zip(family.labels, labels, strict=True)))

        make(name, callbacks=[read], description=help)


def _plain(family: Family) -> dict[str, Any]:
    samples = [
        {
            "labels": dict(zip(family.labels, labels, strict=True)),
            "value": {"buckets": dict(_cumulative(value)), "sum": value.sum} if isinstance(value, Row) else value,
        }
        for labels, value in family.samples
    ]
    return {"name": family.name, "kind": family.kind, "help": family.help, "samples": samples}
