"""Every source holds what Source says, against the real server."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from unittest.mock import patch

import httpx
import pytest

from layerzero.errors import ArgumentError
from layerzero.fleet.server import FleetServer
from layerzero.fleet.source import AbsentError, Hold, Source, SourceError, open_source, shown
from layerzero.fleet.sources import files, web
from layerzero.fleet.sources.files import FileSource
from tests.integration.fleet.servers import KINDS, Place, place

DIGEST = "a" * 64


@pytest.fixture(scope="module", params=KINDS)
def there(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    found = place(request.param, tmp_path_factory.mktemp(request.param))
    yield found
    found.stop()


@pytest.fixture
def source(there: Place) -> Iterator[Source]:
    with closing(open_source(there.url)) as found:
        yield found


def mark_of(source: Source) -> str | None:
    try:
        return source.fetch(None, 0.0).mark
    except AbsentError:
        return None


def test_a_release_comes_as_it_was_pushed_and_once(source: Source) -> None:
    if mark_of(source) is None:
        with pytest.raises(AbsentError):
            source.fetch(None, 0.0)
    for data in (b"one\n\0\xff", b"two" * 100_000):
        source.push(data, mark_of(source))
        fetched = source.fetch(None, 0.0)
        assert fetched.data == data
        again = source.fetch(fetched.mark, 0.0)
        assert (again.data, again.mark) == (None, fetched.mark)


def test_a_push_onto_another_release_than_expected_is_refused(source: Source) -> None:
    before = mark_of(source)
    source.push(b"first", before)
    for mark in (None, before):
        with pytest.raises(SourceError, match="another release by now"):
            source.push(b"second", mark)
    assert source.fetch(None, 0.0).data == b"first"


def test_who_waits_hears_of_a_change_at_once(there: Place, source: Source) -> None:
    source.push(b"before", mark_of(source))
    mark = mark_of(source)

    def change() -> None:
        time.sleep(0.3)
        with closing(open_source(there.url)) as other:
            other.push(b"after", mark)

    threading.Thread(target=change, daemon=True).start()
    began = time.monotonic()
    assert source.fetch(mark, 20.0).data == b"after"
    assert time.monotonic() - began < 15


def test_who_waits_for_nothing_is_told_so(source: Source) -> None:
    source.push(b"still", mark_of(source))
    mark = mark_of(source)
    assert source.fetch(mark, 1.0).data is None


def test_a_hold_stays_until_it_is_resumed_and_the_first_reason_counts(source: Source) -> None:
    assert source.held(DIGEST) is None
    source.hold(DIGEST, Hold("node-1", "breaker `x` opened"))
    source.hold(DIGEST, Hold("node-2", "too"))
    assert source.held(DIGEST) == Hold("node-1", "breaker `x` opened")
    source.resume(DIGEST)
    assert source.held(DIGEST) is None


def test_reports_are_kept_by_node(source: Source) -> None:
    for node, state in (("node-1", "one"), ("node-2", "two"), ("node-1", "three")):
        source.report(node, b'{"state": "%s"}' % state.encode())
    assert sorted(source.reports()) == [b'{"state": "three"}', b'{"state": "two"}']


def test_a_server_that_is_started_again_goes_on_where_it_was(there: Place, source: Source) -> None:
    source.push(b"kept", mark_of(source))
    mark = mark_of(source)
    if there.kind != "file":
        there.stop()
        with pytest.raises(SourceError):
            source.fetch(mark, 0.0)
        there.start()
    assert source.fetch(mark, 0.0).data is None
    assert source.fetch(None, 0.0).data == b"kept"


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "url",
    "ftp://host/prod https:///prod https://host https://host/prod?x=1 redis://host/prod redis://host/0 etcd://host "
    "etcd://user@host/prod file://host/p.lzb https://user:secret@host/prod redis://host/0/a%20b "
    "redis://u:secret@host:x/0/p http://[::1/p etcd://:secret@host/p".split(),
)
def test_an_address_that_is_none_is_said_without_its_password(url: str) -> None:
    with pytest.raises(ArgumentError) as refused:
        open_source(url)
    assert "secret" not in str(refused.value)


def test_an_address_is_shown_without_user_password_and_query() -> None:
    assert shown("rediss://user:secret@host:6379/0/prod?password=secret") == "rediss://host:6379/0/prod?..."
    assert "secret" not in shown("redis://u:secret@[::1/0/p")


def test_the_token_is_not_sent_where_others_can_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(web.TOKEN, "secret")
    with pytest.raises(ArgumentError, match="use https"):
        open_source("http://policies.example/prod")
    open_source("https://policies.example/prod").close()


# ---------------------------------------------------------------- the web server


def test_who_writes_to_the_web_server_shows_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match="wants a token"):
        FleetServer(tmp_path, "0.0.0.0")
    with FleetServer(tmp_path, token="secret").running() as url:
        monkeypatch.delenv(web.TOKEN, raising=False)
        with closing(open_source(f"{url}/p")) as nobody:
            for write in (
                lambda: nobody.push(b"x", None),
                lambda: nobody.report("node", b"{}"),
                lambda: nobody.hold(DIGEST, Hold("n", "r")),
                lambda: nobody.resume(DIGEST),
            ):
                with pytest.raises(SourceError, match="401"):
                    write()
        assert os.listdir(tmp_path) == []
        monkeypatch.setenv(web.TOKEN, "secret")
        with closing(open_source(f"{url}/p")) as somebody:
            somebody.push(b"x", None)
        assert httpx.get(f"{url}/p").content == b"x"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("certificate")
    files = folder / "server.pem", folder / "server.key"
    make = "openssl req -x509 -newkey ed25519 -nodes -days 1 -subj /CN=here -addext subjectAltName=IP:127.0.0.1".split()
    done = subprocess.run([*make, "-out", files[0], "-keyout", files[1]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return files


def test_https_is_spoken_with_servers_whose_certificate_is_trusted(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(web.TOKEN, "secret")
    with FleetServer(tmp_path, token="secret", certificate=certificate).running() as url:
        slow = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))  # and shakes no hands
        with closing(open_source(f"{url}/p")) as source, pytest.raises(SourceError, match="certificate"):
            source.fetch(None, 0.0)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        with closing(open_source(f"{url}/p")) as source:
            source.push(b"x", None)
            assert source.fetch(None, 0.0).data == b"x"
        slow.close()


def test_the_web_server_serves_nothing_but_releases(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("x")
    with FleetServer(tmp_path).running() as url:
        for path in ("/../secret.txt", "/secret.txt", "/", "/p/nodes/../../x", "/p/q", "/%2e%2e/secret.txt"):
            assert httpx.get(url + path).status_code == 404
        browser = {"Origin": "https://evil.example"}
        assert httpx.put(f"{url}/p", content=b"x", headers=browser).status_code == 401
        assert httpx.put(f"{url}/p/nodes/n", content=b"[1]").status_code == 400
        big = HTTPConnection(url.removeprefix("http://"))
        big.putrequest("PUT", "/p")
        big.putheader("Content-Length", str(10**9))
        big.endheaders()
        assert big.getresponse().status == 413
        big.close()
    assert os.listdir(tmp_path) == ["secret.txt"]


# ---------------------------------------------------------------- servers that mean no good


@contextmanager
def answering(*parts: bytes, pause: float = 0.0) -> Iterator[str]:
    """A server that sends these bytes to everybody who connects, and goes on with the last of them for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=send, args=(connection,), daemon=True).start()

        def send(connection: socket.socket) -> None:
            with connection:
                try:
                    connection.recv(65536)
                    for part in parts:
                        connection.sendall(part)
                    while pause:
                        time.sleep(pause)
                        connection.sendall(parts[-1])
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("scheme", ["http", "etcd", "redis"])
def test_an_answer_that_is_none_is_an_error_of_the_source(scheme: str) -> None:
    body = b'{"kvs": [{"value": "!"}]}'
    for answer in (b"garbage\r\n\r\n", OK + b"Content-Length: 9999\r\n\r\nshort", b"", OK + b"\r\n" + body):
        with answering(answer) as host, closing(open_source(f"{scheme}://{host}/0/p")) as source:
            if scheme == "http" and answer.endswith(body):
                continue  # any body is a release, which its signature decides about
            with pytest.raises(SourceError):
                source.fetch(None, 0.0)


