"""Over HTTP: who may ask, what an answer may do in a page, and what becomes of bad requests."""

from __future__ import annotations

import html.parser
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient

from layerzero.dashboard.board import Board
from layerzero.dashboard.web import MOST_LISTENERS, PAGES, Dashboard, application
from layerzero.perf.database import Database, Key, MachineInfo
from layerzero.perf.measure import Failed, Timing
from tests.unit.dashboard.records import record, write

HOSTILE = "<script>alert(1)</script>\u202e\"'\x1b[2J"
HERE = "http://127.0.0.1:8600"


@pytest.fixture(autouse=True)
def own_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Dashboard]:
    path = tmp_path / "log<script>.jsonl"
    write(path, record(kernel=HOSTILE, values={"tenant": HOSTILE, "size": 2**60}, request_id=HOSTILE, score="Infinity"))
    board = Board([path])
    while board.look():
        pass
    one = Dashboard(board)
    yield one
    one.close()


def client(dashboard: Dashboard, token: str | None = None, hosts: tuple[str, ...] = ()) -> TestClient:
    return TestClient(application(dashboard, hosts, token), base_url=HERE, follow_redirects=False)


def test_every_answer_forbids_what_a_page_does_not_need(page: Dashboard) -> None:
    for path in ("/", "/pages/app.js", "/api/now", "/api/none"):
        headers = client(page).get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("number", ["9" * 18, "9" * 5000, "-1", "x", "\u0661"])
def test_a_decision_that_there_is_none_of_is_said_so(page: Dashboard, number: str) -> None:
    for path in (f"/api/decisions/{number}", f"/api/decisions/{number}/why-not"):
        answer = client(page).get(path)
        assert (answer.status_code, list(answer.json())) == (404, ["problem"])


def test_no_more_pages_listen_than_may_though_all_come_at_once(page: Dashboard) -> None:
    app, statuses, wanted = application(page), [], MOST_LISTENERS + 3
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/events",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8600")],
    }

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def all_at_once() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(wanted):
                group.start_soon(app, dict(scope), anyio.sleep_forever, send)
            while len(statuses) < wanted:
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()

    anyio.run(all_at_once)
    assert Counter(statuses) == {200: MOST_LISTENERS, 503: 3}
    assert page.listeners == 0


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8600", "127.0.0.1.evil.example", "", "[::1", "localhost.evil"]
)
def test_a_name_that_was_not_told_is_refused(page: Dashboard, host: str) -> None:
    assert client(page).get("/api/now", headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8600", "localhost", "LOCALHOST:1", "[::1]:8600", "10.0.0.7", "ops.example:80"]
)
def test_numbers_localhost_and_allowed_names_pass(page: Dashboard, host: str) -> None:
    assert client(page, hosts=("ops.example",)).get("/api/now", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": HERE}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_only_our_own_pages_may_post(page: Dashboard, headers: dict[str, str], status: int) -> None:
    given = {"content-type": "application/json", **headers}
    body = json.dumps({"text": "", "given": ""})
    assert client(page).post("/api/playground", content=body, headers=given).status_code == status


def test_another_site_may_link_here_and_read_nothing(page: Dashboard) -> None:
    cross = {"sec-fetch-site": "cross-site"}
    assert client(page).get("/", headers=cross).status_code == 200
    assert client(page).get("/api/now", headers=cross).status_code == 403


def test_with_a_token_nothing_is_told_without_it(page: Dashboard) -> None:
    one = client(page, token="a long enough token")
    assert [one.get(path).status_code for path in ("/", "/pages/app.js", "/api/now")] == [401, 401, 401]
    assert one.get("/login", params={"token": "a wrong token here"}).status_code == 401
    bearer = {"authorization": "Bearer a%20long%20enough%20token"}
    assert one.get("/api/now", headers=bearer).status_code == 200
    answer = one.get("/login", params={"token": "a long enough token"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert one.get("/api/now").status_code == 200  # the client keeps the cookie


def test_names_from_requests_and_files_are_spelt_out(page: Dashboard) -> None:
    body = client(page).get("/api/decisions").text
    assert "\u202e" not in body and "\x1b" not in body
    [shown] = json.loads(body)["records"]
    assert shown["kernel"] == "<script>alert(1)</script>\\u202e\"'\\x1b[2J"  # a text node shows it as it is
    assert (shown["values"]["size"], shown["score"]) == (str(2**60), "Infinity")


def test_no_page_makes_markup_of_a_text() -> None:
    for path in PAGES.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        words = (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "http://",
            "https://",
        )
        found = [word for word in words if word in text.replace("http://www.w3.org/2000/svg", "")]
        assert found == [], path.name


def test_the_first_page_loads_only_what_is_here() -> None:
    loaded: list[str] = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            loaded.extend(value or "" for name, value in attrs if name in ("src", "href"))
            assert not [name for name, _ in attrs if name.startswith("on") or name == "style"]

    Reader().feed((PAGES / "index.html").read_text(encoding="utf-8"))
    assert len(loaded) == 5 and all(one.startswith(("/pages/", "#")) for one in loaded)


@pytest.mark.parametrize(
    "path", ["/pages/../web.py", "/pages/%2e%2e%2fweb.py", "/pages/none.js", "/api/decisions/99", "/x"]
)
def test_there_is_nothing_else(page: Dashboard, path: str) -> None:
    assert client(page).get(path).status_code == 404


@pytest.mark.parametrize("query", ["span=1y", "by=__class__"])
def test_words_that_are_not_known_are_refused(page: Dashboard, query: str) -> None:
    assert client(page).get(f"/api/decisions?{query}").status_code == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"[]", 400), (b"{", 400), (b"[" * 100_000, 400), (b'{"text": 3}', 400), (b"x" * (9 * 2**20), 413)],
)
def test_bad_bodies_are_refused(page: Dashboard, body: bytes, status: int) -> None:
    answer = client(page).post("/api/playground", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status


def test_a_record_without_its_snapshot_is_shown_all_the_same(page: Dashboard) -> None:
    found = client(page).get("/api/decisions/1").json()
    assert found["record"]["operation"] == "work"
    assert "no such file" in found["problem"]


def test_measurements_are_those_of_the_database_and_of_no_other_file(page: Dashboard, tmp_path: Path) -> None:
    path, here = tmp_path / "m.sqlite", MachineInfo({"device": "cpu"}, {"torch": "2.13.0"})
    with Database(path, here) as database:
        database.put(Key("silu", {"rows": 8}), "torch.silu", Timing(3.0, 0.5, None, 3.0, 7))
        database.put(Key("silu", {"rows": 8}), HOSTILE, Failed("it raised"))
    page.measurements = [path]
    found = client(page).get("/api/measurements").json()
    assert (found["operations"], found["machines"][0]["device"]) == (["silu"], {"device": "cpu"})
    assert {(one["median_us"], one["error"]) for one in found["points"]} == {(3.0, None), (None, "it raised")}
    assert client(page).get("/api/measurements", params={"database": "/etc/passwd"}).json()["points"] == []
    path.write_bytes(b"no database at all, but long enough to be looked at")
    assert "no database of measurements" in client(page).get("/api/measurements").json()["problem"]
