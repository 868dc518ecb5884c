"""The address of a metrics endpoint -> the numbers of LayerZero that stand there, as one other process has them now."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from layerzero.errors import ArgumentError, LayerZeroError, MissingDependencyError

MOST_BYTES = 8 * 1024**2
TIMEOUT = 3.0  # seconds
_PREFIX = "layerzero_"
_NAME = re.compile(r"[A-Za-z_:]")
_STATES = {0.0: "closed", 1.0: "half open", 2.0: "open"}

Labels = Mapping[str, str]


class ScrapeError(LayerZeroError):
    """An endpoint did not answer, or with something else than metrics."""


@dataclass(frozen=True)
class Scrape:
    """`samples` by name without the prefix: `decisions_total`, `breaker_state`, ..."""

    samples: Mapping[str, tuple[tuple[Labels, float], ...]]

    def of(self, name: str) -> tuple[tuple[Labels, float], ...]:
        return self.samples.get(name, ())

    def total(self, name: str) -> float:
        return sum(value for _, value in self.of(name))

    def breakers(self) -> Iterator[dict[str, Any]]:
        """The kernels that have failed, with the state of their breakers."""
        for labels, value in self.of("breaker_state"):
            yield {**labels, "state": _STATES.get(value, "unknown")}

    def policies(self) -> Iterator[dict[str, Any]]:
        epochs = {labels.get("digest"): value for labels, value in self.of("epoch")}
        for labels, _ in self.of("policy_info"):
            yield {**labels, "name": labels.get("policy", ""), "epoch": epochs.get(labels.get("digest"))}


def check_address(address: str) -> str:
    """The address itself.

    Raises:
        ArgumentError: It is no http(s) address.
        MissingDependencyError: There is nothing to read metrics with.
    """
    try:
        parts = urlsplit(address)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fits = False
    if not fits:
        raise ArgumentError(f"--metrics: wanted an address like http://127.0.0.1:9464/metrics, given `{address}`")
    try:
        import prometheus_client.parser  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "reading metrics needs prometheus-client: pip install 'layerzero[telemetry]'"
        ) from error
    return address


def scrape(address: str) -> Scrape:
    """Ask once.

    Raises:
        ScrapeError: There was no answer, or it cannot be read.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=TIMEOUT) as answer:
            data = answer.read(MOST_BYTES + 1)
    except (OSError, HTTPException) as error:
        raise ScrapeError(f"no answer: {getattr(error, 'reason', None) or error}") from error
    if len(data) > MOST_BYTES:
        raise ScrapeError(f"the answer is larger than {MOST_BYTES // 1024**2} MiB")
    return parse(data.decode("utf-8", "replace"))


def parse(text: str) -> Scrape:
    """Exposition text -> numbers; those of other programs are left out.

    Raises:
        ScrapeError: It is no such text.
    """
    from prometheus_client.parser import text_string_to_metric_families

    if text.lstrip()[:1] not in ("", "#") and not _NAME.match(text.lstrip()):
        raise ScrapeError("not metrics")
    # Buckets are most of the text, and other programs' numbers may be more: neither is worth the parsing.
    own = (line for line in text.splitlines() if _PREFIX in line and "_bucket{" not in line)
    found: dict[str, list[tuple[Labels, float]]] = {}
    try:
        for family in text_string_to_metric_families("\n".join(own)):
            for sample in family.samples:
                if sample.name.startswith(_PREFIX):
                    found.setdefault(sample.name.removeprefix(_PREFIX), []).append((sample.labels, sample.value))
    except (ValueError, KeyError, IndexError) as error:
        raise ScrapeError(f"not metrics: {error}") from error
    return Scrape({name: tuple(samples) for name, samples in found.items()})
