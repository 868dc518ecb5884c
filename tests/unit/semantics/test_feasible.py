"""Stage 2 of section 4: what makes a kernel infeasible, and how the reason reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from layerzero.semantics.environment import Environment
from layerzero.semantics.proof import Proof, Reason
from tests.unit.semantics.build import OFFLINE, decided

HEAD = """
field n: int
field m: int
field flag: bool
field big: bool
field s: string
attribute fast: bool = false
attribute limit: int
operation o {
  optional n, m, flag, big
  view low when n < 10
  view even when n % 2 == 0
  feature wide when big
  fallback ref.o
}
kernel ref.o for o { priority 0 supports wide }
"""


def proof_of(text: str, environment: Environment = OFFLINE, **context: object) -> Proof:
    return decided(HEAD + text, context, environment)


def reasons(text: str, environment: Environment = OFFLINE, **context: object) -> tuple[Reason, ...]:
    context.setdefault("big", False)
    return proof_of(text, environment, **context).rejected.get("k.a", ())


def only(text: str, environment: Environment = OFFLINE, **context: object) -> Reason:
    found = reasons(text, environment, **context)
    assert len(found) == 1, found
    return found[0]


# ---------------------------------------------------------------- require


def test_a_requirement_that_is_false_bars_the_kernel() -> None:
    found = only('kernel k.a for o { require n > 3 and m in {1, 2} because "tile" }', n=5, m=3)
    assert (found.kind, found.text, found.got, found.because) == ("requirement", "m in {1, 2}", {"m": 3}, "tile")
    line, column = found.at.rsplit(":", 2)[1:]
    text = (HEAD + 'kernel k.a for o { require n > 3 and m in {1, 2} because "tile" }').split("\n")
    assert text[int(line) - 1][int(column) - 1 :].startswith("m in {1, 2}")


def test_an_unknown_requirement_does_not_hold() -> None:
    found = only("kernel k.a for o { require n > 3 }")
    assert (found.text, found.got, found.missing) == ("n > 3", {"n": None}, ("n",))


def test_all_failing_requirements_are_listed() -> None:
    text = "kernel k.a for o { require n > 3 require m > 3 require n > 0 }"
    assert [found.text for found in reasons(text, n=1, m=1)] == ["n > 3", "m > 3"]


def test_require_when_asks_only_where_the_premise_is_not_false() -> None:
    text = "kernel k.a for o { require n > 3 when flag }"
    assert reasons(text, n=1, flag=False) == ()
    assert reasons(text, n=5) == ()  # not C or E, and E is true
    assert only(text, n=1, flag=True).text == "n > 3"
    open_premise = only(text, n=1)
    assert (open_premise.text, open_premise.got, open_premise.missing) == ("n > 3", {"n": 1}, ("flag",))


def test_a_requirement_may_read_the_attributes_of_its_kernel() -> None:
    text = "kernel k.a for o { set limit = 8 require n <= kernel.limit }"
    assert reasons(text, n=8) == ()
    assert only(text, n=9).got == {"n": 9, "kernel.limit": 8}
    assert only("kernel k.a for o { require n <= kernel.limit }", n=1).missing == ("kernel.limit",)


def test_what_the_backend_requires_is_part_of_every_kernel() -> None:
    assert only("backend k { require n > 3 } kernel k.a for o { require m > 3 }", n=1, m=4).text == "n > 3"


# ---------------------------------------------------------------- views


def test_a_kernel_for_a_view_requires_the_view() -> None:
    assert reasons("kernel k.a for o.low { }", n=3) == ()
    found = only("kernel k.a for o.low { }", n=12)
    assert (found.kind, found.text, found.got) == ("requirement", "n < 10", {"n": 12})
    assert only("kernel k.a for o.low { }").missing == ("n",)


def test_a_kernel_for_two_views_needs_at_least_one() -> None:
    text = "kernel k.a for o.low, o.even { }"
    assert reasons(text, n=3) == ()
    assert reasons(text, n=12) == ()
    assert [found.text for found in reasons(text, n=13)] == ["n < 10", "n % 2 == 0"]


def test_a_kernel_for_a_view_and_the_whole_needs_no_view() -> None:
    assert reasons("kernel k.a for o.low, o { }", n=13) == ()


# ---------------------------------------------------------------- features


def test_a_demanded_feature_that_is_not_declared_bars_the_kernel() -> None:
    found = only("kernel k.a for o { }", big=True)
    assert (found.kind, found.text, found.feature, found.got) == ("feature", "wide", "wide", {"big": True})
    assert found.at.rsplit(":", 2)[1] == str(len(HEAD.split("\n")))


def test_a_feature_whose_condition_is_unknown_is_demanded() -> None:
    proof = proof_of("kernel k.a for o { }")
    assert proof.features == ("wide",)
    assert proof.rejected["k.a"][0].missing == ("big",)


def test_a_feature_that_is_not_demanded_bars_nobody() -> None:
    assert reasons("kernel k.a for o { }", big=False) == ()


def test_supports_when_supports_only_where_it_holds() -> None:
    text = "kernel k.a for o { supports wide when n > 3 and m > 3 }"
    assert reasons(text, big=True, n=4, m=4) == ()
    found = only(text, big=True, n=4, m=1)
    assert (found.kind, found.text, found.feature, found.got) == ("feature", "m > 3", "wide", {"m": 1})
    assert only(text, big=True, n=4).missing == ("m",)


def test_several_supports_lines_are_united() -> None:
    text = "backend k { supports wide when flag } kernel k.a for o { supports wide when n > 3 }"
    assert reasons(text, big=True, n=4, flag=False) == ()
    assert reasons(text, big=True, n=1, flag=True) == ()
    assert len(reasons(text, big=True, n=1, flag=False)) == 2


def test_extend_makes_every_kernel_that_does_not_declare_the_feature_infeasible() -> None:
    text = "extend o { optional s feature named when has(s) } kernel k.a for o { }"
    assert reasons(text) == ()
    assert only(text, s="x").feature == "named"


# ---------------------------------------------------------------- packages

LINE = "kernel k.a for o { package Some_Lib >=1.4, <2, !=1.5.1 }"


def machine(**packages: str) -> Environment:
    return Environment({name.replace("_", "-"): version for name, version in packages.items()}, assume_packages=True)


def live(**packages: str) -> Environment:
    return replace(machine(**packages), assume_packages=False)


def live_reasons(text: str, environment: Environment) -> tuple[Reason, ...]:
    """Reasons on a machine, less the one that the kernel of a test has no adapter."""
    return tuple(found for found in reasons(text, environment) if not found.text.startswith("adapter"))


def test_a_package_must_be_at_an_accepted_version() -> None:
    assert reasons(LINE, machine(some_lib="1.5.0")) == ()
    found = only(LINE, machine(some_lib="1.5.1"))
    assert (found.kind, found.text) == ("package", "Some_Lib >=1.4, <2, !=1.5.1")
    assert found.got == {"some-lib": "1.5.1"}


def test_versions_are_compared_by_specifier_rules() -> None:
    assert reasons("kernel k.a for o { package some-lib >=2.9 }", machine(some_lib="2.10")) == ()
    assert reasons("kernel k.a for o { package some-lib ==2.8.* }", machine(some_lib="2.8.3")) == ()
    assert reasons("kernel k.a for o { package some-lib ==2.8 }", machine(some_lib="2.8+cu12")) == ()
    assert reasons("kernel k.a for o { package some-lib >=2.0 }", machine(some_lib="2.1.dev1")) == ()
    assert only("kernel k.a for o { package some-lib >=2.0 }", machine(some_lib="2.0rc1")).kind == "package"


def test_a_package_that_is_not_installed_bars_the_kernel() -> None:
    found = live_reasons(LINE, live())[0]
    assert (found.kind, found.got) == ("package", {"some-lib": None})


def test_the_first_alternative_that_is_installed_counts() -> None:
    text = "kernel k.a for o { package first >=2 | second >=9.1 }"
    assert live_reasons(text, live(second="9.1")) == ()
    assert live_reasons(text, live(first="2.0", second="1.0")) == ()
    found = live_reasons(text, live(first="1.0", second="9.1"))[0]
    assert (found.text, found.got) == ("first >=2", {"first": "1.0"})
    nothing = live_reasons(text, live())[0]
    assert (nothing.text, nothing.got) == ("first >=2 | second >=9.1", {"first": None, "second": None})


def test_offline_one_alternative_that_is_given_alone_counts_as_the_installed_one() -> None:
    text = "kernel k.a for o { package first >=2 | second >=9.1 }"
    assert reasons(text, machine(second="9.1")) == ()
    assert only(text, machine(second="9.0")).text == "second >=9.1"


def test_several_package_lines_must_all_hold() -> None:
    text = "backend k { package first >=2 } kernel k.a for o { package second >=3 }"
    assert [found.text for found in reasons(text, machine(first="1", second="1"))] == ["first >=2", "second >=3"]


def test_a_package_that_does_not_import_bars_the_kernel() -> None:
    environment = replace(live(some_lib="1.5.0"), broken={"some-lib": "libfoo.so: cannot open"})
    found = live_reasons(LINE, environment)[0]
    assert (found.kind, found.got, found.because) == ("package", {"some-lib": "1.5.0"}, "libfoo.so: cannot open")


def test_offline_a_package_that_is_not_given_is_assumed_and_listed() -> None:
    proof = proof_of(LINE, big=False)
    assert proof.kernel == "k.a"
    assert proof.assumed == ("package Some_Lib >=1.4, <2, !=1.5.1",)
    assert proof_of(LINE, machine(some_lib="1.5.0"), big=False).assumed == ()


# ---------------------------------------------------------------- package("x") in conditions


def test_a_condition_reads_the_installed_version() -> None:
    text = 'kernel k.a for o { require package("some-lib") >= "2.9" }'
    assert live_reasons(text, live(some_lib="2.10")) == ()
    found = live_reasons(text, live(some_lib="2.8"))[0]
    assert {name: str(value) for name, value in found.got.items()} == {'package("some-lib")': "2.8"}


def test_not_installed_is_unknown() -> None:
    text = 'kernel k.a for o { require package("some-lib") >= "2.9" }'
    assert live_reasons(text, live())[0].missing == ('package("some-lib")',)


def test_offline_a_requirement_unknown_only_because_of_a_package_holds_and_is_listed() -> None:
    proof = proof_of('kernel k.a for o { require package("some-lib") >= "2.9" and n > 3 }', big=False, n=4)
    assert proof.kernel == "k.a"
    assert proof.assumed == ('package("some-lib")',)


def test_offline_a_requirement_unknown_for_another_reason_as_well_does_not_hold() -> None:
    found = only('kernel k.a for o { require package("some-lib") >= "2.9" and n > 3 }')
    assert (found.text, found.missing) == ("n > 3", ("n",))
    assert only('kernel k.a for o { require package("some-lib") >= "2.9" and n > 3 }', n=1).text == "n > 3"
    # known under some versions and unknown under others
    assert only('kernel k.a for o { require package("some-lib") >= "2.9" or n > 3 }').kind == "requirement"


def test_offline_every_version_means_versions_between_the_constants_too() -> None:
    gap = 'kernel k.a for o { require package("p") <= "1" or package("p") >= "2" or n > 3 }'
    assert only(gap).missing == ('package("p")', "n")  # 1.5 leaves it open
    covered = 'kernel k.a for o { require package("p") < "2" or package("p") >= "2" or n > 3 }'
    assert reasons(covered) == ()
    two = 'kernel k.a for o { require package("p") < package("q") or package("p") >= package("q") or n > 3 }'
    assert reasons(two) == ()
    open_ties = 'kernel k.a for o { require package("p") < package("q") or package("p") > package("q") or n > 3 }'
    assert only(open_ties).kind == "requirement"


def test_offline_a_quarantine_unknown_only_because_of_a_package_does_not_apply_and_is_listed() -> None:
    text = 'kernel k.a for o { } quarantine k.* for o when package("some-lib") == "1.5.1"'
    proof = proof_of(text, big=False)
    assert proof.kernel == "k.a"
    assert proof.assumed == ('package("some-lib")',)
    assert only(text, machine(some_lib="1.5.1")).kind == "quarantine"
    assert any(found.kind == "quarantine" for found in live_reasons(text, live()))


def test_offline_a_quarantine_unknown_for_another_reason_applies() -> None:
    text = 'kernel k.a for o { } quarantine k.* for o when package("some-lib") == "1.5.1" and n > 3'
    assert only(text).missing == ('package("some-lib")', "n")
    assert reasons(text, n=4) == ()
    on_view = 'kernel k.a for o { } quarantine k.* for o.low when package("some-lib") == "1.5.1"'
    assert only(on_view).kind == "quarantine"
    assert reasons(on_view, n=4) == ()


def test_other_rules_unknown_because_of_a_package_do_not_apply() -> None:
    proof = proof_of('kernel k.a for o { } deny k.* for o when package("some-lib") == "1.5.1" as d', big=False)
    assert proof.kernel == "k.a"
    assert [(one.rule.name, one.applied, one.missing) for one in proof.rules] == [
        ("d", False, ('package("some-lib")',))
    ]


# ---------------------------------------------------------------- adapters and breakers


def test_a_kernel_without_an_adapter_takes_part_offline_only() -> None:
    assert reasons("kernel k.a for o { }") == ()
    found = only("kernel k.a for o { }", live())
    assert (found.kind, found.text) == ("package", "adapter")


def test_an_open_breaker_bars_the_kernel() -> None:
    found = only("kernel k.a for o { }", replace(OFFLINE, open_breakers={"k.a": "3 failures in 10 s"}))
    assert (found.kind, found.because) == ("breaker", "3 failures in 10 s")


# ---------------------------------------------------------------- quarantine


def test_a_quarantine_bars_what_it_matches() -> None:
    found = only('kernel k.a for o { } quarantine k.* for o when n > 3 as q because "crash"', n=4)
    assert (found.kind, found.text, found.got) == ("quarantine", "n > 3", {"n": 4})
    assert (found.rule, found.because) == ("q", "crash")
    assert reasons("kernel k.a for o { } quarantine k.* for o when n > 3", n=3) == ()


def test_an_unconditional_quarantine_is_shown_itself() -> None:
    found = only("kernel k.a for o { } quarantine k.* for o")
    assert (found.text, found.got, found.rule) == ("quarantine k.* for o", {}, f"<text>:{len(HEAD.splitlines()) + 1}")


def test_an_unknown_quarantine_applies_and_names_the_missing_field() -> None:
    proof = proof_of("kernel k.a for o { } quarantine k.* for o when n > 3 as q", big=False)
    assert proof.rejected["k.a"][0].missing == ("n",)
    assert [(one.rule.name, one.applied, one.missing) for one in proof.rules] == [("q", True, ("n",))]


def test_a_quarantine_for_a_view_applies_where_the_view_is_not_false() -> None:
    text = "kernel k.a for o { } quarantine k.* for o.low"
    assert only(text, n=3).kind == "quarantine"
    assert only(text).missing == ("n",)
    assert reasons(text, n=30) == ()


def test_a_quarantine_without_for_concerns_every_operation() -> None:
    assert only("kernel k.a for o { } quarantine k").kind == "quarantine"


def test_a_quarantine_is_decided_per_kernel_where_it_reads_kernel() -> None:
    text = "kernel k.a for o { set fast = true } kernel k.b for o { } quarantine k.* for o when kernel.fast"
    assert set(proof_of(text, big=False).rejected) == {"k.a"}
    # k.b leaves the attribute unknown, and unknown applies
    text = "kernel k.a for o { set limit = 3 } kernel k.b for o { } quarantine k.* for o when kernel.limit > 5"
    assert set(proof_of(text, big=False).rejected) == {"k.b"}


def test_a_rule_stops_on_its_day() -> None:
    text = "kernel k.a for o { } quarantine k.* for o until 2027-03-01"
    assert only(text, replace(OFFLINE, today=date(2027, 2, 28))).kind == "quarantine"
    proof = proof_of(text, replace(OFFLINE, today=date(2027, 3, 1)), big=False)
    assert proof.kernel == "k.a"
    assert [(one.applied, one.note) for one in proof.rules] == [(False, "expired on 2027-03-01")]


# ---------------------------------------------------------------- all at once


def test_all_reasons_of_infeasibility_are_given_and_no_later_ones() -> None:
    text = "kernel k.a for o { require n > 3 package p >=2 } quarantine k for o deny k for o"
    environment = replace(machine(p="1.0"), open_breakers={"k.a": "open"})
    kinds = [found.kind for found in reasons(text, environment, n=1, big=True)]
    assert kinds == ["requirement", "feature", "package", "breaker", "quarantine"]


def test_nothing_brings_an_infeasible_kernel_back() -> None:
    text = "kernel k.a for o { require n > 3 } lock k.a for o else choose allow k.a for o boost k.a by 1000"
    proof = proof_of(text, n=1, big=False)
    assert proof.kernel == "ref.o"
