"""Metrics: nothing is lost or told twice, labels stay few and harmless, and nothing listens unasked."""

from __future__ import annotations

import gc
import json
import socket
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from layerzero.errors import ArgumentError, MissingDependencyError, NoKernelError
from layerzero.runtime import ambient
from layerzero.telemetry.counting import BOUNDS, MOST_KEYS, OTHER, Counting
from layerzero.telemetry.exporters import OpenTelemetryMetrics, PrometheusExporter, get_metrics_exporter
from layerzero.telemetry.metrics import Metrics
from tests.unit.telemetry.watched import Watched

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    """Exposition text, by the parser of another project."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name.removeprefix("layerzero_"), frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def at(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


# ---------------------------------------------------------------- what is counted


def test_decisions_degradations_errors_and_failures_are_counted() -> None:
    bench = Watched(
        "quarantine fast.* when size == 9\nallow fast.* for work\nlock fast.one for work when size == 8 as pin"
    )
    exporter = PrometheusExporter(bench.feed)
    bench.call(1)
    bench.call(2)
    bench.call(9)
    bench.configure("quarantine fast.one when size == 8\nlock fast.one for work when size == 8 as pin")
    with pytest.raises(NoKernelError):
        bench.call(8)
    bench.broken("fast.one")
    bench.call(1)
    found = samples(exporter.export())
    assert at(found, "decisions_total", operation="work", kernel="fast.one", degraded="false") == 3
    assert at(found, "decisions_total", operation="work", kernel="spare.one", degraded="true") == 1
    assert at(found, "decisions_total", operation="work", kernel="fast.two", degraded="true") == 1
    assert at(found, "degradations_total", operation="work", kernel="spare.one") == 1
    assert at(found, "degradations_total", operation="work", kernel="fast.two") == 1
    assert at(found, "decision_errors_total", operation="work", error="lock_failed") == 1
    assert at(found, "kernel_failures_total", operation="work", kernel="fast.one") == 1
    assert at(found, "kernel_seconds_count", operation="work", kernel="fast.one") == 3
    assert at(found, "kernel_seconds_bucket", operation="work", kernel="fast.one", le="+Inf") == 3
    assert at(found, "swaps_total") == 1
    assert at(found, "load_failures_total") == 0
    exporter.close()


def test_arms_are_counted_by_calls_and_by_requests() -> None:
    bench = Watched("experiment half on tenant { arm control 50% arm other 50% { boost fast.two by 3 } }")
    exporter = PrometheusExporter(bench.feed)
    for number in range(60):
        with bench.experiments.request({"tenant": f"t-{number}"}):
            bench.call(1)
    found = samples(exporter.export())
    served = {arm: at(found, "arm_calls_total", experiment="half", arm=arm) for arm in ("control", "other")}
    assert sum(served.values()) == 60 and min(served.values()) > 0
    for arm, calls in served.items():
        assert at(found, "arm_requests_total", experiment="half", arm=arm) == calls
        assert at(found, "arm_request_errors_total", experiment="half", arm=arm) == 0
        assert at(found, "arm_call_seconds_count", experiment="half", arm=arm) == calls
        assert at(found, "arm_stopped", experiment="half", arm=arm) == 0
    exporter.close()


def test_breakers_pins_epochs_and_drops_are_shown() -> None:
    bench = Watched()
    exporter = PrometheusExporter(bench.feed)
    bench.broken("fast.one")
    with bench.engine.pin():
        for _ in range(3):
            bench.call(1)
        while "fast.one on cpu" not in bench.engine.status().open_breakers:  # its epoch comes from a thread
            threading.Event().wait(0.01)
        found = samples(exporter.export())
    status = bench.engine.status()
    assert at(found, "breaker_state", kernel="fast.one", device="cpu") == 2
    assert at(found, "breaker_changes_total", kernel="fast.one", device="cpu", state="open") == 1
    assert at(found, "epoch", digest=status.digest) == status.epoch
    assert at(found, "older_pins", digest=status.digest) == 1
    info = {"policy": "small", "version": "", "digest": status.digest, "environment": status.environment}
    assert at(found, "policy_info", **info) == 1
    log = bench.log(capacity=1)
    for _ in range(500):
        bench.call(1)
    log.close()
    assert log.dropped > 0
    assert at(samples(exporter.export()), "log_dropped_records_total") == log.dropped
    exporter.close()


def test_policies_that_cannot_be_loaded_are_counted_where_the_engine_tells() -> None:
    bench = Watched()
    listeners: list[Any] = getattr(bench.engine, "failure_listeners", [])
    bench.engine.failure_listeners = listeners  # type: ignore[attr-defined,unused-ignore]
    exporter = PrometheusExporter(bench.feed)
    for listener in list(listeners):
        listener("it does not load")
    assert at(samples(exporter.export()), "load_failures_total") == 1
    exporter.close()
    assert listeners == []


def test_closing_takes_every_hook_off() -> None:
    bench = Watched()
    before = list(bench.engine.listeners)
    exporter = PrometheusExporter(bench.feed)
    assert len(bench.dispatcher.sinks) == 1
    bench.call(1)
    exporter.close()
    assert (bench.dispatcher.sinks, bench.engine.listeners, bench.breakers.listeners) == ((), before, [])
    bench.call(1)
    assert at(samples(exporter.export()), "kernel_seconds_count", operation="work", kernel="fast.one") == 1


# ---------------------------------------------------------------- labels


def test_nothing_that_a_request_brings_becomes_a_label() -> None:
    bench = Watched()
    exporter = PrometheusExporter(bench.feed)
    for number in range(50):
        with ambient.context({"tenant": f"tenant-{number}", "request_id": f"r-{number}"}):
            bench.call(number)
    text = exporter.export()
    assert "tenant-" not in text and "r-1" not in text
    exporter.close()


HOSTILE = 'x"\\\n\x1b[2J\u202e</script>\x9b'


def test_hostile_names_are_escaped() -> None:
    bench = Watched()
    bench.engine.configure(policy_named(HOSTILE))
    exporter = PrometheusExporter(bench.feed)
    text = exporter.export()
    assert all(line.isprintable() for line in text.splitlines())
    [name] = [dict(labels)["policy"] for (kind, labels) in samples(text) if kind == "policy_info"]
    assert name == 'x"\\\\n\\x1b[2J\\u202e</script>\\x9b'
    exporter.close()


def policy_named(name: str) -> Any:
    from layerzero.runtime.policy import Policy
    from layerzero.syntax.source import Source
    from tests.unit.runtime.log_bench import WORDS

    text = f"policy {json.dumps(name)} standalone\n"
    return Policy.from_text(text, name="hostile.lzp", catalogs=[Source("words.lzp", WORDS)])


def test_the_number_of_label_sets_is_bounded() -> None:
    counting = Counting()
    for number in range(3 * MOST_KEYS):
        counting.count(("call", f"operation-{number}"), 0.0)
    totals = counting.totals()
    assert len(totals) == MOST_KEYS + 1
    assert len(totals["call", OTHER]) == 2 * MOST_KEYS
    assert sum(map(len, totals.values())) == 3 * MOST_KEYS


# ---------------------------------------------------------------- counting


def test_no_count_of_many_threads_is_lost_also_after_they_end() -> None:
    counting = Counting()

    def count() -> None:
        for number in range(2000):
            counting.count(("k", str(number % 3)), BOUNDS[number % len(BOUNDS)])

    for _ in range(3):
        threads = [threading.Thread(target=count) for _ in range(8)]
        for thread in threads:
            thread.start()
        counting.totals()  # while they count
        for thread in threads:
            thread.join()
    del threads, thread
    gc.collect()
    assert sum(map(len, counting.totals().values())) == 3 * 8 * 2000
    assert counting._tables == {}


def test_buckets_hold_what_is_at_most_their_bound() -> None:
    counting = Counting()
    for seconds in (0.0, 1e-5, 1.0001e-5, 2.5, 3.0):
        counting.count(("k",), seconds)
    row = counting.totals()[("k",)]
    assert (row.buckets[0], row.buckets[1], row.buckets[-2], row.buckets[-1]) == (2, 1, 1, 1)
    assert row.sum == pytest.approx(5.50002, abs=1e-4)


# ---------------------------------------------------------------- exporters


def test_an_endpoint_is_served_only_when_asked_and_only_here() -> None:
    bench = Watched()
    exporter = PrometheusExporter(bench.feed)
    before = threading.active_count()
    bench.call(1)
    exporter.export()
    assert threading.active_count() == before
    served = exporter.serve(port=0)
    assert served.host == "127.0.0.1"
    with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert at(samples(text), "decisions_total", operation="work", kernel="fast.one", degraded="false") == 1
    exporter.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", served.port), timeout=1)


def test_the_exporter_of_a_process_is_one() -> None:
    from layerzero.telemetry import get_metrics_exporter as public

    exporter = public("prometheus")
    assert exporter is get_metrics_exporter("prometheus")
    assert "layerzero_swaps_total" in exporter.export()
    exporter.close()
    with pytest.raises(ArgumentError, match="wanted one of prometheus, opentelemetry"):
        get_metrics_exporter("statsd")  # type: ignore[arg-type]


def test_opentelemetry_gives_the_same_numbers_to_the_applications_provider() -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    bench = Watched()
    exporter = OpenTelemetryMetrics(bench.feed, MeterProvider([reader]))
    for size in range(3):
        bench.call(size)
    plain = {family["name"]: family["samples"] for family in json.loads(exporter.export())}
    assert plain["layerzero_decisions"] == [
        {"labels": {"operation": "work", "kernel": "fast.one", "degraded": "false"}, "value": 3.0}
    ]
    data = reader.get_metrics_data()
    assert data is not None
    metrics = {m.name: m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}
    [point] = metrics["layerzero.decisions"].data.data_points
    assert (point.value, dict(point.attributes)) == (3, plain["layerzero_decisions"][0]["labels"])  # type: ignore[union-attr]
    [seconds] = metrics["layerzero.kernel_seconds"].data.data_points
    assert seconds.count == 3  # type: ignore[union-attr]
    exporter.close()
    assert bench.dispatcher.sinks == ()


@pytest.mark.parametrize(
    ("module", "make"), [("prometheus_client", PrometheusExporter), ("opentelemetry", OpenTelemetryMetrics)]
)
def test_without_its_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, module: str, make: Any) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=r"layerzero\[telemetry\]"):
        make(Watched().feed)


def test_importing_telemetry_loads_no_library(root: Path) -> None:
    import subprocess

    script = (
        "import sys, layerzero.api, layerzero.telemetry\n"
        "print([m for m in ('prometheus_client', 'opentelemetry', 'pyarrow', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_metrics_read_what_was_connected_before_and_after() -> None:
    bench = Watched()
    metrics = Metrics(bench.feed)
    later = Watched()
    bench.feed.connect(later.feed._deciding[0])
    later.call(1)
    bench.call(1)
    [decisions] = [family for family in metrics.families() if family.name == "layerzero_decisions"]
    assert [value for _, value in decisions.samples] == [2.0]
    metrics.close()
