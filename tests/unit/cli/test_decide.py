"""The compiled answers of `lz decide` are those of the interpreter; no line of input, however odd, ends the stream."""

from __future__ import annotations

import io
import json
from argparse import Namespace
from datetime import date
from pathlib import Path
from random import Random

import pytest

from layerzero.check import load, load_text, require
from layerzero.check.program import Program
from layerzero.cli import main
from layerzero.cli.answers import QUICK, Compiled, Interpreted, answer_context
from layerzero.cli.contexts import MAX_LINE_BYTES, Line, read_lines
from layerzero.cli.decide import decide_line
from layerzero.cli.texts import TRIED, Proofs, Texts
from layerzero.semantics.environment import Environment

OFFLINE = Environment(assume_packages=True, today=date(2026, 11, 23))


def contexts(program: Program, count: int, seed: int) -> list[Line]:
    """Contexts around common values, some of them wrong."""
    random = Random(seed)
    choices: dict[str, list[object]] = {
        "dtype": ["bf16", "fp32", "float16", None],
        "batch_size": [0, 1, 8, 33],
        "q_len": [1, 1, 128, 4096],
        "kv_len": [1, 128, 4096, 32768],
        "q_heads": [32],
        "kv_heads": [8, 32],
        "head_dim": [64, 80, 128, 256, 2000],
        "causal": [True, False, None],
        "window": [0, 128],
        "tenant": ["bank", "a", "b", "c", None],
        "device": ["cuda", "cpu", None],
        "sm": [80, 90, 100, None],
    }
    operations = ["attention", "attention.decode", "attention.causal", "attention.paged"]
    found = []
    for number in range(1, count + 1):
        context: dict[str, object] = {name: random.choice(values) for name, values in choices.items()}
        if "tenant" not in program.fields:
            del context["tenant"]
        found.append(Line(number, {"operation": random.choice(operations), **context}))
    return found


@pytest.mark.parametrize("name", ["production.lzp", "canary.lzp", "serving.lzp"])
def test_compiled_and_interpreted_answers_agree(name: str, root: Path) -> None:
    program = require(load(root / "policies" / "examples" / name))
    slow, fast = Interpreted(program, OFFLINE), Compiled(program, OFFLINE)
    kernels = set()
    for line in contexts(program, 120, seed=7):
        for device in (None, "h100"):
            one, other = decide_line(slow, line, device), decide_line(fast, line, device)
            assert {key: one[key] for key in QUICK} == {key: other[key] for key in QUICK}, line
            kernels.add(one["kernel"])
    assert len(kernels) > 3, "the contexts do not tell much"


def test_each_line_stands_for_itself() -> None:
    long = b'{"operation": "' + b"x" * MAX_LINE_BYTES + b'"}'
    deep = b"[" * 100_000
    data = b"\xef\xbb\xbf{}\n\n" + long + b"\n" + deep + b"\n\xff{}\n\x00\n{}" + b"9" * 5000
    lines = list(read_lines(io.BytesIO(data)))
    assert [line.number for line in lines] == [1, 3, 4, 5, 6, 7]
    assert lines[0].context == {}
    assert [line.problem[0] for line in lines[1:] if line.problem] == ["invalid_json"] * 5
    assert lines[1].problem is not None and "longer than 1024 KiB" in lines[1].problem[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"n": 1, "n": 1}', "the key `n` stands twice"),
        ('{"n": -Infinity}', "`-Infinity` is not JSON; leave the field out where its value is not known"),
        ('{"n": 1e400}', "the number 1e400 is beyond a double"),
        ('{"n": ' + "9" * 5000 + "}", "a number of 5000 digits is beyond 64 bits"),
        ('"text"', "a context is a JSON object, got a string"),
        ('{"n": 1', "expecting ',' delimiter at column 8"),
    ],
)
def test_what_is_wrong_with_a_line(text: str, message: str) -> None:
    (line,) = read_lines(io.BytesIO(text.encode()))
    assert line.problem is not None
    assert line.problem[1] == message


def test_odd_texts_come_out_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "p.lzp"
    policy.write_text(
        'policy "p" standalone\nfield t: string\noperation op { optional t fallback r.x }\nkernel r.x for op {}\n'
    )
    data = b'{"operation": "op", "t": "\\ud800\\u0000"}\n{"operation": "\\ud800"}\n'
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
    assert main(["decide", str(policy), "--contexts", "-"]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["kernel"] for line in printed] == ["r.x", None]


def test_a_value_in_the_context_wins_over_the_device() -> None:
    program = require(load_text(""))
    ask = Interpreted(program, OFFLINE)
    line = Line(1, {"operation": "rms_norm", "dtype": "bf16", "hidden_size": 64, "rows": 4096, "device": "cpu"})
    assert (
        decide_line(ask, line, "h100")["kernel"]
        != decide_line(ask, Line(1, line.context and {**line.context, "device": None}), "h100")["kernel"]
    )


def test_installed_and_given_packages() -> None:
    from layerzero.cli.programs import environment

    program = require(load_text(""))
    args = Namespace(installed=True, package=[("flash-attn", "2.8.3")], now=date(2026, 1, 1))
    found = environment(args, program)
    assert found.packages["flash-attn"] == "2.8.3"
    assert not found.assume_packages
    assert "lark" not in found.packages, "only what the program names"
    assert found.today == date(2026, 1, 1)


