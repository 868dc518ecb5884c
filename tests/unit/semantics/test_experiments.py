"""Section 4 "Experiments" and the lines of section 9 about keys: who is enrolled, and in which arm."""

from __future__ import annotations

import hashlib

import pytest
from packaging.version import Version

from layerzero.semantics.context import complete, read_context
from layerzero.semantics.experiments import bucket, enrol, spell_key
from tests.unit.semantics.build import program

FIELDS = """
field tenant: string
field seat: int
field ratio: float
field vip: bool
field tier: enum(free, paid)
field since: version
field zone: string = "eu"
alias gratis = free
operation o { optional tenant }
kernel k.a for o { }
"""


def by_hand(salt: str, kind: str, value: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{salt}\x00{kind}\x00{value}".encode()).digest()[:8], "big") % 10_000


def enrolled(experiment: str, **context: object) -> dict[str, str]:
    made = program(FIELDS + experiment)
    return enrol(made, read_context(made, {"operation": "o", **context})[1])


def test_a_bucket_is_a_hash_and_nothing_else() -> None:
    assert bucket("e", "share", "acme") == by_hand("e", "share", "acme")
    assert bucket("e", "arm", "é") == by_hand("e", "arm", "é")
    assert bucket("e", "arm", "\ud800") in range(10_000)


def test_the_share_enrols_the_lower_buckets_and_the_arms_take_consecutive_ranges() -> None:
    text = "experiment e on tenant share 20% { arm control 49.5% { } arm acme 50.5% { } }"
    seen = set()
    for index in range(400):
        tenant = f"t{index}"
        inside = by_hand("e", "share", tenant) < 2000
        arm = "control" if by_hand("e", "arm", tenant) < 4950 else "acme"
        assert enrolled(text, tenant=tenant) == ({"e": arm} if inside else {})
        seen.add((inside, arm))
    assert len(seen) == 4


def test_all_are_enrolled_unless_a_share_is_given() -> None:
    text = "experiment e on tenant { arm control 100% { } arm never 0% { } }"
    assert all(enrolled(text, tenant=f"t{index}") == {"e": "control"} for index in range(100))
    assert enrolled(text.replace("tenant {", "tenant share 0% {"), tenant="t1") == {}


def test_a_growing_share_moves_nobody_who_is_in() -> None:
    def arms(share: int) -> dict[str, str]:
        text = f"experiment e on tenant share {share}% {{ arm a 30% {{ }} arm b 70% {{ }} }}"
        found = {f"t{index}": enrolled(text, tenant=f"t{index}").get("e") for index in range(300)}
        return {tenant: arm for tenant, arm in found.items() if arm is not None}

    small, large = arms(10), arms(40)
    assert small
    assert small.items() <= large.items()


def test_the_salt_takes_the_place_of_the_name() -> None:
    text = 'experiment e on tenant share 50% salt "pepper" { arm a 50% { } arm b 50% { } }'
    for index in range(50):
        tenant = f"t{index}"
        wanted = {"e": "a" if by_hand("pepper", "arm", tenant) < 5000 else "b"}
        assert enrolled(text, tenant=tenant) == (wanted if by_hand("pepper", "share", tenant) < 5000 else {})


def test_without_the_key_nobody_is_enrolled() -> None:
    text = "experiment e on tenant { arm a 100% { } }"
    assert enrolled(text) == {}
    assert enrolled(text, tenant=None) == {}
    assert enrolled(text, tenant="") == {"e": "a"}


def test_a_default_enrols_nobody() -> None:
    made = program(FIELDS + "experiment e on zone { arm a 100% { } }")
    scope, given = read_context(made, {"operation": "o"})
    assert enrol(made, given) == {}
    values = complete(made, scope, given).values
    assert values["zone"] == "eu"
    assert enrol(made, values, given_fields=given) == {}
    assert enrol(made, values, given_fields=["zone"]) == {"e": "a"}


def test_experiments_are_independent() -> None:
    text = "experiment e on tenant { arm a 50% { } arm b 50% { } } experiment f on seat { arm a 50% { } arm b 50% { } }"
    both = enrolled(text, tenant="acme", seat=3)
    assert both == {**enrolled(text, tenant="acme"), **enrolled(text, seat=3)}
    assert set(both) == {"e", "f"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (-7, "-7"),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (1e22, "1e+22"),
        (1e-7, "1e-07"),
        ("Acme Corp", "Acme Corp"),
        (Version("1.0"), "1.0"),
    ],
)
def test_keys_are_spelt_as_in_json(value: bool | int | float | str | Version, text: str) -> None:
    assert spell_key(value) == text


def test_the_spelling_of_a_given_key() -> None:
    def key(field: str, value: object) -> str:
        made = program(FIELDS)
        return spell_key(read_context(made, {"operation": "o", field: value})[1][field])

    assert key("ratio", 1) == "1.0"
    assert key("tier", "gratis") == "free"
    assert key("since", "1.0-post1") == "1.0-post1"