def test_a_source_that_sends_slowly_or_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MOST_SECONDS_IN_ALL", 0.3)
    with answering(OK + b"\r\n", b"x", pause=0.02) as host, closing(open_source(f"http://{host}/p")) as source:
        with pytest.raises(SourceError, match="too slowly"):
            source.fetch(None, 0.0)
    monkeypatch.setattr(web, "MAX_RELEASE_BYTES", 1000)
    with answering(OK + b"\r\n", b"x" * 999, pause=0.001) as host, closing(open_source(f"http://{host}/p")) as source:
        with pytest.raises(SourceError, match="more than 1000 bytes"):
            source.fetch(None, 0.0)


def test_a_packed_answer_is_not_unpacked() -> None:
    import gzip

    packed = gzip.compress(b"x" * 1000)
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with answering(head + packed) as host, closing(open_source(f"http://{host}/p")) as source:
        assert source.fetch(None, 0.0).data == packed


def test_a_server_that_says_nothing_has_changed_to_who_has_nothing_is_in_error() -> None:
    with answering(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n") as host:
        with closing(open_source(f"http://{host}/p")) as source:
            with pytest.raises(SourceError, match="304"):
                source.fetch(None, 0.0)
            assert source.fetch('"x"', 0.0).data is None


@pytest.mark.parametrize("etag", ['"\xe9"', '"' + "x" * 5000 + '"'])
def test_a_mark_that_cannot_be_sent_back_is_none(etag: str) -> None:
    with answering(OK + f"Connection: close\r\nETag: {etag}\r\nContent-Length: 1\r\n\r\nx".encode("latin-1")) as host:
        with closing(open_source(f"http://{host}/p")) as source:
            assert source.fetch(source.fetch(None, 0.0).mark, 0.0).data == b"x"


def test_a_push_that_breaks_off_leaves_the_release_before(tmp_path: Path) -> None:
    with FleetServer(tmp_path).running() as url:
        assert httpx.put(f"{url}/p", content=b"whole", headers={"If-None-Match": "*"}).status_code == 204
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as broken:
            broken.sendall(b"PUT /p HTTP/1.1\r\nContent-Length: 1000\r\n\r\nhalf")
            broken.shutdown(socket.SHUT_WR)
            assert broken.recv(1000) == b""  # the server has given it up
        assert httpx.get(f"{url}/p").content == b"whole"


def test_certificates_that_cannot_be_read_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "absent.pem")
    for scheme in ("https", "etcds"):
        with pytest.raises(SourceError, match=r"SSL_CERT_FILE=absent\.pem"):
            open_source(f"{scheme}://host/p")


