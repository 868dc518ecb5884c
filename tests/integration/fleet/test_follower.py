"""Nodes that follow a source, and what sources, networks, clocks and attackers do to them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from layerzero.check.expressions import Value
from layerzero.errors import PolicyError
from layerzero.fleet import node as nodes
from layerzero.fleet.building import push
from layerzero.fleet.bundle import Sealed
from layerzero.fleet.errors_risen import FailureCounts, risen
from layerzero.fleet.follower import Follower, Options
from layerzero.fleet.kept import KeptBundles
from layerzero.fleet.keys import Trust
from layerzero.fleet.source import Hold, SourceError, open_source
from layerzero.fleet.sources import web
from layerzero.fleet.status import FleetStatus
from layerzero.runtime.engine import Engine
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.runtime.whole_file import replace_file
from layerzero.semantics.environment import Environment
from tests.integration.fleet.servers import KINDS, Place, place, wait_until
from tests.unit.fleet.made import release, signed, trusting
from tests.unit.fleet.test_rollout import IN, OUT

OPS = trusting("ops")
BAD = "deny k.nobody for o\n"


class NoMachine:
    """No devices, every package."""

    def environment(self, vocabulary: Vocabulary, today: date) -> Environment:
        return Environment(assume_packages=True, today=today)

    def devices(self) -> Sequence[Mapping[str, Value]]:
        return ()


@dataclass
class Node:
    """An engine that follows a source."""

    url: str
    folder: Path | None = None
    name: str = IN
    trust: Trust = OPS
    reports: bool = True
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    failing: FailureCounts | None = None
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = Engine(NoMachine())
        keep = None if self.folder is None else KeptBundles(self.url, self.name, self.folder)
        options = Options(self.name, interval=0.05, reports=self.reports, poll=0.3)
        tell = lambda failure: self.failures.append(failure.message)  # noqa: E731
        self.follower = Follower(
            self.engine, self.url, lambda: self.trust, options, keep, self.failing, tell, self.clock
        )

    def begin(self) -> Node:
        self.follower.first()
        self.follower.start()
        return self

    @property
    def version(self) -> int:
        return int(self.engine.current().identity.version or 0)

    @property
    def status(self) -> FleetStatus:
        return self.follower.status()

    def comes_to(self, version: int) -> None:
        wait_until(lambda: self.version == version, f"version {version} on {self.name}")

    def fails_with(self, text: str) -> None:
        wait_until(lambda: self.status.failure is not None and text in self.status.failure.message, text)

    def close(self) -> None:
        self.follower.stop()
        self.engine.close()


@pytest.fixture
def node() -> Iterator[Callable[..., Node]]:
    made: list[Node] = []

    def make(*args: Any, **options: Any) -> Node:
        made.append(Node(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/p.lzb"


def put(url: str, *bundles: Sealed, trust: Trust = OPS) -> None:
    """Push as an operator does."""
    with closing(open_source(url)) as source:
        for one in bundles:
            push(source, one, trust, datetime.now(UTC))


def plant(url: str, data: bytes) -> None:
    """Write as an attacker with access to the source does."""
    replace_file(Path(url.removeprefix("file://")), data)


# ---------------------------------------------------------------- the usual day


@pytest.fixture(scope="module", params=KINDS)
def there(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    found = place(request.param, tmp_path_factory.mktemp(request.param))
    yield found
    found.stop()


def test_each_push_is_put_in_force_and_reported(there: Place, node: Callable[..., Node]) -> None:
    url = there.at("usual")
    put(url, signed(1))
    one, other = node(url).begin(), node(url, name=OUT).begin()
    assert (one.version, one.status.state, one.status.active and one.status.active.version) == (1, "current", 1)
    put(url, signed(2))
    one.comes_to(2)
    other.comes_to(2)
    with closing(open_source(url)) as source:
        wait_until(lambda: len([r for r in source.reports() if b'"version": 2' in r]) == 2, "two reports")
    assert one.status.reloads == 1 and one.status.reporting is None and one.failures == []


def test_a_server_that_goes_away_and_comes_back(there: Place, node: Callable[..., Node]) -> None:
    url = there.at("outage")
    put(url, signed(1))
    one = node(url).begin()
    if there.kind == "file":
        Path(url.removeprefix("file://")).unlink()
    else:
        there.stop()
    wait_until(lambda: one.status.state == "failed", "noticing")
    assert one.version == 1 and len(one.failures) == 1
    there.start()
    put(url, signed(2))
    one.comes_to(2)
    wait_until(lambda: one.status.state == "current", "recovering")
    assert len(one.failures) == 1


# ---------------------------------------------------------------- a start without a source


def test_a_start_without_source_has_the_last_good_bundle(tmp_path: Path, url: str, node: Callable[..., Node]) -> None:
    kept = tmp_path / "kept"
    put(url, signed(1))
    node(url, kept).begin().close()
    Path(url.removeprefix("file://")).unlink()
    again = node(url, kept).begin()
    assert again.version == 1 and again.status.state == "failed" and "no such file" in again.failures[0]
    put(url, signed(2))
    again.comes_to(2)
    with pytest.raises(SourceError, match="no such file"):
        node(f"{url}x", kept).begin()
    nothing = node(f"{url}x")
    with pytest.raises(SourceError):
        nothing.begin()
    assert nothing.version == 0


def test_a_process_that_is_behind_does_not_bring_a_replay_back(
    url: str, tmp_path: Path, node: Callable[..., Node]
) -> None:
    kept = tmp_path / "kept"
    put(url, signed(7))
    behind = node(url, kept).begin()
    behind.close()
    behind.follower._thread.join()  # which otherwise still sees version 8
    put(url, signed(8))
    node(url, kept).begin().close()
    behind.follower._node._kept = None
    behind.follower._node._runs(behind.follower._node.active)  # and keeps what it has, version 7
    plant(url, release(signed(7)))
    again = node(url, kept).begin()
    again.fails_with("replay")
    assert again.version == 8


def test_what_is_kept_is_verified_again_and_needs_a_private_folder(
    tmp_path: Path, url: str, node: Callable[..., Node], caplog: pytest.LogCaptureFixture
) -> None:
    kept = tmp_path / "kept"
    put(url, signed(1))
    one = node(url, kept).begin()
    one.close()
    Path(url.removeprefix("file://")).unlink()
    with pytest.raises(SourceError):
        node(url, kept, trust=trusting("other")).begin()
    assert "signed by no trusted key" in caplog.text
    kept.chmod(0o777)
    with pytest.raises(SourceError):
        node(url, kept).begin()
    kept.chmod(0o700)
    file = Path(one.status.last_good or "")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(SourceError):
        node(url, kept).begin()
    assert "is damaged" in caplog.text


def test_a_start_knows_what_it_must_not_go_below(tmp_path: Path, url: str, node: Callable[..., Node]) -> None:
    kept = tmp_path / "kept"
    put(url, signed(1), signed(2))
    node(url, kept).begin().close()
    plant(url, release(signed(1)))
    again = node(url, kept).begin()
    assert again.version == 2 and "this is a replay" in again.failures[0]


def test_a_bundle_that_expired_meanwhile_stays_and_is_told(tmp_path: Path, url: str, node: Callable[..., Node]) -> None:
    kept, day = tmp_path / "kept", timedelta(days=1)
    put(url, signed(1, expires=datetime.now(UTC) + day))
    node(url, kept).begin().close()
    later = node(url, kept, clock=lambda: datetime.now(UTC) + 2 * day).begin()
    assert later.version == 1 and "expired at" in later.failures[0]
    with pytest.raises(PolicyError, match="expired at"):
        node(url, clock=lambda: datetime.now(UTC) + 2 * day).begin()


# ---------------------------------------------------------------- what must not come in


def test_what_is_refused_changes_nothing_and_is_told_once(url: str, node: Callable[..., Node]) -> None:
    put(url, signed(5))
    one = node(url).begin()
    good = signed(6).to_bytes()
    tampered = good.replace(b"kernel k.b", b"kernel k.c")
    for data, why in (
        (good[:-1], "truncated"),
        (b"<html>not found</html>\n", "not a bundle"),
        (signed(4).to_bytes(), "this is a replay"),
        (signed(5, "# other\n").to_bytes(), "another bundle"),
        (signed(6, by="mallory").to_bytes(), "by no trusted key"),
        (tampered, "does not hold"),
        (replace(signed(6), signatures=()).to_bytes(), "not signed"),
        (signed(6, BAD).to_bytes(), "k.nobody"),
    ):
        plant(url, data)
        one.fails_with(why)
        assert one.version == 5 and one.status.active is not None and one.status.active.version == 5
    wait_until(lambda: len(one.failures) == 8, "telling of the last")
    assert len(set(one.failures)) == 8
    put(url, signed(7))
    one.comes_to(7)
    wait_until(lambda: one.status.failure is None, "recovering")


def test_a_node_goes_back_to_the_bundle_that_it_ran_last(tmp_path: Path, url: str, node: Callable[..., Node]) -> None:
    kept = tmp_path / "kept"
    put(url, signed(5))
    one = node(url, kept).begin()
    put(url, signed(6, BAD))
    one.fails_with("k.nobody")
    put(url, signed(7, share=9999))
    one.comes_to(7)
    open_breaker(one, "k.a on cpu")
    one.comes_to(5)
    wait_until(lambda: one.status.held is not None, "the hold")
    one.close()
    again = node(url, kept, name=one.name).begin()  # the candidate is held, the stable bundle is bad
    assert again.version == 5


def test_a_bad_candidate_does_not_keep_the_stable_bundle_out(url: str, node: Callable[..., Node]) -> None:
    put(url, signed(5))
    one = node(url).begin()
    plant(url, release(signed(7, share=5000, by="mallory"), signed(6)))
    one.comes_to(6)
    one.fails_with("by no trusted key")
    plant(url, release(signed(4, share=5000), signed(6)))
    one.fails_with("this is a replay")
    assert one.version == 6


def test_a_bundle_before_its_time_is_put_in_force_when_it_has_come(
    url: str, node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "LOOK_AGAIN", timedelta(0))
    put(url, signed(1))
    behind = [timedelta(hours=-1)]  # that the node's clock is wrong by
    one = node(url, clock=lambda: datetime.now(UTC) + behind[0]).begin()
    plant(url, signed(2, not_before=datetime.now(UTC) - timedelta(minutes=1)).to_bytes())
    one.fails_with("the clock of this node says")
    assert one.version == 1
    behind[0] = timedelta(minutes=-4)
    one.comes_to(2)


def test_keys_are_changed_without_a_gap_and_without_another_start(url: str, node: Callable[..., Node]) -> None:
    put(url, signed(1, by="old"), trust=trusting("old"))
    one = node(url, trust=trusting("old")).begin()
    put(url, signed(2, by="new"), trust=trusting("new"))
    one.fails_with("by no trusted key")
    one.trust = trusting("old", "new")  # the new public key was put beside the old one
    put(url, signed(3, by="new"), trust=trusting("new"))
    one.comes_to(3)
    one.trust = trusting("new")
    plant(url, signed(4, by="old").to_bytes())
    one.fails_with("by no trusted key")
    assert one.version == 3


class Plain(SimpleHTTPRequestHandler):
    """A web server that knows nothing of fleets: no ETag, no waiting, nothing but GET."""

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_any_web_server_that_serves_the_file_will_do(tmp_path: Path, url: str, node: Callable[..., Node]) -> None:
    put(url, signed(1))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Plain, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        one = node(f"http://127.0.0.1:{server.server_port}/p.lzb").begin()
        wait_until(lambda: one.status.reporting is not None, "the report that nobody takes")
        put(url, signed(2, share=9999))
        one.comes_to(2)
        open_breaker(one, "k.a on cpu")
        one.comes_to(1)  # here, though nobody hears of it
        assert one.status.held is None and "501" in (one.status.reporting or "")
        server.shutdown()


def test_a_source_that_does_not_answer_holds_nobody_up(
    tmp_path: Path, node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "MOST_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/p"
        with pytest.raises(SourceError, match="did not answer in time"):
            node(url).begin()
        waiting = node(url)
        threading.Thread(target=waiting.follower.start, daemon=True).start()
        assert waiting.engine.current().epoch == 1  # while the thread of the fleet waits


# ---------------------------------------------------------------- roll-outs


def test_a_candidate_runs_on_its_share_and_then_on_all(url: str, node: Callable[..., Node]) -> None:
    put(url, signed(7))
    inside, outside = node(url, name=IN).begin(), node(url, name=OUT).begin()
    put(url, signed(8, share=500))
    inside.comes_to(8)
    wait_until(lambda: outside.status.rollout is not None, "the offer")
    rollout = outside.status.rollout
    assert rollout is not None and (rollout.version, rollout.share, rollout.for_this_node) == (8, 5.0, False)
    assert outside.version == 7
    put(url, signed(8))
    outside.comes_to(8)
    wait_until(lambda: inside.status.rollout is None, "the end of the roll-out")
    assert inside.version == 8 and inside.status.reloads == 1


def test_a_candidate_that_is_given_up_is_taken_back(url: str, node: Callable[..., Node]) -> None:
    put(url, signed(7))
    inside = node(url).begin()
    put(url, signed(8, share=500))
    inside.comes_to(8)
    put(url, signed(7))
    inside.comes_to(7)


def test_a_node_that_cannot_activate_a_candidate_holds_it(url: str, node: Callable[..., Node]) -> None:
    put(url, signed(7))
    first = node(url).begin()
    put(url, signed(8, BAD, share=5000))
    first.fails_with("k.nobody")
    wait_until(lambda: first.status.held is not None, "the hold")
    assert first.version == 7
    second = node(url, name=IN.replace("node", "host"), reports=False)
    plant(url, release(signed(8, BAD, share=9999), signed(7)))  # the same policy for more: a hold is by digest
    second.begin()
    assert second.version == 7 and (second.status.held or "").startswith(f"{IN}: the policy has 1 error")
    put(url, signed(9, share=5000))
    first.comes_to(9)
    wait_until(lambda: first.status.held is None and first.status.failure is None, "the end of the hold")


def open_breaker(one: Node, name: str) -> None:
    breakers = MappingProxyType({name: "3 failures in a row, the last: boom"})
    one.engine.change(lambda inputs: replace(inputs, open_breakers=breakers))


def test_a_breaker_that_opens_takes_a_candidate_back_and_holds_it(url: str, node: Callable[..., Node]) -> None:
    put(url, signed(7))
    first = node(url).begin()
    open_breaker(first, "k.b on cpu")  # before, so no fault of the candidate
    put(url, signed(8, share=9999))
    first.comes_to(8)
    open_breaker(first, "k.a on cpu")
    first.comes_to(7)
    first.fails_with("the breaker of `k.a on cpu` opened under bundle `p` version 8")
    wait_until(lambda: first.status.held is not None, "the hold")
    second = node(url, name=OUT).begin()
    assert second.version == 7
    wait_until(lambda: second.status.held is not None, "the hold")

    digest = signed(8).digest
    with closing(open_source(url)) as source:
        assert source.held(digest) is not None
        source.resume(digest)
    second.comes_to(8)
    first.comes_to(8)


def test_calls_that_fail_more_often_under_a_candidate_take_it_back(url: str, node: Callable[..., Node]) -> None:
    count, now = [0], [0.0]
    failing = FailureCounts(lambda: count[0], lambda: now[0])
    put(url, signed(7))
    one = node(url, failing=failing).begin()
    wait_until(lambda: len(failing._stable) > 0, "the first count")
    now[0], count[0] = 300.0, 3
    put(url, signed(8, share=9999))
    one.comes_to(8)
    wait_until(lambda: failing._began is not None, "the count at the candidate's start")
    now[0], count[0] = 330.0, 14
    one.comes_to(7)
    one.fails_with("11 calls of kernels failed in 30 s, 3 in the 300 s before")
    wait_until(lambda: one.status.held is not None, "the hold")


def test_failures_have_risen_when_there_are_some_and_many_more_than_before() -> None:
    assert risen(9, 10, 0, 600) is None  # too few
    assert risen(100, 10, 0, 59) is None  # nothing to compare with
    assert risen(30, 60, 100, 600) is None  # three times as often
    assert risen(31, 60, 100, 600) == "31 calls of kernels failed in 60 s, 100 in the 600 s before"


def test_a_candidate_that_failed_is_tried_again_when_it_is_pushed_to_everybody(
    url: str, node: Callable[..., Node]
) -> None:
    put(url, signed(7))
    one = node(url).begin()
    put(url, signed(8, share=9999))
    one.comes_to(8)
    open_breaker(one, "k.a on cpu")
    one.comes_to(7)
    put(url, signed(8))
    one.comes_to(8)
    wait_until(lambda: one.status.failure is None, "recovering")


def test_a_breaker_that_opens_under_a_stable_bundle_is_no_roll_out(url: str, node: Callable[..., Node]) -> None:
    put(url, signed(7), signed(8))
    one = node(url).begin()
    open_breaker(one, "k.a on cpu")
    put(url, signed(9))
    one.comes_to(9)
    assert one.failures == []


def test_nobody_begins_while_it_is_not_known_whether_a_candidate_is_held(
    url: str, node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    from layerzero.fleet.sources.files import FileSource

    def lost(self: FileSource, digest: str) -> Hold | None:
        raise SourceError("no answer")

    put(url, signed(7))
    one = node(url).begin()
    with monkeypatch.context() as patch:
        patch.setattr(FileSource, "held", lost)
        put(url, signed(8, share=9999))
        wait_until(lambda: one.status.rollout is not None, "the offer")
        put(url, signed(9), signed(10, share=9999))
        wait_until(lambda: "version=10" in str(one.status.rollout), "the next offer")
        one.comes_to(9)
    one.comes_to(10)


def test_once_stopped_nothing_is_put_in_force(url: str, node: Callable[..., Node]) -> None:
    put(url, signed(1))
    one = node(url).begin()
    one.follower.stop()
    put(url, signed(2))
    assert one.follower._thread is not None
    one.follower._thread.join(10)
    assert one.version == 1 and one.engine.listeners == []
