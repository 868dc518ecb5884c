"""What the child process answers, and that a question which takes too long or too much costs the child alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layerzero.dashboard.desk import Desk, DeskError
from layerzero.runtime.log_files import beside
from tests.unit.runtime.log_bench import Logged, lines


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    one = Desk()
    yield one
    one.close()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two calls, under two versions of a policy."""
    path = tmp_path_factory.mktemp("desk") / "log.jsonl"
    bench = Logged("deny fast.one for work when size > 5 as large")
    with bench.log(path):
        bench.call(7)
        bench.configure("deny fast.one for work when size > 50 as large")
        bench.call(7)
    return path


def try_out(text: str, given: str = "", **more: Any) -> dict[str, Any]:
    return {"do": "try", "text": text, "given": given, "kernel": "", "full": False, "path": None, "catalogs": [],
            "seconds": 2.0, **more}  # fmt: skip


def all_texts(tree: dict[str, Any]) -> list[str]:
    return [tree["text"], *(text for child in tree["children"] for text in all_texts(child))]


def test_a_record_is_explained_with_rule_file_and_line(desk: Desk, log: Path) -> None:
    found = desk.ask({"do": "explain", "record": lines(log)[0], "store": str(beside(log))})
    assert found["kernel"] == "fast.two"
    assert found["tree"]["text"] == "work -> fast.two, score 80"
    assert any("denied by large: size > 5, got size = 7, at small.lzp:2:1" in text for text in all_texts(found["tree"]))
    assert {one["kernel"]: one["stage"] for one in found["kernels"]}["fast.one"] == "deny"


def test_why_not_says_what_would_change_it(desk: Desk, log: Path) -> None:
    question = {"do": "why_not", "record": lines(log)[0], "store": str(beside(log)), "seconds": 2.0}
    found = desk.ask({**question, "kernel": "fast.one"})
    assert any("size = 5 instead of 7" in text for text in all_texts(found["tree"]))
    assert "did you mean" in desk.ask({**question, "kernel": "fast"})["problem"]


def test_a_swap_shows_statements_and_the_calls_that_are_decided_otherwise(desk: Desk, log: Path) -> None:
    before, after = (one["snapshot"] for one in lines(log))
    found = desk.ask({"do": "swap", "store": str(beside(log)), "before": before, "after": after, "seconds": 5.0})
    assert [(one["kind"], one["text"]) for one in found["edits"]] == [
        ("removed", "deny fast.one for work when size > 5 as large"),
        ("added", "deny fast.one for work when size > 50 as large"),
    ]
    [change] = [change for one in found["differences"] for change in one["changes"]]
    assert (change["before"][0]["kernel"], change["after"][0]["kernel"]) == ("fast.two", "fast.one")
    assert change["condition"] == "size in 6..50"


def test_the_texts_in_force_can_be_read(desk: Desk, log: Path) -> None:
    [text] = desk.ask({"do": "texts", "store": str(beside(log)), "snapshot": lines(log)[0]["snapshot"]})["texts"]
    assert text["name"] == "small.lzp" and "size > 5" in text["text"]


def test_a_snapshot_that_is_not_there_or_damaged_is_a_problem(desk: Desk, log: Path, tmp_path: Path) -> None:
    record = lines(log)[0]
    assert "no such file" in desk.ask({"do": "explain", "record": record, "store": str(tmp_path)})["problem"]
    name = f"{record['snapshot']}.json"
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / name).write_bytes(b"{}")
    assert "damaged" in desk.ask({"do": "explain", "record": record, "store": str(tmp_path)})["problem"]


def test_the_playground_has_findings_with_their_place(desk: Desk) -> None:
    found = desk.ask(try_out("deny flash_attn.v2 for attention when head_dims > 1"))
    [finding] = found["findings"]
    assert (finding["line"], finding["column"]) == (1, 39) and "head_dims" in finding["message"]
    assert "tree" not in found


