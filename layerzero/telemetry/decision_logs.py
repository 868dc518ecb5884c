"""Records of the decision log -> OpenTelemetry log records: the destination "opentelemetry" of `lz.log_decisions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from layerzero.errors import MissingDependencyError
from layerzero.runtime.record import Record


class OpenTelemetryLog:
    """Hands records to the application's logger provider, as bodies with the event name `layerzero.decision`.

    Where they go is the provider's to say; without one they go nowhere. Counts of `distinct` regions are not sent.
    """

    name = "opentelemetry"

    def __init__(self, provider: Any = None) -> None:
        try:
            from opentelemetry import _logs
        except ImportError as error:
            raise MissingDependencyError(
                "the destination `opentelemetry` needs opentelemetry-api: pip install 'layerzero[telemetry]'"
            ) from error
        self._record, self._severity = _logs.LogRecord, _logs.SeverityNumber
        self._provider = provider if provider is not None else _logs.get_logger_provider()
        self._logger = self._provider.get_logger("layerzero")

    def write(self, records: Sequence[Record]) -> None:
        for record in records:
            self._logger.emit(
                self._record(
                    timestamp=int(datetime.fromisoformat(record["time"]).timestamp() * 1e6) * 1000,
                    severity_number=self._severity.INFO,
                    severity_text="INFO",
                    body={name: value for name, value in record.items() if value is not None},
                    event_name="layerzero.decision",
                )
            )

    def add(self, counts: Mapping[str, int]) -> None:
        pass

    def close(self) -> None:
        flush = getattr(self._provider, "force_flush", None)
        if flush is not None:
            flush()