def test_a_large_table_is_answered_as_a_small_one(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--given", "attention.decode", "h100", "dtype=bf16", "q_heads=32", "kv_heads=8", "batch=1", "q_len=1"]
    axes = ["--over", "kv_len=1,2,1Ki,8Ki,32Ki,64Ki", "--over", "head_dim=64,80,128", "--format", "csv"]
    assert main(["table", *given, *axes]) == 0
    few = capsys.readouterr().out.splitlines()
    assert main(["table", *given, "--over", "window=0..5", *axes]) == 0
    many = capsys.readouterr().out.splitlines()
    assert len(many) > 100
    assert [line.removeprefix("0,") for line in many if line.startswith("0,")] == few[1:]


@pytest.mark.parametrize("name", ["production.lzp", "canary.lzp", "serving.lzp"])
@pytest.mark.parametrize("device", [None, "h100"])
def test_the_quick_way_of_a_line_gives_the_text_of_the_long_one(name: str, device: str | None, root: Path) -> None:
    program = require(load(root / "policies" / "examples" / name))
    compiled, wanted = Compiled(program, OFFLINE), ("kernel", "score", "degraded", "locked_by")
    text_of = Texts(compiled, wanted, device)
    quick = 0
    odd = [b"{}", b"[1]", b"{", b'{"operation": "attention", "operation": "attention"}', b'{"operation": []}', b"1e999"]
    given = [json.dumps(line.context).encode() for line in contexts(program, 200, seed=9)]
    given += [given[0].replace(b"{", b'{"q_len": 1e999, ', 1), b" " + given[1], given[2] + b" x", *odd]
    stream = b"\n".join(given) + b"\n"
    for short, long in zip(read_lines(io.BytesIO(stream), text_of), read_lines(io.BytesIO(stream)), strict=True):
        assert isinstance(long, Line)
        if isinstance(short, str):
            quick += 1
            found = decide_line(compiled, long, device)
            assert short == json.dumps({key: found[key] for key in wanted}, ensure_ascii=False)
        else:
            assert short == long
    assert quick > 0 or program.experiments


@pytest.mark.parametrize("name", ["production.lzp", "canary.lzp"])
@pytest.mark.parametrize("wanted", [(), ("rejected", "kernel")])
def test_a_text_with_other_values_filled_in_is_that_of_the_whole_proof(
    name: str, wanted: tuple[str, ...], root: Path
) -> None:
    program = require(load(root / "policies" / "examples" / name))
    interpreted = Interpreted(program, OFFLINE)
    text_of = Proofs(interpreted, wanted, "h100")
    for line in contexts(program, 60, seed=11):
        for kv_len in (4100, 4999):
            context = {**(line.context or {}), "kv_len": kv_len}
            found = answer_context(interpreted, context, "h100")
            text = text_of(context)
            if text is not None:
                assert text == json.dumps({key: found[key] for key in wanted or found}, ensure_ascii=False), line
    assert text_of.used > 10


@pytest.mark.parametrize("name", ["production.lzp", "canary.lzp", "serving.lzp"])
def test_what_the_interpreter_remembers_changes_no_proof(name: str, root: Path) -> None:
    program = require(load(root / "policies" / "examples" / name))
    remembering = Interpreted(program, OFFLINE)
    lines = contexts(program, 60, seed=4)
    for line in [*lines, *reversed(lines)]:
        found = decide_line(remembering, line, "h100")
        assert found == decide_line(Interpreted(program, OFFLINE), line, "h100"), line


def test_contexts_that_have_nothing_in_common_are_decided_one_by_one() -> None:
    text = """
        policy "p" standalone  field t: string  attribute wanted: string
        operation op { optional t  fallback r.x }
        kernel r.x for op {}
        kernel r.y for op { set wanted = "3" }
        deny r.y when has(t) and t != kernel.wanted"""
    text_of = Proofs(Interpreted(require(load_text(text, prelude=False)), OFFLINE), (), None)
    found = [text_of({"operation": "op", "t": str(number)}) for number in range(TRIED + 2)]
    assert [one is None for one in found] == [False] * TRIED + [True] * 2
    assert text_of.made == TRIED


def test_odd_characters_and_signs_of_percent_are_shown_as_they_are() -> None:
    text = """
        policy "p" standalone  field t: string
        operation op { optional t  fallback r.x }
        kernel r.x for op {}
        kernel r.y for op { require t == "100%s %(t)s"  because "\\u0000t %d" }"""
    interpreted = Interpreted(require(load_text(text, prelude=False)), OFFLINE)
    line = Line(1, {"operation": "op", "t": "%(t)s \0 %"})
    for because in (text, text.replace("\\u0000", "")):
        interpreted = Interpreted(require(load_text(because, prelude=False)), OFFLINE)
        found = Proofs(interpreted, (), None)(line.context or {})
        wanted = json.dumps(decide_line(interpreted, line, None), ensure_ascii=False)
        assert found == (None if because is text else wanted)
