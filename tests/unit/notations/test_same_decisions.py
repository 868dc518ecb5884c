"""YAML and the `.lzp` that `lz convert` makes of it are one policy: the same digest and the same decisions."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml

import layerzero as lz
from layerzero.check.loader import load_texts
from layerzero.cli.convert import converted

OPERATIONS = ["attention.*", "attention.causal", "attention.decode", "*", "norm.*", "norm.rms", "rope", "attention"]
BACKENDS = ["flashinfer", "flash_attn", "torch_sdpa", "torch.*", "*", "reference", "xformers", "flash_attn.v2"]
CONDITIONS = [
    "sm >= 80 and batch_size >= 8",
    "batch > 32",
    "seq_len > 1024 or is_causal",
    "dtype == float16",
    "dtype in {bf16, fp16} and head_dim in 64..128",
    'device_name like "*H100*"',
    "kernel.graph_safe and not has(window)",
    'package("flash-attn") >= "2.10"',
    "kv_len // 2 >= 8Ki if phase == decode else q_len % 128 == 0",
    {"is_causal": True, "dtype": "float16"},
    {"batch": 8},
]
TESTS = [
    {"field": "batch_size", "operator": ">", "value": 32},
    {"field": "is_causal", "operator": "==", "value": True},
    {"field": "dtype", "operator": "==", "value": "float16"},
    {"field": "dtype", "operator": "not in", "value": ["fp32", "bf16"]},
    {"field": "device_name", "operator": "like", "value": "*H100*"},
    {"field": "dropout", "operator": "<=", "value": 0.5},
    {"field": "sm", "operator": "in", "value": [80, 90]},
    {"field": "head_dim", "operator": "!=", "value": 64},
]


def policy(random: random.Random) -> str:
    def entry(**more: object) -> dict[str, object]:
        made: dict[str, object] = {"operation": random.choice(OPERATIONS), **more}
        backends = random.sample(BACKENDS, random.randint(1, 3))
        made.update({"backend": backends[0]} if len(backends) == 1 else {"backends": backends})
        if random.random() < 0.7:
            made["condition"] = random.choice(CONDITIONS)
        if random.random() < 0.3:
            made.update(because='it\'s "so": #1', owner="é")
        if random.random() < 0.2:
            made["until"] = random.choice(["2020-01-01", "2099-12-31"])
        return made

    def some(most: int, **more: object) -> list[dict[str, object]]:
        return [entry(**more) for _ in range(random.randint(0, most))]

    made = {
        "version": "1.0",
        "name": "random",
        "locks": [
            {**one, "priority": index, "else": random.choice(["choose", "fallback", "fail"])}
            for index, one in enumerate(some(2))
        ],
        "allows": some(1),
        "denies": some(3),
        "boosts": [{**one, "boost_factor": random.choice([0, 1.5, 2, 0.25, 10])} for one in some(3)],
    }
    return written(made, random)


def dispatch_config(random: random.Random) -> str:
    rules = []
    for index in range(random.randint(1, 5)):
        rule: dict[str, object] = {"operation": random.choice(OPERATIONS), "kernel": random.choice(BACKENDS)}
        if random.random() < 0.8:
            rule["conditions"] = random.sample(TESTS, random.randint(0, 3))
        if random.random() < 0.3:
            rule["name"] = f"rule_{index}"
        rules.append(rule)
    return written({"version": "1.0", "rules": rules}, random)


def written(made: object, random: random.Random) -> str:
    text: str = yaml.safe_dump(
        made,
        default_flow_style=random.choice([None, False, True]),
        width=random.choice([20, 80, 1000]),
        allow_unicode=random.choice([True, False]),
        sort_keys=random.choice([True, False]),
    )
    return "# made at random\n" + text


def context(random: random.Random) -> dict[str, object]:
    operation = random.choice(["attention", "attention.causal", "attention.decode", "rms_norm"])
    made: dict[str, object] = {"operation": operation, "dtype": random.choice(["fp16", "bf16", "fp32"])}
    # A snapshot compiles anew for each device that it is asked about: two say enough.
    made.update(random.choice([{"device": "cuda", "sm": 90, "device_name": "NVIDIA H100"}, {"device": "cpu"}]))
    if operation == "rms_norm":
        return {**made, "rows": random.choice([1, 4096]), "hidden_size": 4096}
    made.update(
        batch=random.choice([1, 8, 33]), q_heads=8, kv_heads=8, head_dim=random.choice([64, 128]),
        q_len=1 if operation == "attention.decode" else random.choice([1, 128]),
        kv_len=random.choice([128, 2048, 32768]),
    )  # fmt: skip
    return made


@pytest.mark.parametrize("make", [policy, dispatch_config])
@pytest.mark.parametrize("seed", range(5))
def test_the_converted_policy_is_the_same(make: object, seed: int, tmp_path: Path) -> None:
    source = random.Random(f"{make.__name__} {seed}")  # type: ignore[attr-defined]
    path = tmp_path / "made.yaml"
    path.write_text(make(source), encoding="utf-8")  # type: ignore[operator]
    one = lz.Policy.load(path)
    text = converted(path, one.program)
    assert text.startswith("# made at random\n")
    other = lz.Policy.from_text(text)
    assert one.digest == other.digest
    for _ in range(25):
        asked = context(source)
        mine, its = one.decide(asked), other.decide(asked)
        assert (mine.kernel, mine.score, mine.degraded, mine.error) == (its.kernel, its.score, its.degraded, its.error)
        assert mine.proof.verdicts.keys() == its.proof.verdicts.keys()  # and the interpreter agrees with the matcher


def test_a_program_is_rebuilt_from_its_texts() -> None:
    one = lz.Policy.from_text(dispatch_config(random.Random(3)), name="made.yaml")
    again = load_texts(one.program.texts).program
    assert again is not None and again.digest == one.digest
