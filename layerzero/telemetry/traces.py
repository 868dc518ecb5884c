"""Calls -> OpenTelemetry spans, sent over OTLP when asked to. Each is a child of the span that the call was made in."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping
from time import time_ns
from typing import Any, Literal
from urllib.parse import urlsplit

from layerzero import __version__
from layerzero.errors import ArgumentError, MissingDependencyError
from layerzero.runtime.once import Once
from layerzero.runtime.record import Called
from layerzero.syntax.visible import visible
from layerzero.telemetry.feed import FEED, Deciding, Feed

log = logging.getLogger("layerzero")

_GRPC_PORT = 4317  # by the OTLP specification
_BATCH = 512

Waiting = tuple[int, Called, Any]


class OTelExporter:
    """Keeps a span for each call from here on, and sends them when `export_traces` is called.

    Attributes:
        dropped: Spans lost because `capacity` of them waited.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        protocol: Literal["grpc", "http/protobuf"] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        capacity: int = 8192,
        every: float | None = None,
        service: str = "layerzero",
        feed: Feed = FEED,
    ) -> None:
        """Begin to keep spans.

        Args:
            endpoint: "http://collector:4317" or "http://collector:4318"; a path is taken as it is, else OTLP's own.
            protocol: None is gRPC for port 4317 and HTTP with protobuf for every other.
            headers: Sent along, for collectors that want a token.
            timeout: Seconds for one request.
            capacity: Spans that may wait; later ones are dropped and counted.
            every: Seconds between exports by a thread of its own; None sends only when `export_traces` is called.
            service: `service.name` of the spans.
            feed: Whose calls; this process's.

        Raises:
            ArgumentError: The endpoint is no http(s) address, or the protocol is unknown.
            MissingDependencyError: The extra `telemetry` is not installed.
        """
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ArgumentError(
                f"argument `endpoint`: wanted an address like http://collector:4318, given {endpoint!r}"
            )
        if protocol not in (None, "grpc", "http/protobuf"):
            raise ArgumentError(f"argument `protocol`: wanted grpc or http/protobuf, given {protocol!r}")
        self.endpoint = endpoint
        self.protocol = protocol or ("grpc" if parts.port == _GRPC_PORT else "http/protobuf")
        self.dropped = 0
        self._capacity = capacity
        self._waiting: deque[Waiting] = deque()
        self._dropping, self._sending = threading.Lock(), threading.Lock()
        self._said = Once()
        self._spans = _Spans(service)
        self._exporter = _exporter(self.protocol, endpoint, dict(headers or {}), timeout)
        self._attached: list[Deciding] = []
        self._stopping = threading.Event()
        self._feed = feed
        feed.listen(self)
        if every is not None:
            threading.Thread(target=self._run, args=(every,), name="layerzero-traces", daemon=True).start()

    def attach(self, deciding: Deciding) -> None:
        """See feed.Listener."""
        deciding.dispatcher.add_sink(self.called)
        self._attached.append(deciding)

    def called(self, called: Called) -> None:
        """A dispatcher's sink."""
        if len(self._waiting) >= self._capacity:
            with self._dropping:
                self.dropped += 1
            return
        self._waiting.append((time_ns(), called, self._spans.around()))

    def export_traces(self) -> int:
        """Send the spans kept so far; returns how many the collector took.

        A collector that does not answer is said once, and its spans are kept for the next time.
        """
        sent = 0
        with self._sending:
            for _ in range(0, len(self._waiting), _BATCH):
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                if not self._send(batch):
                    self._waiting.extendleft(reversed(batch))
                    break
                sent += len(batch)
        return sent

    def close(self) -> None:
        """Keep no more spans; send what is kept."""
        self._stopping.set()
        self._feed.leave(self)
        while self._attached:
            self._attached.pop().dispatcher.remove_sink(self.called)
        self.export_traces()
        self._exporter.shutdown()

    def _send(self, batch: list[Waiting]) -> bool:
        from opentelemetry.sdk.trace.export import SpanExportResult

        taken = self._exporter.export([self._spans.of(*one) for one in batch]) is SpanExportResult.SUCCESS
        if not taken and self._said.first("failed"):
            log.error("spans cannot be sent to %s; they are kept, up to %d", visible(self.endpoint), self._capacity)
        return taken

    def _run(self, every: float) -> None:
        while not self._stopping.wait(every):
            try:
                self.export_traces()
            except Exception:  # the thread must outlive a collector that answers nonsense
                log.exception("spans cannot be sent to %s", visible(self.endpoint))


