"""A watched policy under what editors, deployments and accidents do to its files."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from layerzero.backends.machine import ThisMachine
from layerzero.runtime.building import InProcess, Loaded, Material
from layerzero.runtime.engine import Engine
from layerzero.runtime.live import Live
from layerzero.runtime.watcher import Watcher
from layerzero.syntax.limits import MAX_FILE_BYTES

WORDS = "field n: int in 0..99\noperation o { needs n }\nkernel k.a for o { }\nkernel k.b for o { }\n"


def text(version: int, more: str = "") -> str:
    """A policy of a given version; all have the same length."""
    return f'policy "p" version {100 + version} standalone\n{WORDS}{more}'


@dataclass
class Watched:
    """An engine that follows a path, and what it was told."""

    path: Path
    hints: bool = True
    interval: float = 3600.0  # so long that a hint alone can be the reason
    builder: InProcess = field(default_factory=InProcess)
    catalogs: tuple[Path, ...] = ()
    failures: list[Any] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = Engine(ThisMachine(lambda: [{"device": "cpu"}]), builder=self.builder)
        material = Material(path=self.path, with_catalogs=self.catalogs)
        self.watcher = Watcher(
            self.engine, material, interval=self.interval, hints=self.hints, on_failure=self.failures.append
        )
        self.watcher.first()
        self.engine.watching = self.watcher.status
        self.engine.listeners.append(lambda snapshot: self.versions.append(int(snapshot.identity.version or 0) - 100))
        self.watcher.start()
        if self.hints:
            wait_until(lambda: self.watcher._events is not None and bool(self.watcher._events._followed))

    @property
    def version(self) -> int:
        return int(self.engine.current().identity.version or 0) - 100

    def close(self) -> None:
        self.watcher.stop()
        self.engine.close()


def wait_until(condition: Callable[[], bool], what: str = "it") -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within 30 s"
        time.sleep(0.005)


@pytest.fixture(params=["hints", "polling"])
def watch(request: Any) -> Iterator[Callable[..., Watched]]:
    """Makes a watcher that has hints alone, or the clock alone."""
    made: list[Watched] = []

    def start(path: Path, **options: Any) -> Watched:
        how = {"interval": 3600.0} if request.param == "hints" else {"hints": False, "interval": 0.02}
        made.append(Watched(path, **{**how, **options}))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "p.lzp"
    file.write_text(text(1), encoding="utf-8")
    return file


# ---------------------------------------------------------------- how a file is saved


def in_place(file: Path, new: str) -> None:
    file.write_text(new, encoding="utf-8")


def written_aside_and_renamed(file: Path, new: str) -> None:
    other = file.with_name("4913~")
    other.write_text(new, encoding="utf-8")
    other.replace(file)


def moved_to_a_backup_and_written(file: Path, new: str) -> None:
    file.replace(file.with_name(f"{file.name}~"))
    time.sleep(0.02)
    file.write_text(new, encoding="utf-8")


def deleted_and_written(file: Path, new: str) -> None:
    file.unlink()
    time.sleep(0.2)
    file.write_text(new, encoding="utf-8")


def in_halves(file: Path, new: str) -> None:
    with open(file, "w", encoding="utf-8") as writing:
        writing.write(new[: len(new) // 2])
        writing.flush()
        time.sleep(0.03)
        writing.write(new[len(new) // 2 :])


def with_the_time_of_before(file: Path, new: str) -> None:
    stamp = file.stat()
    assert len(new) == stamp.st_size
    with open(file, "r+", encoding="utf-8") as writing:
        writing.write(new)
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


WAYS = (
    in_place,
    written_aside_and_renamed,
    moved_to_a_backup_and_written,
    deleted_and_written,
    in_halves,
    with_the_time_of_before,
)


@pytest.mark.parametrize("save", WAYS, ids=lambda way: way.__name__)
def test_a_save_is_put_in_force_however_it_is_made(
    watch: Callable[..., Watched], path: Path, save: Callable[[Path, str], None]
) -> None:
    watched = watch(path)
    for version in (2, 3):
        save(path, text(version))
        wait_until(lambda version=version: watched.version == version, f"version {version}")  # type: ignore[misc]
    assert watched.versions == [2, 3], "and nothing else, whole and once"


def test_a_file_that_is_imported_a_folder_and_a_glob(watch: Callable[..., Watched], tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    (folder / "inner").mkdir(parents=True)
    (folder / "root.lzp").write_text(text(1) + 'import "inner/rules.lzp"\n', encoding="utf-8")
    (folder / "inner" / "rules.lzp").write_text("boost k.b by 2 for o\n", encoding="utf-8")
    watched = watch(folder / "root.lzp")
    (folder / "inner" / "rules.lzp").write_text("deny k.b for o\n", encoding="utf-8")
    wait_until(lambda: any(rule.kind == "deny" for rule in watched.engine.current().program.rules))

    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "a.lzp").write_text(WORDS, encoding="utf-8")
    whole, globbed = watch(plain), watch(plain / "*.lzp")
    (plain / "b.lzp").write_text("deny k.a for o\n", encoding="utf-8")
    for one in (whole, globbed):
        wait_until(lambda one=one: len(one.engine.current().program.rules) > 0, "a new file")  # type: ignore[misc]
    (plain / "b.lzp").unlink()
    for one in (whole, globbed):
        wait_until(
            lambda one=one: all(rule.kind != "deny" for rule in one.engine.current().program.rules)  # type: ignore[misc]
        )


def test_a_catalog_is_followed_too(watch: Callable[..., Watched], tmp_path: Path) -> None:
    catalog, file = tmp_path / "catalog.lzp", tmp_path / "p.lzp"
    catalog.write_text(WORDS, encoding="utf-8")
    file.write_text('policy "p" version 1 standalone\n', encoding="utf-8")
    watched = watch(file, catalogs=(catalog,))
    catalog.write_text(WORDS + "kernel k.c for o { }\n", encoding="utf-8")
    wait_until(lambda: "k.c" in watched.engine.current().program.kernels)


def test_a_config_map_that_turns_its_link(watch: Callable[..., Watched], tmp_path: Path) -> None:
    def mount(version: int) -> None:
        """As kubelet does it: a folder of a new version, a link aside, renamed over the link that is meant."""
        new = tmp_path / f"..2026_{version}"
        new.mkdir()
        (new / "p.lzp").write_text(text(version), encoding="utf-8")
        (tmp_path / "..data_tmp").symlink_to(new.name)
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")

    mount(1)
    (tmp_path / "p.lzp").symlink_to("..data/p.lzp")
    watched = watch(tmp_path / "p.lzp")
    for version in (2, 3, 4):
        mount(version)
        shutil.rmtree(tmp_path / f"..2026_{version - 1}")
        wait_until(lambda version=version: watched.version == version, f"version {version}")  # type: ignore[misc]


def test_a_folder_that_goes_and_comes_back(watch: Callable[..., Watched], tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "p.lzp").write_text(text(1), encoding="utf-8")
    watched = watch(folder / "p.lzp", interval=0.3)  # a hint may fall between the folder and its being followed
    for version in (2, 3):
        shutil.rmtree(tmp_path / "a")
        wait_until(lambda: watched.watcher.status().state == "failed")
        folder.mkdir(parents=True)
        (folder / "p.lzp").write_text(text(version), encoding="utf-8")
        wait_until(lambda version=version: watched.version == version, f"version {version}")  # type: ignore[misc]
    assert watched.watcher.status().failure is None


def test_git_checkout(watch: Callable[..., Watched], tmp_path: Path) -> None:
    def git(*words: str) -> None:
        settings = ("-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=one")
        subprocess.run(["git", *settings, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    for branch, version in (("one", 1), ("two", 2)):
        if version > 1:
            git("checkout", "-b", branch)
        (tmp_path / "p.lzp").write_text(text(version) + 'import "rules.lzp"\n', encoding="utf-8")
        (tmp_path / "rules.lzp").write_text(f"boost k.a by {version} for o as boost_{version}\n", encoding="utf-8")
        git("add", ".")
        git("commit", "-m", branch)
    watched = watch(tmp_path / "p.lzp")
    mixed: list[str] = []

    def look(snapshot: Any) -> None:
        if f"boost_{int(snapshot.identity.version) - 100}" not in {rule.name for rule in snapshot.program.rules}:
            mixed.append(str(snapshot.identity))

    watched.engine.listeners.append(look)
    for branch, version in (("one", 1), ("two", 2), ("one", 1)):
        git("checkout", branch)
        wait_until(lambda version=version: watched.version == version, branch)  # type: ignore[misc]
    assert mixed == []


# ---------------------------------------------------------------- edits that come at a bad moment


class Interrupted(InProcess):
    """Does something after each reading of the files, before the watcher looks whether the files are still the same."""

    def __init__(self, then: Callable[[int], None]) -> None:
        super().__init__()
        self._then = then
        self.readings = 0

    def load(self, material: Material) -> Loaded:
        loaded = super().load(material)
        if material.path is not None:
            self.readings += 1
            self._then(self.readings)
        return loaded


def test_an_edit_during_a_reload_is_not_lost(watch: Callable[..., Watched], path: Path) -> None:
    def edit(reading: int) -> None:
        if reading == 2:  # the first one is that of the start
            path.write_text(text(3), encoding="utf-8")

    watched = watch(path, builder=Interrupted(edit))
    path.write_text(text(2), encoding="utf-8")
    wait_until(lambda: watched.version == 3)
    assert watched.versions == [3], "a version that is no longer there is not put in force"


def test_an_edit_before_the_watch_began_is_not_lost(path: Path) -> None:
    engine = Engine(ThisMachine(lambda: [{"device": "cpu"}]))
    watcher = Watcher(engine, Material(path=path), interval=3600.0)
    watcher.first()
    with_the_time_of_before(path, text(2))
    watcher.start()
    try:
        wait_until(lambda: engine.current().identity.version == "102")
    finally:
        watcher.stop()


def test_files_of_two_versions_never_make_one_policy(watch: Callable[..., Watched], tmp_path: Path) -> None:
    def version(number: int) -> tuple[str, str]:
        return text(number) + 'import "rules.lzp"\n', f"boost k.a by {number} for o as boost_{number}\n"

    def save(number: int) -> None:
        for name, content in zip(("p.lzp", "rules.lzp"), version(number), strict=True):
            (tmp_path / name).write_text(content, encoding="utf-8")

    save(1)
    # The imported file changes after it was read with the old root, on three attempts in a row.
    watched = watch(tmp_path / "p.lzp", builder=Interrupted(lambda n: save(n) if 2 <= n <= 4 else None))
    save(9)
    wait_until(lambda: watched.version == 4)
    assert watched.versions == [4]
    assert {rule.name for rule in watched.engine.current().program.rules if rule.kind == "boost"} == {"boost_4"}


def test_a_version_that_was_replaced_while_it_was_read_counts(watch: Callable[..., Watched], path: Path) -> None:
    """Saves faster than a policy compiles do not keep every one of them out of force."""

    def replace(reading: int) -> None:
        if 2 <= reading <= 20:
            written_aside_and_renamed(path, text(reading))

    watched = watch(path, builder=Interrupted(replace))
    path.write_text(text(99), encoding="utf-8")
    wait_until(lambda: watched.version == 20)
    assert watched.versions == [99, *range(2, 21)]


def test_replaced_files_of_two_versions_never_make_one_policy(watch: Callable[..., Watched], tmp_path: Path) -> None:
    def save(number: int) -> None:
        written_aside_and_renamed(tmp_path / "p.lzp", text(number) + 'import "rules.lzp"\n')
        written_aside_and_renamed(tmp_path / "rules.lzp", f"boost k.a by {number + 1} for o as boost_{number}\n")

    mixed: list[int] = []

    def look(snapshot: Any) -> None:
        number = int(snapshot.identity.version) - 100
        if f"boost_{number}" not in {rule.name for rule in snapshot.program.rules}:
            mixed.append(number)

    save(1)
    watched = watch(tmp_path / "p.lzp")
    watched.engine.listeners.append(look)
    for number in range(2, 90):
        save(number)
        time.sleep(0.01)
    wait_until(lambda: watched.version == 89)
    assert mixed == []


def test_of_a_hundred_saves_in_a_second_the_last_one_wins(watch: Callable[..., Watched], path: Path) -> None:
    watched = watch(path)
    for version in range(2, 102):
        path.write_text(text(version), encoding="utf-8")
        time.sleep(0.005)
    wait_until(lambda: watched.version == 101)
    assert len(watched.versions) <= 10, "saved a hundred times, put in force a few times"


def test_files_that_never_rest_are_left_as_they_are_and_found_when_they_do(path: Path) -> None:
    builder = Interrupted(lambda n: path.write_text(text(n), encoding="utf-8") if 2 <= n <= 6 else None)
    watched = Watched(path, builder=builder, hints=False, interval=0.02)
    try:
        path.write_text(text(99), encoding="utf-8")
        wait_until(lambda: watched.version == 6)
        assert watched.versions == [6]
    finally:
        watched.close()


_FORK = """
import os, sys, time
from pathlib import Path
from layerzero.backends.machine import ThisMachine
from layerzero.runtime.engine import Engine
from layerzero.runtime.live import Live
path, engine = Path(sys.argv[1]), Engine(ThisMachine(lambda: [{"device": "cpu"}]))
Live(engine).configure(path, "poll", interval=0.02)
child = os.fork()
if child == 0:
    path.write_text(path.read_text().replace("version 101", "version 102"))