def test_the_playground_runs_the_analyses_when_asked_to(desk: Desk) -> None:
    text = "deny flash_attn.v2 for attention when batch > 5 and batch < 3 as never"
    assert desk.ask(try_out(text))["findings"] == []
    assert desk.ask(try_out(text, full=True))["findings"][0]["message"].startswith("`never` can never apply")


@pytest.mark.parametrize(
    "given",
    [
        "attention.decode h100 dtype=bf16 q_heads=32 kv_heads=8 head_dim=128 batch=64 q_len=1 kv_len=32Ki",
        json.dumps({"operation": "attention.decode", "dtype": "bf16", "q_heads": 32, "kv_heads": 8, "head_dim": 128,
                    "batch": 64, "q_len": 1, "kv_len": 32768, "device": "cuda", "sm": 90}),
    ],
    ids=["items", "json"],
)  # fmt: skip
def test_the_playground_decides_a_context(desk: Desk, given: str) -> None:
    text = "deny flash_attn.* for attention when batch > 32 as large"
    found = desk.ask(try_out(text, given, kernel="flash_attn.v3"))
    assert found["kernel"] is not None and not found["kernel"].startswith("flash_attn")
    assert any("denied by large" in line for line in all_texts(found["why_not"]["tree"]))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("attention.decode head_dims=3", "unknown field `head_dims`"),
        ("[1]", "is no operation"),
        ("{", "Expecting property name"),
        ('attention "', "No closing quotation"),
        ("attention batch=many", "batch"),
    ],
)
def test_a_context_that_cannot_be_read_is_told_beside_the_findings(desk: Desk, given: str, problem: str) -> None:
    found = desk.ask(try_out("", given))
    assert problem in found["context_problem"] and found["findings"] == []


def test_a_text_imports_nothing_and_names_no_code(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "secret.lzp").write_text("deny torch.* for attention\n", encoding="utf-8")
    [finding] = desk.ask(try_out(f'import "{tmp_path}/secret.lzp"'))["findings"]
    assert finding["severity"] == "error"
    [finding] = desk.ask(try_out('kernel a.b for attention { adapter "os:system" }'))["findings"]
    assert finding["severity"] == "error" and "cannot name code" in finding["message"]


def test_a_text_that_stands_for_a_file_imports_from_its_folder_alone(desk: Desk, tmp_path: Path) -> None:
    inside, outside = tmp_path / "policies", tmp_path / "other.lzp"
    inside.mkdir()
    (inside / "words.lzp").write_text("define big = batch > 32\n", encoding="utf-8")
    outside.write_text("define big = batch > 32\n", encoding="utf-8")
    path = str(inside / "prod.lzp")
    rule = "deny flash_attn.v2 for attention when big as no_big\n"
    assert desk.ask(try_out(f'policy "p"\nimport "words.lzp"\n{rule}', path=path))["findings"] == []
    found = desk.ask(try_out(f'policy "p"\nimport "../other.lzp"\n{rule}', path=path))["findings"]
    assert any(one["severity"] == "error" and "../other.lzp" in one["message"] for one in found)


def test_a_question_past_the_limit_of_time_ends_and_the_next_is_answered(desk: Desk, log: Path) -> None:
    one = Desk(seconds=20)
    try:
        one.ask(try_out(""))  # it is there, and warm
        one.seconds = 0.05
        hostile = "\n".join(f"deny flash_attn.v2 for attention when batch == {n} as r{n}" for n in range(1, 3000))
        began = time.monotonic()
        with pytest.raises(DeskError, match=r"longer than 0\.05 s"):
            one.ask(try_out(hostile, full=True))
        assert time.monotonic() - began < 10 and one.pid is None
        one.seconds = 20
        assert one.ask(try_out(""))["findings"] == []
    finally:
        one.close()


def test_a_question_past_the_limit_of_memory_ends(desk: Desk) -> None:
    one = Desk(memory=80 * 1024**2)
    try:
        with pytest.raises(DeskError, match="80 MiB|ended while it worked"):
            one.ask(try_out("\n".join(f"define d{n} = batch > {n}" for n in range(20_000))))
    finally:
        one.close()
