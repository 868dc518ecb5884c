"""A policy that was compiled before starts from the disk, and only what is exactly the same does."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from layerzero.check.program import Scope
from layerzero.cli import main
from layerzero.errors import PolicyError
from layerzero.runtime.building import InProcess, Loaded, Material
from layerzero.runtime.cached import Cached
from layerzero.runtime.policy import Policy
from layerzero.runtime.snapshot import Snapshot
from layerzero.semantics.environment import Environment
from layerzero.syntax.source import Source

WORDS = """
field device: enum(cpu, cuda) = cpu
field size: int in 0..1000
operation work { needs size optional device fallback spare.one }
kernel fast.one for work { priority 90 require size % 8 == 0 }
kernel fast.two for work { priority 80 }
kernel spare.one for work { priority 1 }
"""
POLICY = 'policy "p" import "words.lzp" deny fast.one when size >= 100 as long until 2030-01-01'
DEVICES = ({"device": "cpu"}, {"device": "cuda"})
OFFLINE = Environment(assume_packages=True, today=date(2026, 1, 1))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A policy with an import, and a cache of the test's own in `cache`."""
    monkeypatch.setenv("LAYERZERO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "words.lzp").write_text(WORDS)
    (tmp_path / "p.lzp").write_text(POLICY)
    return tmp_path


def build(material: Material, environment: Environment = OFFLINE) -> tuple[Cached, Snapshot]:
    builder = Cached()
    loaded = builder.load(material)
    return builder, snapshot_of(builder, loaded, environment)


def snapshot_of(builder: Cached | InProcess, loaded: Loaded, environment: Environment = OFFLINE) -> Snapshot:
    forms = builder.compile(loaded, environment, DEVICES)
    return Snapshot(loaded.vocabulary, environment, loaded.program, forms, 1, loaded.texts)


def answers(snapshot: Snapshot) -> list[str | None]:
    values = [{"size": size, "device": device} for size in (0, 8, 9, 104, 105) for device in ("cpu", "cuda")]
    return [snapshot.decide(Scope("work"), one).kernel for one in values]


def material(folder: Path) -> Material:
    return Material(path=folder / "p.lzp", prelude=False)


def entries(folder: Path) -> list[Path]:
    return sorted(one for one in (folder / "cache").iterdir() if one.name.startswith(("program-", "form-")))


def test_the_second_start_reads_and_compiles_nothing(folder: Path) -> None:
    first, made = build(material(folder))
    assert (first.hits, first.misses) == (0, 3)
    second, kept = build(material(folder))
    assert (second.hits, second.misses) == (3, 0)
    assert kept.built is None, "no program was checked"
    assert answers(kept) == answers(made)
    assert kept.identity == made.identity


def test_the_program_is_checked_from_the_texts_that_were_compiled_when_somebody_asks(folder: Path) -> None:
    build(material(folder))
    _, kept = build(material(folder))
    (folder / "p.lzp").write_text('policy "other" import "words.lzp"')
    decision = kept.decide(Scope("work"), {"size": 104})
    assert kept.program.name == "p"
    assert "long" in str(decision.explain())


@pytest.mark.parametrize("changed", ["p.lzp", "words.lzp"])
def test_another_text_is_another_policy(folder: Path, changed: str) -> None:
    build(material(folder))
    text = (folder / changed).read_text()
    (folder / changed).write_text(text.replace("size >= 100", "size >= 10").replace("priority 80", "priority 99"))
    again, snapshot = build(material(folder))
    assert again.misses == 3
    plain = InProcess()
    assert answers(snapshot) == answers(snapshot_of(plain, plain.load(material(folder))))


def test_a_file_more_in_a_folder_is_another_policy(folder: Path) -> None:
    where = folder / "several"
    where.mkdir()
    (where / "a.lzp").write_text(WORDS)
    whole = Material(path=where, prelude=False)
    build(whole)
    (where / "b.lzp").write_text("deny fast.two")
    again, snapshot = build(whole)
    assert again.misses > 0
    assert "fast.two" not in answers(snapshot)


def test_a_day_on_which_a_rule_ends_is_another_form_and_no_other_day_is(folder: Path) -> None:
    build(material(folder))
    later, before = build(material(folder), Environment(assume_packages=True, today=date(2029, 12, 31)))
    assert later.misses == 0
    ended, after = build(material(folder), Environment(assume_packages=True, today=date(2030, 1, 1)))
    assert ended.misses == 2
    assert answers(before) != answers(after)


def test_another_machine_is_another_form(folder: Path) -> None:
    build(material(folder))
    other = Environment(assume_packages=True, today=OFFLINE.today, packages={"fast": "1.0"})
    again, _ = build(material(folder), other)
    assert (again.hits, again.misses) == (1, 2)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other data", "not JSON"])
def test_a_damaged_entry_is_no_entry_and_is_replaced(folder: Path, damage: str) -> None:
    _, made = build(material(folder))
    for entry in entries(folder):
        data = entry.read_bytes()
        flipped = data[:80] + bytes([data[80] ^ 1]) + data[81:]
        texts = {"cut": data[: len(data) // 2], "flipped": flipped, "empty": b"", "not JSON": b"\x80\x04N."}
        entry.write_bytes(texts.get(damage, b"") if damage != "other data" else _signed(b'{"schema": 1}'))
    again, snapshot = build(material(folder))
    assert again.hits == 0
    assert answers(snapshot) == answers(made)
    assert build(material(folder))[0].misses == 0


def _signed(data: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(data).hexdigest().encode() + b"\n" + data


def test_the_folder_is_private(folder: Path) -> None:
    build(material(folder))
    assert stat.S_IMODE((folder / "cache").stat().st_mode) == 0o700
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in entries(folder)} == {0o600}


def test_a_folder_that_others_may_write_to_is_not_used(folder: Path) -> None:
    build(material(folder))
    (folder / "cache").chmod(0o777)
    assert build(material(folder))[0].hits == 0


def test_writers_side_by_side_leave_whole_entries(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: build(material(folder))[1], range(16)))
    assert {tuple(map(str, answers(one))) for one in made} == {tuple(map(str, answers(made[0])))}
    assert build(material(folder))[0].misses == 0
    assert not list((folder / "cache").glob("*.part"))


def test_rules_of_calls_and_open_breakers_stay_in_memory(folder: Path) -> None:
    builder, _ = build(material(folder))
    loaded = builder.load(material(folder))
    kept = entries(folder)
    rules = Material(path=folder / "p.lzp", prelude=False, runtime=(Source("<rules>", "lock fast.two for work"),))
    revised = snapshot_of(builder, builder.revise(loaded, rules))
    assert set(answers(revised)) == {"fast.two"}
    snapshot_of(builder, loaded, replace(OFFLINE, open_breakers={"fast.two": "it raised"}))
    assert entries(folder) == kept


def test_a_policy_with_errors_is_never_kept(folder: Path) -> None:
    (folder / "p.lzp").write_text('policy "p" import "words.lzp" deny fast.three')
    with pytest.raises(PolicyError, match=r"fast\.three"):
        Cached().load(material(folder))
    assert entries(folder) == []


def test_a_process_starts_from_what_another_one_kept(folder: Path) -> None:
    program = (
        "from pathlib import Path\n"
        "from layerzero.runtime.building import Material\n"
        "from layerzero.runtime.cached import Cached\n"
        "builder = Cached()\n"
        f"builder.load(Material(path=Path({str(folder / 'p.lzp')!r}), prelude=False))\n"
        "print(builder.hits, builder.misses)\n"
    )
    assert _run(program) == ["0", "1"]
    assert _run(program) == ["1", "0"]


def _run(program: str) -> Sequence[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_program_that_was_checked_before_comes_from_the_disk_as_it_was(folder: Path) -> None:
    first = Cached(whole=True).load(material(folder)).program()
    (kept,) = (folder / "cache").glob("checked-*")
    found = Cached(whole=True).load(material(folder)).program()
    assert found == first and found is not first
    assert [(rule.span.text, str(rule.span)) for rule in found.rules] == [
        (rule.span.text, str(rule.span)) for rule in first.rules
    ]
    assert found.digest == replace(found).digest
    assert found.operation_digests == replace(found).operation_digests
    kept.write_bytes(kept.read_bytes()[:-9] + b"[99]]]]]]")
    assert Cached(whole=True).load(material(folder)).program() == first


def test_a_loaded_policy_is_compiled_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answered() -> list[str | None]:
        policy = Policy.load(folder / "p.lzp", prelude=False, today=date(2026, 1, 1))
        return [policy.decide({"operation": "work", "size": size}).kernel for size in (8, 9, 104)]

    first = answered()
    assert first == ["fast.one", "fast.two", "fast.two"]

    def compiled(*_: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr("layerzero.runtime.cached.compile_operation", compiled)
    assert answered() == first
    (folder / "p.lzp").write_text('policy "p" import "words.lzp" deny fast.*')
    with pytest.raises(AssertionError, match="compiled again"):
        answered()


def test_commands_start_from_the_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--given", "operation=work", "size=8", "--no-prelude"]

    def printed() -> tuple[int, str]:
        return main(["explain", str(folder / "p.lzp"), *asked]), capsys.readouterr().out

    first = printed()
    assert first[0] == 0 and "work -> fast.one" in first[1]

    def checked(*_: object, **__: object) -> None:
        raise AssertionError("checked again")

    for name in ("load", "load_texts", "load_text"):
        monkeypatch.setattr(f"layerzero.runtime.building.{name}", checked)
    monkeypatch.setattr("layerzero.runtime.cached.load_texts", checked)
    assert printed() == first