class _Spans:
    """Makes spans; knows the SDK."""

    def __init__(self, service: str) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import ReadableSpan
            from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        except ImportError as error:
            raise MissingDependencyError("traces need opentelemetry-sdk: pip install 'layerzero[telemetry]'") from error
        self._trace, self._span, self._ids = trace, ReadableSpan, RandomIdGenerator()
        self._resource = Resource.create({"service.name": service})
        self._scope = InstrumentationScope("layerzero", __version__)

    def around(self) -> Any:
        """The span that the calling code is in; None where it is in none."""
        context = self._trace.get_current_span().get_span_context()
        return context if context.is_valid else None

    def of(self, ended: int, called: Called, parent: Any) -> Any:
        decision = called.decision
        trace_id = parent.trace_id if parent is not None else self._ids.generate_trace_id()
        flags = self._trace.TraceFlags(self._trace.TraceFlags.SAMPLED)
        context = self._trace.SpanContext(trace_id, self._ids.generate_span_id(), is_remote=False, trace_flags=flags)
        return self._span(
            name=f"layerzero {decision.scope.operation}",
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=attributes(called),
            kind=self._trace.SpanKind.INTERNAL,
            status=self._status(called),
            start_time=ended - int(called.seconds * 1e9),
            end_time=ended,
            instrumentation_scope=self._scope,
        )

    def _status(self, called: Called) -> Any:
        from opentelemetry.trace.status import Status, StatusCode

        failed = called.decision.error or (None if called.error is None else type(called.error).__name__)
        return Status(StatusCode.ERROR, failed) if failed is not None else Status(StatusCode.UNSET)


def attributes(called: Called) -> dict[str, Any]:
    """What a span tells of a call: names of the policy, nothing that the request brought."""
    decision = called.decision
    identity = decision.policy
    found: dict[str, Any] = {
        "layerzero.operation": str(decision.scope),
        "layerzero.kernel": decision.kernel,
        "layerzero.score": decision.score,
        "layerzero.degraded": decision.degraded,
        "layerzero.error": decision.error,
        "layerzero.raised": None if called.error is None else type(called.error).__name__,
        "layerzero.recovered_from": decision.recovered_from or None,
        "layerzero.locked_by": decision.locked_by or None,
        "layerzero.ordered_by": decision.ordered_by or None,
        "layerzero.epoch": decision.epoch,
        "layerzero.policy": identity.name,
        "layerzero.policy_version": identity.version,
        "layerzero.policy_digest": identity.digest,
        **{f"layerzero.arm.{experiment}": arm for experiment, arm in decision.arms.items()},
    }
    return {visible(name): _shown(value) for name, value in found.items() if value is not None}


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(visible, value))
    return visible(value) if isinstance(value, str) else value


def _exporter(protocol: str, endpoint: str, headers: dict[str, str], timeout: float) -> Any:
    try:
        if protocol == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc

            insecure = urlsplit(endpoint).scheme == "http"
            return Grpc(endpoint=endpoint, insecure=insecure, headers=headers, timeout=int(timeout) or 1)
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http

        whole = endpoint if urlsplit(endpoint).path.strip("/") else f"{endpoint.rstrip('/')}/v1/traces"
        return Http(endpoint=whole, headers=headers, timeout=timeout)
    except ImportError as error:
        raise MissingDependencyError(f"OTLP needs an exporter: pip install 'layerzero[telemetry]' ({error})") from error
