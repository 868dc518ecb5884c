"""Every diagnostic code, once. A code never changes its meaning; docs/errors/ has a page for each."""

from __future__ import annotations

from dataclasses import dataclass

from layerzero.syntax.diagnostics import Severity


@dataclass(frozen=True, slots=True)
class Code:
    """`LZ201 unknown_field`: its name, severity, one line, and what its page says."""

    code: str
    name: str
    severity: Severity
    summary: str


_TABLE: tuple[Code, ...] = (
    # 0xx: files and limits
    Code("LZ001", "unreadable_file", "error", "a file cannot be read"),
    Code("LZ002", "invalid_encoding", "error", "a file is not UTF-8 or holds a NUL"),
    Code("LZ003", "limit_exceeded", "error", "a file or program is larger than a stated limit"),
    Code("LZ004", "import_cycle", "error", "files import each other in a circle"),
    Code("LZ005", "import_outside", "error", "an import leaves the folder of the root file"),
    Code("LZ006", "untrusted_adapter", "error", "a file that is not a trusted catalog names code"),
    Code("LZ007", "import_not_found", "error", "an imported file does not exist"),
    Code("LZ008", "missing_package", "error", "a file needs an optional package to be read"),
    # 1xx: syntax
    Code("LZ100", "syntax", "error", "the text is not a statement of the language"),
    Code("LZ101", "bad_literal", "error", "a number, string, date or percentage is malformed"),
    Code("LZ102", "repeated_clause", "error", "a clause stands twice"),
    Code("LZ103", "reserved_word", "error", "a reserved word is used as a name without backquotes"),
    # 104 to 110: YAML policies (layerzero/notations)
    Code("LZ104", "yaml_syntax", "error", "the text is not YAML"),
    Code("LZ105", "yaml_feature", "error", "the YAML has a tag, several documents or an alias inside of what it means"),
    Code("LZ106", "unknown_key", "error", "a key of a YAML policy is not one that has a meaning there"),
    Code("LZ107", "missing_key", "error", "an entry of a YAML policy lacks a key that it needs"),
    Code("LZ108", "repeated_key", "error", "a key stands twice in one mapping"),
    Code("LZ109", "wrong_value", "error", "a key of a YAML policy has a value of the wrong form"),
    Code("LZ110", "unknown_operator", "error", "the operator of a test is not one of the language"),
    # 2xx: names
    Code("LZ201", "unknown_field", "error", "a name is not a field, member or define"),
    Code("LZ202", "unknown_member", "error", "a name is not a member of the enum beside it"),
    Code("LZ203", "unknown_operation", "error", "an operation or view is declared nowhere"),
    Code("LZ204", "unknown_kernel", "error", "a kernel or backend is declared nowhere"),
    Code("LZ205", "unknown_feature", "error", "a feature is not one of the operation's"),
    Code("LZ206", "unknown_attribute", "error", "an attribute is declared nowhere"),
    Code("LZ207", "unknown_context", "error", "a context or device is declared nowhere"),
    Code("LZ208", "unknown_rule", "error", "a test names a rule that does not exist"),
    Code("LZ209", "unknown_experiment", "error", "a test names an experiment or arm that does not exist"),
    Code("LZ210", "duplicate_name", "error", "a name is declared twice"),
    Code("LZ211", "undeclared_field_read", "error", "a kernel reads a field that its operation does not list"),
    Code("LZ212", "wrong_place", "error", "a statement stands where it has no meaning"),
    Code("LZ213", "definition_cycle", "error", "defines or defaults refer to each other in a circle"),
    # 3xx: types and values
    Code("LZ301", "type_mismatch", "error", "operands or values have types that do not go together"),
    Code("LZ302", "not_a_condition", "error", "a condition is not a bool"),
    Code("LZ303", "out_of_range", "error", "a constant lies outside the field's range"),
    Code("LZ304", "empty_range", "error", "a range holds no value"),
    Code("LZ305", "null_comparison", "error", "a comparison with null; `has` asks for presence"),
    Code("LZ306", "bad_value", "error", "a priority, factor, share or specifier is not acceptable"),
    Code("LZ307", "arms_do_not_sum", "error", "the arms of an experiment do not sum to 100 %"),
    # 4xx: rules (errors found with regions)
    Code("LZ401", "conflicting_locks", "error", "two locks of equal rank claim the same calls for different kernels"),
    Code("LZ402", "conflicting_orders", "error", "two orders of equal rank disagree"),
    Code("LZ403", "impossible_lock", "error", "a lock's region has no feasible target"),
    # 5xx: warnings
    Code("LZ501", "glob_matches_nothing", "warning", "a pattern matches no known kernel"),
    Code("LZ502", "expired_rule", "warning", "a rule's `until` has passed"),
    Code("LZ503", "unguarded_optional_field", "warning", "a deny or quarantine reads an optional field without `has`"),
    Code("LZ504", "boost_of_zero_priority", "warning", "a boost of a kernel whose priority is 0"),
    Code("LZ505", "range_beyond_field", "warning", "a range reaches beyond the field's range"),
    Code("LZ510", "decided_condition", "warning", "a condition that the ranges decide"),
    Code("LZ511", "dead_rule", "warning", "a rule can never apply"),
    Code("LZ512", "shadowed_rule", "warning", "a rule applies but changes nothing"),
    Code("LZ513", "denied_lock", "warning", "a lock can choose what a deny forbids"),
    Code("LZ514", "redundant_allow", "warning", "an allow adds nothing"),
    Code("LZ515", "idle_kernel", "warning", "a kernel can never win"),
    Code("LZ516", "repeated_test", "warning", "a test covers nothing new"),
    Code("LZ517", "only_fallback", "warning", "nothing but the fallback is left for some calls"),
    Code("LZ518", "quarantined_lock", "warning", "only a quarantine bars what a lock asks for"),
    # 6xx: lints (layerzero/analysis/lint)
    Code("LZ600", "unused_suppression", "warning", "a `# lint: allow` that no finding needs, or of an unknown name"),
    Code("LZ601", "vague_name", "warning", "a name says nothing"),
    Code("LZ602", "unexplained_quarantine", "warning", "a quarantine without `because`"),
    Code("LZ603", "endless_quarantine", "warning", "a quarantine without `until`"),
    Code("LZ604", "unused_define", "warning", "a define that nothing uses"),
    Code(
        "LZ605",
        "wide_device_glob",
        "warning",
        "a glob on `device_name` that matches more devices than it seems to mean",
    ),
    Code("LZ606", "contradictory_facts", "warning", "the facts of a kernel contradict each other"),
    # 9xx: not yet acted on
    Code("LZ901", "not_yet_supported", "error", "the statement is understood but nothing acts on it yet"),
)

CODES: dict[str, Code] = {code.code: code for code in _TABLE}
