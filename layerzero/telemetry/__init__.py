"""Decisions, swaps, failures and breakers as metrics and traces. Off until an exporter is made; reads decisions only.

from layerzero.telemetry import get_metrics_exporter, OTelExporter
text = get_metrics_exporter("prometheus").export()
OTelExporter(endpoint="http://collector:4317").export_traces()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layerzero.telemetry.exporters import get_metrics_exporter
    from layerzero.telemetry.traces import OTelExporter

_HOME = {"get_metrics_exporter": "layerzero.telemetry.exporters", "OTelExporter": "layerzero.telemetry.traces"}

__all__ = ["OTelExporter", "get_metrics_exporter"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module `layerzero.telemetry` has no attribute `{name}`")
    return getattr(import_module(_HOME[name]), name)
