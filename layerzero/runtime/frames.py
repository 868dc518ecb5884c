"""Messages between a process and its worker: JSON and byte strings over a pipe, nothing that can be code.

A message is one JSON value and blobs. The JSON is written in pieces, one a line, so that whoever reads it never parses
much at once: a thread that parses holds the interpreter lock, and serving threads wait.

    ["=", value]            a value
    ["{", [key, ...]]       an object; then, for each key, its value
    ["[", count]            a list; then `count` of ["+", [item, ...]] or of a value in pieces, an item each
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, BinaryIO

from layerzero.compiler.slices import Each, at_once

LARGE = 8 * 1024  # characters; what is longer is written in pieces
_HEAD = struct.Struct(">II")  # bytes of JSON, number of blobs
_LENGTH = struct.Struct(">I")


class ClosedError(EOFError):
    """The other side is gone."""


def send(stream: BinaryIO, value: Any, blobs: Sequence[bytes] = ()) -> None:
    """Write one message.

    Raises:
        OSError: The other side is gone.
    """
    text = to_pieces(value)
    parts = [_HEAD.pack(len(text), len(blobs)), text]
    for blob in blobs:
        parts += _LENGTH.pack(len(blob)), blob
    left = memoryview(b"".join(parts))
    while left:  # a stream without a buffer may take a part
        left = left[stream.write(left) :]
    stream.flush()


def receive(stream: BinaryIO) -> tuple[bytes, list[bytes]]:
    """Read one message: its JSON in pieces, see `from_pieces`, and its blobs.

    Raises:
        ClosedError: The other side is gone, or stopped in the middle.
    """
    size, count = _HEAD.unpack(_exactly(stream, _HEAD.size))
    text = _exactly(stream, size)
    blobs = [_exactly(stream, _LENGTH.unpack(_exactly(stream, _LENGTH.size))[0]) for _ in range(count)]
    return text, blobs


def to_pieces(value: Any) -> bytes:
    """JSON's types -> lines."""
    return "\n".join(_pieces(value)).encode("ascii")


def from_pieces(text: bytes, each: Each = at_once) -> Any:
    """Lines -> JSON's types."""
    return _value(iter(each(text.split(b"\n"))))


def _pieces(value: Any) -> Iterator[str]:
    whole = _json(["=", value])
    if len(whole) <= LARGE or not isinstance(value, dict | list):
        yield whole
    elif isinstance(value, dict):
        yield _json(["{", list(value)])
        for one in value.values():
            yield from _pieces(one)
    else:
        parts = list(_runs(value))
        yield _json(["[", len(parts)])
        for part in parts:
            if isinstance(part, _Run):
                yield _json(["+", part])
            else:
                yield from _pieces(part)


class _Run(list[Any]):
    """Neighbouring items that fit into one piece."""


def _runs(items: Sequence[Any]) -> Iterator[Any]:
    run, length = _Run(), 0
    for item in items:
        size = len(_json(item))
        if run and (length + size > LARGE or size > LARGE):
            yield run
            run, length = _Run(), 0
        if size > LARGE:
            yield item
        else:
            run.append(item)
            length += size
    if run:
        yield run


def _value(lines: Iterator[bytes]) -> Any:
    kind, held = json.loads(next(lines))
    if kind == "=":
        return held
    if kind == "{":
        return {key: _value(lines) for key in held}
    items: list[Any] = []
    for _ in range(held):
        line = next(lines)
        if line.startswith(b'["+"'):
            items += json.loads(line)[1]
        else:
            items.append(_value(chain([line], lines)))
    return items


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=True)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise ClosedError("the other side is gone")
    return data