until = time.monotonic() + 30
while engine.status().version != "102" and time.monotonic() < until:
    time.sleep(0.01)
if child == 0:
    os._exit(int(engine.status().version != "102"))
sys.exit(os.waitpid(child, 0)[1] or engine.status().version != "102")
"""


def test_a_forked_process_follows_the_files_too(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FORK, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- bad versions


def test_a_bad_version_is_told_once_to_everybody(
    watch: Callable[..., Watched], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = watch(path)
    counted: list[Any] = []
    watched.engine.failure_listeners.append(counted.append)  # what the metric is
    with caplog.at_level(logging.ERROR, logger="layerzero"):
        for _ in range(3):
            path.write_text(text(2, "deny k.z for o\n"), encoding="utf-8")
            wait_until(lambda: len(watched.failures) > 0)
            path.write_text(text(2, "deny k.z for o\n") + "# the same fault, saved again\n", encoding="utf-8")
            time.sleep(0.15)
    assert len(watched.failures) == len(counted) == caplog.text.count("is not in force") == 1
    failure = watched.failures[0]
    assert [(one.code, one.span.line) for one in failure.diagnostics] == [("LZ204", 6)]
    status = watched.engine.status()
    assert status.version == "101" and status.watching is not None
    assert (status.watching.state, status.watching.failure) == ("failed", failure)
    assert status.last_failure == failure.message
    path.write_text(text(3), encoding="utf-8")
    wait_until(lambda: watched.version == 3)
    assert watched.engine.status().last_failure is None and watched.watcher.status().state == "current"
    path.write_text(text(4, "deny k.z for o\n"), encoding="utf-8")
    wait_until(lambda: len(watched.failures) == 2, "a fault that comes back")


BAD: dict[str, tuple[bytes, str]] = {
    "empty, as a full disk leaves it": (b"", "is empty"),
    "cut off in the middle of a statement": (text(2).encode()[:-4], "LZ1"),
    "not UTF-8": (b"\xff\xfe\x00", "LZ"),
    "larger than the limit": (b"#" * (MAX_FILE_BYTES + 1), f"larger than {MAX_FILE_BYTES // 1024**2} MiB"),
    "one that names code": (text(2, 'kernel k.z for o { adapter "os:system" }\n').encode(), "adapter"),
    "nested past the limit": (text(2, f"deny k.a when {'(' * 5000}n == 1{')' * 5000}\n").encode(), "LZ003"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_policy_leaves_the_one_before(path: Path, name: str) -> None:
    content, message = BAD[name]
    watched = Watched(path, hints=False, interval=0.02)
    try:
        path.write_bytes(content)
        wait_until(lambda: len(watched.failures) == 1)
        assert message in watched.failures[0].message
        assert watched.version == 1
    finally:
        watched.close()


def test_a_writer_killed_in_the_middle(watch: Callable[..., Watched], path: Path) -> None:
    watched = watch(path)
    writer = (
        "import os, signal, sys; file = open(sys.argv[1], 'w'); file.write(sys.argv[2]); file.flush(); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    whole = text(2, "boost k.a by 2 for o\n")
    done = subprocess.run([sys.executable, "-c", writer, str(path), whole[: len(whole) // 2]], check=False)
    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: len(watched.failures) == 1)
    assert watched.version == 1
    path.write_text(whole, encoding="utf-8")
    wait_until(lambda: watched.version == 2)


# ---------------------------------------------------------------- the last good version on disk


def live(path: Path, folder: Path, watch: Any = "poll") -> tuple[Engine, Live]:
    engine = Engine(ThisMachine(lambda: [{"device": "cpu"}]))
    made = Live(engine)
    made.configure(path, watch, keep_last_good=folder, interval=0.02)
    return engine, made


@pytest.mark.parametrize("watch", ["poll", False])
def test_a_start_with_bad_files_takes_the_last_good_version(path: Path, tmp_path: Path, watch: Any) -> None:
    kept = tmp_path / "kept"
    _, first = live(path, kept, watch)
    first.stop()
    path.write_text("deny nothing", encoding="utf-8")
    engine, second = live(path, kept, watch)
    assert engine.status().version == "101"
    if watch:
        assert engine.status().watching is not None and engine.status().watching.state == "failed"
        path.write_text(text(2), encoding="utf-8")
        wait_until(lambda: engine.status().version == "102")
    second.stop()
    path.unlink()
    engine, third = live(path, kept, watch)
    assert engine.status().version == ("102" if watch else "101"), "absent files are bad files"
    third.stop()


@pytest.mark.parametrize("fault", ["damaged", "cut", "open to others"])
def test_a_last_good_version_that_cannot_be_trusted_is_not_used(path: Path, tmp_path: Path, fault: str) -> None:
    kept = tmp_path / "kept"
    live(path, kept)[1].stop()
    (file,) = kept.glob("*.json")
    content = file.read_bytes()
    if fault == "open to others":
        kept.chmod(0o777)
    else:
        file.write_bytes(content.replace(b"k.a", b"k.b") if fault == "damaged" else content[: len(content) // 2])
    path.write_text("deny nothing", encoding="utf-8")
    with pytest.raises(Exception, match="nothing") as caught:
        live(path, kept)
    assert any("no last good policy instead" in note for note in caught.value.__notes__)


def test_keeping_the_last_good_version_fails_without_harm(path: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "no_folder"
    blocked.write_text("", encoding="utf-8")  # as a read-only folder: nothing can be made in it, not even by root
    engine, made = live(path, blocked / "kept")
    path.write_text(text(2), encoding="utf-8")
    wait_until(lambda: engine.status().version == "102")
    assert engine.status().watching is not None
    assert "cannot be kept" in str(engine.status().watching.last_good)
    made.stop()


_KEEP = """
import os, resource, signal, sys
from pathlib import Path
from layerzero.backends.machine import ThisMachine
from layerzero.runtime.engine import Engine
from layerzero.runtime.live import Live
engine = Engine(ThisMachine(lambda: [{"device": "cpu"}]))
if sys.argv[3] == "killed":
    os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)  # half-way: the part is there, not its name
else:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))  # a disk that takes no more than 64 bytes of a file
Live(engine).configure(sys.argv[1], keep_last_good=sys.argv[2])
print(engine.status().version, engine.current().decide is not None)
"""


@pytest.mark.parametrize("accident", ["killed", "full"])
def test_an_accident_while_it_is_kept_leaves_the_one_before(path: Path, tmp_path: Path, accident: str) -> None:
    kept = tmp_path / "kept"
    live(path, kept)[1].stop()
    (file,) = kept.glob("*.json")
    before = file.read_bytes()
    path.write_text(text(2), encoding="utf-8")
    command = [sys.executable, "-c", _KEEP, str(path), str(kept), accident]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if accident == "killed":
        assert done.returncode == -signal.SIGKILL
    else:
        assert (done.returncode, done.stdout.split()[:1]) == (0, ["102"]), done.stderr
        assert "cannot be kept" in done.stderr
        assert list(kept.glob("*.part")) == []
    assert file.read_bytes() == before
    path.write_text("deny nothing", encoding="utf-8")
    engine, made = live(path, kept, watch=False)
    assert engine.status().version == "101"
    made.stop()