def test_a_redirection_is_not_followed() -> None:
    with answering(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n") as host:
        with closing(open_source(f"http://{host}/p")) as source, pytest.raises(SourceError, match="302"):
            source.fetch(None, 0.0)


# ---------------------------------------------------------------- files


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    with pytest.raises(SourceError, match="is not a file"):
        open_source(f"file://{tmp_path}/p").fetch(None, 0.0)


def test_a_file_that_stays_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "p"
    file.write_bytes(b"one")
    os.utime(file, (1e9, 1e9))
    source = FileSource(file)
    mark = source.fetch(None, 0.0).mark
    time.sleep(files.SETTLED)
    assert source.fetch(mark, 0.0).data is None
    with patch.object(FileSource, "_read", side_effect=AssertionError("read again")):
        assert source.fetch(mark, 0.3).data is None
    file.write_bytes(b"two")
    assert source.fetch(mark, 0.0).data == b"two"


# ---------------------------------------------------------------- etcd with users


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """etcd in which user `fleet` may use what is below `fleet/`, and nobody anything without a password."""
    found = place("etcd", tmp_path_factory.mktemp("guarded"))
    name = lambda text: base64.b64encode(text.encode()).decode()  # noqa: E731
    own = {"permType": "READWRITE", "key": name("fleet/"), "range_end": name("fleet0")}
    for what, data in (
        ("user/add", {"name": "root", "password": "r"}),
        ("role/add", {"name": "root"}),
        ("user/grant", {"user": "root", "role": "root"}),
        ("user/add", {"name": "fleet", "password": "p@ss/word"}),
        ("role/add", {"name": "nodes"}),
        ("role/grant", {"name": "nodes", "perm": own}),
        ("user/grant", {"user": "fleet", "role": "nodes"}),
        ("enable", {}),
    ):
        httpx.post(f"http://127.0.0.1:{found.port}/v3/auth/{what}", json=data).raise_for_status()
    yield found
    found.stop()


def test_etcd_is_asked_as_the_user_of_the_address(guarded: Place) -> None:
    as_user = guarded.url.replace("etcd://", "etcd://fleet:p%40ss%2Fword@")
    with closing(open_source(as_user)) as source:
        source.push(b"one", None)
        source.report("node-1", b"{}")
        mark = source.fetch(None, 0.0).mark
        assert source.fetch(mark, 1.0).data is None
        guarded.stop()
        guarded.start()  # and has forgotten the token
        assert source.fetch(mark, 1.0).data is None
        assert list(source.reports()) == [b"{}"]


def test_etcd_refuses_strangers_and_the_password_is_not_shown(guarded: Place) -> None:
    for who, why in (("", "user name is empty"), ("fleet:secret@", "authentication failed")):
        with closing(open_source(guarded.url.replace("etcd://", f"etcd://{who}"))) as source:
            with pytest.raises(SourceError, match=why) as refused:
                source.fetch(None, 0.0)
            assert "secret" not in str(refused.value)
