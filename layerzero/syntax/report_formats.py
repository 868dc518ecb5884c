"""Findings -> plain data for `--json`, and SARIF 2.1.0 for code hosts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerzero.syntax.codes import CODES
from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.source import Span


def to_json(item: Diagnostic) -> dict[str, Any]:
    """One finding as `lz check --json` prints it; `span` counts from 0, its ends are exclusive."""
    line, column = item.span.source.position(item.span.start)
    return {
        "code": item.code,
        "severity": item.severity,
        "message": item.message,
        "file": item.span.source.name,
        "line": line,
        "column": column,
        "help": item.help or None,
        "witness": item.witness,
        "span": _offsets(item.span),
    }


def _offsets(span: Span) -> dict[str, int]:
    text = span.source.text
    first = len(text[: span.start].encode("utf-8"))
    return {
        "start": span.start,
        "end": span.end,
        "byte_start": first,
        "byte_end": first + len(text[span.start : span.end].encode("utf-8")),
    }


def to_sarif(diagnostics: Sequence[Diagnostic], version: str, tool: str = "lz check") -> dict[str, Any]:
    """A SARIF log with one run of a tool, version `version`."""
    used = sorted({item.code for item in diagnostics})
    rules = [
        {
            "id": code,
            "name": CODES[code].name,
            "shortDescription": {"text": CODES[code].summary},
            "defaultConfiguration": {"level": CODES[code].severity},
        }
        for code in used
    ]
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": tool, "version": version, "rules": rules}},
                "columnKind": "unicodeCodePoints",
                "results": [_result(item, used.index(item.code)) for item in diagnostics],
            }
        ],
    }


def _result(item: Diagnostic, rule: int) -> dict[str, Any]:
    text = f"{item.message}; {item.help}" if item.help else item.message
    found: dict[str, Any] = {
        "ruleId": item.code,
        "ruleIndex": rule,
        "level": item.severity,
        "message": {"text": text},
        "locations": [_location(item.span)],
    }
    if item.labels:
        found["relatedLocations"] = [_location(label.span) | {"message": {"text": label.text}} for label in item.labels]
    if item.witness is not None:
        found["properties"] = {"witness": item.witness}
    return found


def _location(span: Span) -> dict[str, Any]:
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(max(span.start, span.end))
    region = {"startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column}
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": span.source.name.replace("\\", "/")},
            "region": region | {"charOffset": span.start, "charLength": span.end - span.start},
        }
    }
