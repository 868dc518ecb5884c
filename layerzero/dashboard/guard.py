"""Requests -> those that may pass: the right host, the token where there is one, nothing that another site sent.

A page elsewhere can make a browser send requests here, and by DNS rebinding even read the answers, as its own name
then leads to this machine. So a name in `Host` has to be one that was told; numbers cannot be rebound. What changes
anything, or costs anything, has to come from a page of ours.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response

COOKIE = "layerzero_dashboard"
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: Any, hosts: Iterable[str] = (), token: str | None = None) -> None:
        self._app = app
        self._hosts = {"localhost", *(host.lower() for host in hosts)}
        self._token = token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def send_guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refused = self._refusal(scope, Headers(scope=scope))
        await (refused or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Any, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if not self._knows(host):
            return _say(421, "this name is not one of the dashboard's; `lz dashboard --allow-host NAME` allows one")
        if scope["path"] == "/login" and self._token is not None:
            return self._login(scope)
        if self._token is not None and not self._has_token(headers):
            return _say(401, "open the address with the token that `lz dashboard` printed")
        if scope["path"] != "/" and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return _say(403, "this was sent by a page of another site")
        if scope["method"] not in ("GET", "HEAD"):
            origin = headers.get("origin")
            if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
                return _say(403, "this was sent by a page of another site")
            if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                return _say(415, "wanted application/json")
        return None

    def _knows(self, host: str) -> bool:
        name = host.lower()
        name = name[1 : name.index("]")] if name.startswith("[") and "]" in name else name.partition(":")[0]
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._hosts
        return True

    def _has_token(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._fits(given.strip()):
            return True
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        return COOKIE in cookies and self._fits(cookies[COOKIE].value)

    def _login(self, scope: Any) -> Response:
        """`/login?token=...` -> a cookie, and the first page, so that the token does not stay in the address."""
        given = parse_qs(scope["query_string"].decode("ascii", "replace")).get("token", [""])[0]
        if not self._fits(quote(given, safe="")):
            return _say(401, "this is not the token that `lz dashboard` printed")
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(COOKIE, quote(given, safe=""), httponly=True, samesite="strict", path="/")
        return answer

    def _fits(self, given: str) -> bool:
        assert self._token is not None
        return hmac.compare_digest(given.encode(), quote(self._token, safe="").encode())


def _say(status: int, text: str) -> Response:
    return PlainTextResponse(text + "\n", status_code=status)
