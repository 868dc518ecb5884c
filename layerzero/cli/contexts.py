"""A stream of JSON lines -> contexts or what is wrong with a line; no line, however odd, ends the stream."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

MAX_LINE_BYTES = 1024 * 1024
MAX_DIGITS = 40
TextOf = Callable[[dict[str, object]], str | None]


@dataclass(frozen=True, slots=True)
class Line:
    """Line `number` (from 1): its object, or the code and message of what is wrong."""

    number: int
    context: dict[str, object] | None
    problem: tuple[str, str] | None = None


def read_lines(stream: BinaryIO, text_of: TextOf | None = None) -> Iterator[Line | str]:
    """Each line as it arrives, or the text that `text_of` has for its object; blank ones are left out."""
    number = 0
    while data := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(data) > MAX_LINE_BYTES and not data.endswith(b"\n"):
            _skip_rest(stream)
            yield Line(number, None, ("invalid_json", f"the line is longer than {MAX_LINE_BYTES // 1024} KiB"))
            continue
        if number == 1:
            data = data.removeprefix(b"\xef\xbb\xbf")
        text = None if text_of is None else _quick(data, text_of)
        if text is not None:
            yield text
        elif data.strip():
            yield _read(number, data)


def _quick(data: bytes, text_of: TextOf) -> str | None:
    """None for a line that is odd in any way, and where there is no text for it."""
    try:
        text = data.decode("utf-8")
        found, end = _QUICK.raw_decode(text)
        return text_of(found) if type(found) is dict and text[end:].isspace() else None
    except (ValueError, RecursionError):
        return None


def _skip_rest(stream: BinaryIO) -> None:
    while (data := stream.readline(MAX_LINE_BYTES)) and not data.endswith(b"\n"):
        pass


def _read(number: int, data: bytes) -> Line:
    try:
        found = _DECODER.decode(data.rstrip().decode("utf-8"))
    except UnicodeDecodeError as error:
        return Line(number, None, ("invalid_json", f"byte {error.start + 1} of the line is not UTF-8"))
    except json.JSONDecodeError as error:
        return Line(number, None, ("invalid_json", f"{_lower(error.msg)} at column {error.colno}"))
    except RecursionError:
        return Line(number, None, ("invalid_json", "the line is nested too deeply"))
    except ValueError as error:
        return Line(number, None, ("invalid_json", str(error)))
    if not isinstance(found, dict):
        kind = {list: "a list", str: "a string", bool: "a bool", type(None): "null"}.get(type(found), "a number")
        return Line(number, None, ("invalid_context", f"a context is a JSON object, got {kind}"))
    return Line(number, found)


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


# ---------------------------------------------------------------- JSON as the standard has it, and no key twice


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key `{twice}` stands twice")
    return found


def _constant(word: str) -> NoReturn:
    raise ValueError(f"`{word}` is not JSON; leave the field out where its value is not known")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:MAX_DIGITS]} is beyond a double")
    return number


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits is beyond 64 bits")
    return int(text)


_QUICK = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int)
