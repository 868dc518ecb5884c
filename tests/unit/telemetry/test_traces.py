"""Spans reach a real collector over a real socket; one that is away costs nothing but its spans."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider

from layerzero.errors import ArgumentError, NoKernelError
from layerzero.runtime import ambient
from layerzero.telemetry.decision_logs import OpenTelemetryLog
from layerzero.telemetry.traces import OTelExporter
from tests.unit.telemetry.watched import Watched


class Collector:
    """An OTLP/HTTP receiver on loopback."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.status = 200
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                message = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
                collector.requests.append((self.path, dict(self.headers), message))
                self.send_response(collector.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def spans(self) -> list[Any]:
        return [
            s for _, _, m in self.requests for r in m.resource_spans for scope in r.scope_spans for s in scope.spans
        ]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def attributes(span: Any) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        kind = value.WhichOneof("value")
        return [plain(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)

    return {one.key: plain(one.value) for one in span.attributes}


def test_spans_reach_a_collector_over_http(collector: Collector) -> None:
    bench = Watched(
        "lock fast.two for work when size == 5 as pinned\n"
        'quarantine fast.two when size == 5 and has(tenant) and tenant == "x"'
    )
    exporter = OTelExporter(endpoint=collector.endpoint, headers={"x-token": "t"}, feed=bench.feed)
    assert collector.requests == []
    bench.call(1)
    bench.call(5)
    with pytest.raises(NoKernelError), ambient.context({"tenant": "x"}):
        bench.call(5)
    assert collector.requests == []  # nothing is sent until it is asked to
    assert exporter.export_traces() == 3
    [(path, headers, message)] = collector.requests
    assert path == "/v1/traces"
    assert {name.lower(): value for name, value in headers.items()}["x-token"] == "t"
    [resource] = message.resource_spans
    assert attributes(resource.resource)["service.name"] == "layerzero"
    plain, locked, failed = collector.spans
    assert plain.name == "layerzero work"
    assert plain.end_time_unix_nano >= plain.start_time_unix_nano > 0
    told = attributes(plain)
    assert (told["layerzero.kernel"], told["layerzero.degraded"], told["layerzero.policy"]) == (
        "fast.one",
        False,
        "small",
    )
    assert told["layerzero.epoch"] == bench.engine.current().epoch
    assert attributes(locked)["layerzero.locked_by"] == ["pinned"]
    assert (failed.status.code, attributes(failed)["layerzero.error"]) == (2, "lock_failed")
    assert "tenant" not in str(collector.spans)
    assert exporter.export_traces() == 0
    exporter.close()
    assert bench.dispatcher.sinks == ()


def test_a_span_is_a_child_of_the_one_that_the_call_was_made_in(collector: Collector) -> None:
    bench = Watched()
    exporter = OTelExporter(endpoint=collector.endpoint, feed=bench.feed)
    with TracerProvider().get_tracer("app").start_as_current_span("request") as parent:
        bench.call(1)
    exporter.export_traces()
    exporter.close()
    context: trace.SpanContext = parent.get_span_context()
    [span] = collector.spans
    assert int.from_bytes(span.trace_id, "big") == context.trace_id
    assert int.from_bytes(span.parent_span_id, "big") == context.span_id


def test_spans_that_a_collector_refused_are_kept(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    bench = Watched()
    exporter = OTelExporter(endpoint=collector.endpoint, timeout=1, capacity=3, feed=bench.feed)
    collector.status = 400
    bench.call(1)
    assert [exporter.export_traces(), exporter.export_traces()] == [0, 0]
    assert len([message for message in caplog.messages if "spans cannot be sent" in message]) == 1
    for _ in range(5):
        bench.call(2)
    assert exporter.dropped == 3
    collector.status = 200
    assert exporter.export_traces() == 3
    exporter.close()


def test_a_collector_that_is_away_raises_nothing() -> None:
    bench = Watched()
    exporter = OTelExporter(endpoint="http://127.0.0.1:9", timeout=0.3, feed=bench.feed)
    bench.call(1)
    assert exporter.export_traces() == 0
    exporter.close()


def test_a_thread_exports_when_asked_to(collector: Collector) -> None:
    bench = Watched()
    exporter = OTelExporter(endpoint=collector.endpoint, every=0.02, feed=bench.feed)
    bench.call(1)
    for _ in range(250):
        if collector.requests:
            break
        threading.Event().wait(0.02)
    assert len(collector.spans) == 1
    exporter.close()


def test_spans_reach_a_collector_over_grpc() -> None:
    received: list[Any] = []

    class Service(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc,unused-ignore]
        def Export(self, request: Any, context: Any) -> Any:
            received.append(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    bench = Watched()
    exporter = OTelExporter(endpoint=f"http://127.0.0.1:{port}", protocol="grpc", feed=bench.feed)
    bench.call(1)
    assert exporter.export_traces() == 1
    exporter.close()
    server.stop(None)
    [span] = [s for m in received for r in m.resource_spans for scope in r.scope_spans for s in scope.spans]
    assert attributes(span)["layerzero.kernel"] == "fast.one"


def test_the_port_says_the_protocol_and_wrong_addresses_are_refused() -> None:
    bench = Watched()
    exporter = OTelExporter(endpoint="http://127.0.0.1:4317", feed=bench.feed)
    assert exporter.protocol == "grpc"
    exporter.close()
    for wrong in ("collector:4317", "ftp://x", "http://", ""):
        with pytest.raises(ArgumentError, match="wanted an address"):
            OTelExporter(endpoint=wrong, feed=bench.feed)
    with pytest.raises(ArgumentError, match="argument `protocol`"):
        OTelExporter(endpoint="http://x", protocol="smoke", feed=bench.feed)  # type: ignore[arg-type]
    assert bench.dispatcher.sinks == ()


def test_hostile_names_are_shown_in_spans(collector: Collector) -> None:
    from tests.unit.telemetry.test_metrics import HOSTILE, policy_named

    bench = Watched()
    bench.engine.configure(policy_named(HOSTILE))
    exporter = OTelExporter(endpoint=collector.endpoint, feed=bench.feed)
    bench.call(1)
    exporter.export_traces()
    exporter.close()
    assert attributes(collector.spans[0])["layerzero.policy"].isprintable()


def test_decisions_are_log_records_of_the_applications_provider() -> None:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

    kept = InMemoryLogRecordExporter()
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(kept))
    bench = Watched()
    with bench.log(OpenTelemetryLog(provider)), ambient.context({"tenant": "acme"}):
        bench.call(1)
    [found] = kept.get_finished_logs()
    record = found.log_record
    assert record.event_name == "layerzero.decision"
    body: Any = record.body
    assert (body["schema"], body["kernel"], body["values"]["tenant"]) == ("lz.record/1", "fast.one", "acme")
    assert record.timestamp is not None and record.timestamp > 1_700_000_000_000_000_000
