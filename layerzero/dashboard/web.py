"""Board, desks and measurements -> an ASGI application: the pages, their data as JSON, changes as events."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from layerzero.dashboard.board import Board
from layerzero.dashboard.desk import Desk, DeskError
from layerzero.dashboard.guard import Guard
from layerzero.dashboard.shown import shown
from layerzero.dashboard.tally import SPANS, Group
from layerzero.errors import LayerZeroError
from layerzero.syntax.limits import MAX_FILE_BYTES

PAGES = Path(__file__).resolve().parent / "pages"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
MOST_LISTENERS = 64
SECONDS = 5.0  # for changes that make a kernel win, and for what a swap changed
_BEAT = 15.0  # seconds between signs of life to a listener
_LOOK = 0.25
_SAMPLE = """\
# Change a rule, or the context below, and see what is decided.
policy "playground"

deny flash_attn.v2 for attention when batch > 32 as no_old_ones
  because "slower than v3 from there on"
boost flashinfer by 1.5 for attention.decode when kv_len >= 8Ki
"""
_GIVEN = "attention.decode h100 dtype=bf16 q_heads=32 kv_heads=8 head_dim=128 batch=8 q_len=1 kv_len=32Ki"

Json = dict[str, Any]


@dataclass
class Dashboard:
    """What the pages are about. `questions` and `playground` are two desks, so that typing never waits for a diff."""

    board: Board
    measurements: Sequence[Path] = ()
    policy: Path | None = None
    catalogs: Sequence[Path] = ()
    questions: Desk = field(default_factory=Desk)
    playground: Desk = field(default_factory=Desk)
    ending: Callable[[], bool] = lambda: False
    listeners: int = 0

    def close(self) -> None:
        self.board.close()
        self.questions.close()
        self.playground.close()

    # ------------------------------------------------------------ data, all of it read in threads

    def decisions(self, words: Mapping[str, str]) -> Json:
        span, by = words.get("span", "30m"), words.get("by", "kernel")
        if span not in SPANS or by not in Group._fields:
            raise HTTPException(400, f"wanted span {', '.join(SPANS)} and by {', '.join(Group._fields)}")
        return self.board.decisions(words, span, by)

    def decision(self, number: int, kernel: str | None) -> Json:
        found = self.board.record(number)
        if found is None:
            raise HTTPException(404, "this decision is no longer kept")
        kept, store = found
        question = {"record": kept.record, "store": str(store), "seconds": SECONDS}
        if kernel is not None:
            return self.questions.ask({**question, "do": "why_not", "kernel": kernel})
        record = {**kept.record, "calls": kept.calls, "source": kept.group.source}
        return {"record": record, **self.questions.ask({**question, "do": "explain"})}

    def of_store(self, do: str, words: Mapping[str, str], *names: str) -> Json:
        store = self.board.store_of(words.get("source", ""))
        if store is None or any(name not in words for name in names):
            raise HTTPException(404, "there is no such log")
        given = {name: words[name] for name in names}
        return self.questions.ask({"do": do, "store": str(store), "seconds": SECONDS, **given})

    def measured(self, words: Mapping[str, str]) -> Json:
        """The databases; of one, its machines and operations; of an operation, its points."""
        from layerzero.perf.database import machines, measured, operations

        databases = [str(path) for path in self.measurements]
        name = words.get("database") or (databases[0] if databases else "")
        if name not in databases:
            return {"databases": databases, "machines": [], "operations": [], "points": []}
        found = operations(name)
        operation = words.get("operation") or (found[0] if found else "")
        points = [{name: getattr(one, name) for name in one.__dataclass_fields__} for one in measured(name, operation)]
        shown = [{"device": dict(one.device), "versions": dict(one.versions)} for one in machines(name)]
        return {"databases": databases, "database": name, "machines": shown, "operations": found,
                "operation": operation, "points": points}  # fmt: skip

    def beginning(self) -> Json:
        """What stands in the playground to begin with."""
        text = _SAMPLE if self.policy is None else self.policy.read_text(encoding="utf-8", errors="replace")
        return {"path": None if self.policy is None else str(self.policy), "text": text, "given": _GIVEN}

    def attempt(self, question: Any) -> Json:
        text, given = _text(question, "text"), _text(question, "given")
        path = None if self.policy is None else str(self.policy)
        return self.playground.ask(
            {
                "do": "try",
                "text": text,
                "given": given,
                "kernel": _text(question, "kernel"),
                "full": bool(question.get("full")),
                "path": path,
                "catalogs": [str(one) for one in self.catalogs],
                "seconds": SECONDS,
            }
        )


def application(dashboard: Dashboard, hosts: Sequence[str] = (), token: str | None = None) -> Guard:
    """The application, with the guard before it."""
    board = dashboard.board

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        board.start()
        yield
        await to_thread.run_sync(dashboard.close)

    def data(path: str, read: Callable[[Request], Json], spell: Callable[[Json], Json] | None = None) -> Route:
        async def answer(request: Request) -> Response:
            try:
                return _json(await to_thread.run_sync(read, request), spell=spell)
            except DeskError as error:
                return _json({"problem": str(error)}, 503)
            except (LayerZeroError, OSError) as error:
                return _json({"problem": str(error)}, 500)

        return Route(path, answer)

    routes = [
        Route("/", _page),
        Route("/pages/{name}", _page),
        Route("/api/events", partial(_events, dashboard=dashboard)),
        Route("/api/playground", partial(_attempt, dashboard=dashboard), methods=["POST"]),
        data("/api/now", lambda _: board.now()),
        data("/api/decisions", lambda request: dashboard.decisions(request.query_params)),
        data("/api/decisions/{number}", lambda request: dashboard.decision(_number(request), None)),
        data(
            "/api/decisions/{number}/why-not",
            lambda request: dashboard.decision(_number(request), request.query_params.get("kernel", "")),
        ),
        data("/api/policies", lambda _: board.policies()),
        data("/api/swap", lambda request: dashboard.of_store("swap", request.query_params, "before", "after")),
        data("/api/texts", lambda request: dashboard.of_store("texts", request.query_params, "snapshot")),
        data("/api/experiments", lambda _: board.experiments()),
        data("/api/breakers", lambda _: board.breakers()),
        data("/api/measurements", lambda request: dashboard.measured(request.query_params)),
        data("/api/beginning", lambda _: dashboard.beginning(), spell=lambda data: data),  # a text to be edited
    ]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _refused})
    return Guard(app, hosts, token)


# ---------------------------------------------------------------- answers


async def _page(request: Request) -> Response:
    path = PAGES / request.path_params.get("name", "index.html")
    if path.parent != PAGES or path.suffix not in TYPES or not path.is_file():
        raise HTTPException(404, "there is no such page")
    return Response(path.read_bytes(), media_type=TYPES[path.suffix])


async def _attempt(request: Request, dashboard: Dashboard) -> Response:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > 2 * MAX_FILE_BYTES:
            raise HTTPException(413, f"more than {2 * MAX_FILE_BYTES // 1024**2} MiB")
    try:
        question = json.loads(body)
        if not isinstance(question, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "wanted a JSON object") from error
    try:
        return _json(await to_thread.run_sync(dashboard.attempt, question))
    except DeskError as error:
        return _json({"problem": str(error)})


async def _events(request: Request, dashboard: Dashboard) -> Response:
    """The board's version, whenever it has changed; the pages then ask for what they show."""
    if dashboard.listeners >= MOST_LISTENERS:
        raise HTTPException(503, f"{MOST_LISTENERS} pages listen already")
    board = dashboard.board

    async def stream() -> AsyncIterator[str]:
        told, rest = -1, _BEAT
        while not (board.closed.is_set() or dashboard.ending()):
            if board.version != told:
                told, rest = board.version, _BEAT
                yield f"data: {told}\n\n"
            elif rest <= 0:
                rest = _BEAT
                yield ": still here\n\n"
            await anyio.sleep(_LOOK)
            rest -= _LOOK

    return _Listening(dashboard, stream())


class _Listening(StreamingResponse):
    """Counts from before anything is sent, so that many who come at once are not more than may come."""

    def __init__(self, dashboard: Dashboard, content: AsyncIterator[str]) -> None:
        super().__init__(content, media_type="text/event-stream")
        self._dashboard = dashboard

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._dashboard.listeners += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._dashboard.listeners -= 1


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"problem": error.detail}, error.status_code)


def _number(request: Request) -> int:
    """Not Starlette's own, which fails at more digits than Python takes."""
    number = request.path_params["number"]
    if not re.fullmatch(r"[0-9]{1,18}", number):
        raise HTTPException(404, "there is no such decision")
    return int(number)


def _text(question: Any, name: str) -> str:
    found = question.get(name, "")
    if not isinstance(found, str):
        raise HTTPException(400, f"`{name}` is not text")
    return found


def _json(data: Json, status: int = 200, spell: Callable[[Json], Json] | None = None) -> Response:
    body = json.dumps((spell or shown)(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(body.encode(), status, media_type="application/json")
