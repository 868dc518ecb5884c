"""What the page of each code says: why it is a finding, a text that has it, and the same text put right."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """`why` in a sentence or two; `wrong` and `right` are in `notation`, or empty where no text shows it."""

    why: str
    wrong: str = ""
    right: str = ""
    notation: str = "lzp"


PAGES: dict[str, Page] = {
    "LZ001": Page("A policy that cannot be read is not in force; going on without it would drop its rules silently."),
    "LZ002": Page("Files are UTF-8, so that every reader sees the same rules. A NUL usually means a binary file."),
    "LZ003": Page(
        "Limits on file size, nesting, nodes, imports and the length of a word keep loading within seconds and memory "
        "within bounds, whatever the input. layerzero/syntax/limits.py and layerzero/check/limits.py state them."
    ),
    "LZ004": Page(
        "Files that import each other have no order in which they could be read. The message shows the whole chain.",
        '# a.lzp\nimport "b.lzp"\n# b.lzp\nimport "a.lzp"',
        '# a.lzp\nimport "common.lzp"\n# b.lzp\nimport "common.lzp"',
    ),
    "LZ005": Page(
        "Imports stay inside the root file's folder, after links are followed, so that a policy cannot read elsewhere.",
        'import "../../other/secret.lzp"',
        'import "common.lzp"',
    ),
    "LZ006": Page(
        "A policy is data. Code is named only by catalogs that come with an installed package or that the program "
        "passes.",
        'kernel acme.decode for attention {\n  adapter "os:system"\n}',
        "kernel acme.decode for attention {\n  require sm >= 90\n}",
    ),
    "LZ007": Page(
        "Leaving a missing import out would drop rules silently.", 'import "comon.lzp"', 'import "common.lzp"'
    ),
    "LZ100": Page(
        "The text is not a statement of the language. All such places of a file are reported in one run; the message "
        "says what to write instead.",
        "deny torch.* when batch = 32",
        "deny torch.* when batch == 32",
    ),
    "LZ101": Page(
        "Integers have 64 bits, no leading zero, `_` between digits and the suffixes `Ki`, `Mi`, `Gi`; decimals "
        "have digits "
        "on both sides of the point; strings have JSON escapes; dates are days of the calendar; a `[` in a glob "
        "is closed, and its ranges run forwards.",
        "define small = 1.",
        "define small = 1.0",
    ),
    "LZ102": Page(
        "Each clause stands at most once: of two, a reader would not know which counts.",
        "deny torch.* as first as second",
        "deny torch.* as first",
    ),
    "LZ103": Page(
        "`and or not in like if else when true false null has min max package kernel` are words of the language "
        "everywhere. As a name such a word stands in backquotes.",
        "field max: int",
        "field `max`: int",
    ),
    "LZ008": Page(
        "YAML policies are read with PyYAML and pydantic, which the extra `live` brings: "
        '`pip install "layerzero[live]"`. `.lzp` files need neither.'
    ),
    "LZ104": Page(
        "The file cannot be read as YAML, so none of its rules is known.",
        'denies:\n  - operation: "attention.*"\n\tbackend: "torch_sdpa"',
        'denies:\n  - operation: "attention.*"\n    backend: "torch_sdpa"',
        "yaml",
    ),
    "LZ105": Page(
        "A policy says what it shows: a tag can name code, of several documents a reader may see only the first, and "
        "an alias inside of what it means has no end. Other aliases are read, and count in full for the limits.",
        'denies:\n  - operation: "*"\n    backend: "torch_sdpa"\n    condition: !!python/name:os.system "batch > 32"',
        'denies:\n  - operation: "*"\n    backend: "torch_sdpa"\n    condition: "batch > 32"',
        "yaml",
    ),
    "LZ106": Page(
        "If a misspelt key were ignored, a rule could lose its condition and match every call.",
        'denies:\n  - operation: "attention.*"\n    backend: "torch_sdpa"\n    conditon: "batch > 32"',
        'denies:\n  - operation: "attention.*"\n    backend: "torch_sdpa"\n    condition: "batch > 32"',
        "yaml",
    ),
    "LZ107": Page(
        'Without the key it is not clear what the entry is for. For every operation write `operation: "*"`.',
        'denies:\n  - backend: "torch_sdpa"',
        'denies:\n  - operation: "*"\n    backend: "torch_sdpa"',
        "yaml",
    ),
    "LZ108": Page(
        "YAML readers keep one of the two values and drop the other without a word.",
        'denies:\n  - operation: "*"\n    backend: "torch_sdpa"\n    backend: "flashinfer"',
        'denies:\n  - operation: "*"\n    backends: ["torch_sdpa", "flashinfer"]',
        "yaml",
    ),
    "LZ109": Page(
        "The value is not of the form that the key wants: a list where a text belongs, a text where a number belongs, "
        "nothing at all.",
        'boosts:\n  - operation: "*"\n    backend: "flashinfer"\n    boost_factor: "high"',
        'boosts:\n  - operation: "*"\n    backend: "flashinfer"\n    boost_factor: 1.5',
        "yaml",
    ),
    "LZ110": Page(
        "The operators are those of the language: `==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `not in`, `like`, "
        "`not like`.",
        'rules:\n  - operation: "attention"\n    conditions: [{field: batch, operator: "=>", value: 32}]\n'
        '    kernel: "flash_attn"',
        'rules:\n  - operation: "attention"\n    conditions: [{field: batch, operator: ">=", value: 32}]\n'
        '    kernel: "flash_attn"',
        "yaml",
    ),
    "LZ201": Page(
        "A misspelt field would make a condition unknown for ever, and so switch the rule off.",
        "deny torch.* when head_dims > 256",
        "deny torch.* when head_dim > 256",
    ),
    "LZ202": Page(
        "Beside an enum a bare name is one of its members; a name that is none can never be equal to it.",
        "deny torch.* when dtype == bfloat",
        "deny torch.* when dtype == bf16",
    ),
    "LZ203": Page(
        "A rule for an operation that does not exist never applies.",
        "deny torch.* for atention",
        "deny torch.* for attention",
    ),
    "LZ204": Page(
        "A plain id names one kernel or backend; if it is declared nowhere, the rule does nothing. (A glob that "
        "matches "
        "nothing is only a warning, LZ501.)",
        "deny reference.atention for attention",
        "deny reference.attention for attention",
    ),
    "LZ205": Page(
        "A kernel that supports a misspelt feature would be rejected for the real one.",
        "kernel acme.decode for attention {\n  supports causl\n}",
        "kernel acme.decode for attention {\n  supports causal\n}",
    ),
    "LZ206": Page(
        "Attributes are declared, so that `kernel.X` means the same for every kernel.",
        "deny * when kernel.vendor_suport",
        "attribute vendor_support: bool = false\ndeny * when kernel.vendor_support",
    ),
    "LZ207": Page(
        "A test on a context that does not exist would test something else.",
        'test "t" {\n  given attention, h1000\n  expect not reference.attention\n}',
        'test "t" {\n  given attention, h100\n  expect not reference.attention\n}',
    ),
    "LZ208": Page(
        "`by` names a rule by its `as`; a name that no rule has can never be confirmed.",
        'test "t" {\n  given silu, h100, dtype = bf16, rows = 1\n  expect by pin\n}',
        "lock reference.silu for silu as pin\n"
        'test "t" {\n  given silu, h100, dtype = bf16, rows = 1\n  expect by pin\n}',
    ),
    "LZ209": Page(
        "An arm is named with its experiment, `experiment.arm`, and both must exist.",
        'test "t" {\n  given attention, h100, arm faster.acme\n  expect not reference.attention\n}',
        "field tenant: string\nexperiment faster on tenant { arm acme 100% }\n"
        'test "t" {\n  given attention, h100, arm faster.acme\n'
        "  expect not reference.attention\n}",
    ),
    "LZ210": Page(
        "A name declared twice has two meanings, and the order of statements never decides.",
        "define long = kv_len >= 8Ki\ndefine long = kv_len >= 16Ki",
        "define long = kv_len >= 8Ki\ndefine very_long = kv_len >= 16Ki",
    ),
    "LZ211": Page(
        "A kernel may read only what every call of its operation can give: fields that the operation needs or lists as "
        "optional. Rules may read any field.",
        'field tenant: string\nkernel acme.norm for rms_norm {\n  require tenant == "a"\n}',
        "field tenant: string\nextend rms_norm { optional tenant }\nkernel acme.norm for rms_norm {\n"
        '  require tenant == "a"\n}',
    ),
    "LZ212": Page(
        "The statement or line has no meaning where it stands.",
        "field tenant: string\nextend attention { needs tenant }",
        "field tenant: string\nextend attention { optional tenant }",
    ),
    "LZ213": Page(
        "A define or default that leads back to itself has no value.",
        "define a = not b\ndefine b = not a",
        "define a = paged\ndefine b = not a",
    ),
    "LZ301": Page(
        "Unlike types never compare as meant. Int and float go together; a string beside a version becomes one; "
        "enums and "
        "strings have no order.",
        "deny torch.* when dtype >= 8",
        "deny torch.* when dtype in {fp16, bf16}",
    ),
    "LZ302": Page(
        "A condition is true, false or unknown; a number is none of them.",
        "deny torch.* when batch",
        "deny torch.* when batch > 0",
    ),
    "LZ303": Page(
        "A field never has a value outside its range, so the comparison is decided before any call.",
        "deny torch.* when head_dim == -3",
        "deny torch.* when head_dim == 3",
    ),
    "LZ304": Page(
        "A range from a larger to a smaller number holds nothing.",
        "deny torch.* when head_dim in 128..64",
        "deny torch.* when head_dim in 64..128",
    ),
    "LZ305": Page(
        "An absent field is unknown, and nothing equals unknown. `has` asks whether a field is there.",
        "deny torch.* when window == null",
        "deny torch.* when not has(window)",
    ),
    "LZ306": Page(
        "Priorities of kernels are 0..1000, factors at least 0, shares at most 100 % with two decimals.",
        "boost flash_attn by -2",
        "boost flash_attn by 0.5",
    ),
    "LZ307": Page(
        "Every enrolled unit belongs to exactly one arm, so the arms' shares make 100 %.",
        "field tenant: string\nexperiment e on tenant {\n  arm a 50%\n  arm b 40%\n}",
        "field tenant: string\nexperiment e on tenant {\n  arm a 50%\n  arm b 50%\n}",
    ),
    "LZ401": Page(
        "Two locks of one layer and priority whose conditions overlap and that have no kernel in common leave no "
        "kernel. "
        "The message shows a context in which both apply.",
        "lock reference.attention for attention when batch > 8\nlock torch.sdpa_math for attention when batch > 4",
        "lock reference.attention for attention when batch > 8 priority 1\n"
        "lock torch.sdpa_math for attention when batch > 4",
    ),
    "LZ402": Page(
        "Two orders of equal rank that put the same kernels in different orders: neither could win.",
        "order reference.attention > torch.sdpa_math for attention\n"
        "order torch.sdpa_math > reference.attention for attention",
        "order reference.attention > torch.sdpa_math for attention priority 1\n"
        "order torch.sdpa_math > reference.attention for attention",
    ),
    "LZ403": Page(
        "Every call in the lock's region would fail. Say where to go on (`else choose`, `else fallback`) or narrow the "
        "condition. The message names the requirement that bars the kernel.",
        "lock flash_attn.v3 for attention when sm in 80..89  # flash_attn.v3 needs sm >= 90",
        "lock flash_attn.v3 for attention when sm >= 90 else choose",
    ),
    "LZ501": Page(
        "The pattern may be meant for kernels that are not installed here, or be misspelt.",
        "deny flashinfr.* for attention",
        "deny flashinfer.* for attention",
    ),
    "LZ502": Page(
        "From 00:00 UTC of its `until` a rule no longer applies. It is inert, not an error; remove it or renew it.",
        "deny torch.* until 2020-01-01",
        "deny torch.* until 2099-01-01",
    ),
    "LZ503": Page(
        "Where the field is absent a deny does not apply, and a quarantine does. Say which is meant.",
        "deny torch.* when window > 4096",
        "deny torch.* when has(window) and window > 4096",
    ),
    "LZ504": Page("A factor times 0 is 0. Raise the kernel's priority, or use `order`."),
    "LZ505": Page(
        "The part of the range beyond the field's own range holds no value.",
        "deny torch.* when head_dim in 0..9999999",
        "deny torch.* when head_dim in 1..256",
    ),
    "LZ510": Page(
        "A part of a condition that is true, or true nowhere, whatever the call says nothing; most often "
        "a bound, a field "
        "or an operator is not the one that was meant.",
        "field width: int in 1..1024\ndeny torch.* for attention when has(width) and width >= 1",
        "field width: int in 1..1024\ndeny torch.* for attention when has(width) and width >= 128",
    ),
    "LZ511": Page(
        "The rule does nothing, and its readers believe that it does. That no call fulfils its condition "
        "is proved over "
        "the declared ranges.",
        "deny torch.* for attention.decode when q_len > 1",
        "deny torch.* for attention.prefill when q_len > 1",
    ),
    "LZ512": Page(
        "Wherever the rule applies, kernel, degraded and error are the same without it: proved for "
        "whatever packages are "
        "installed, and for the days on which other rules end. The message names the rules that decide "
        "there. Where the "
        "rule is meant to stay, write `# check: allow shadowed_rule because ...` above it.",
        "deny torch.* for attention when batch > 32\ndeny torch.sdpa_math for attention when batch > 64",
        "deny torch.* for attention when batch > 32",
    ),
    "LZ513": Page(
        "Where a lock decides, allow and deny are not asked, so the lock brings back what the deny was "
        "to keep out. What "
        "must never run is said with a quarantine.",
        "deny torch.* for attention when batch > 32\n"
        "lock torch.sdpa_math for attention when head_dim == 512 else choose",
        "quarantine torch.* for attention when batch > 32\n"
        "lock torch.sdpa_math for attention when head_dim == 512 else choose",
    ),
    "LZ514": Page(
        "A reader takes each allow for a part of what may run; this one neither lets a kernel in nor keeps one out.",
        "allow torch for attention\nallow torch.sdpa_math for attention when batch > 8",
        "allow torch for attention",
    ),
    "LZ515": Page(
        "No call is served by the kernel: what it requires can never hold, or others are always before it, whichever "
        "packages are missing.",
        "operation ship { }\nkernel van.fast for ship { priority 60 }\nkernel van.slow for ship { priority 40 }",
        "field weight: int in 1..100\noperation ship { needs weight }\n"
        "kernel van.fast for ship { priority 60 require weight <= 20 }\nkernel van.slow for ship { priority 40 }",
    ),
    "LZ516": Page(
        "The test goes the way of an earlier one, to the same kernel for the same reasons, and expects nothing more.",
        'test "a" { given attention, batch = 1, q_len = 1, kv_len = 8, q_heads = 8, kv_heads = 8, head_dim = 64, '
        "dtype = fp32, device = cpu expect torch.* }\n"
        'test "b" { given attention, batch = 2, q_len = 1, kv_len = 8, q_heads = 8, kv_heads = 8, head_dim = 64, '
        "dtype = fp32, device = cpu expect torch.* }",
        'test "a" { given attention, batch = 1, q_len = 1, kv_len = 8, q_heads = 8, kv_heads = 8, head_dim = 64, '
        "dtype = fp32, device = cpu expect torch.* }",
    ),
    "LZ517": Page(
        "The fallback is slow and certain; calls that rules send there are noticed by their latency, or "
        "by an error where "
        "it is denied too. Where that is meant, write `# check: allow only_fallback because ...` at the rule.",
        "allow flashinfer for attention",
        "allow {flashinfer, torch.sdpa_math, reference} for attention",
    ),
    "LZ518": Page(
        "Until the quarantine ends the lock cannot be met, so its calls fail or go elsewhere.",
        "quarantine flashinfer for attention until 2030-01-01\nlock flashinfer.decode for attention.decode else choose",
        "quarantine flashinfer for attention until 2030-01-01\nlock torch.sdpa_math for attention.decode else choose",
    ),
    "LZ600": Page(
        "`lz lint` alone finds this: a suppression that outlives what it was for would hide the next slip.",
        "deny torch.* for attention  # lint: allow endless_quarantine",
        "deny torch.* for attention",
    ),
    "LZ601": Page(
        "`lz lint` alone finds this: the name of a rule stands in every decision and log. Name what the rule is for.",
        "deny torch.* for attention when batch > 32 as rule1",
        "deny torch.* for attention when batch > 32 as no_torch_in_large_batches",
    ),
    "LZ602": Page(
        "`lz lint` alone finds this: without the reason nobody dares to remove a quarantine.",
        "quarantine torch.flex for attention when sm == 120 until 2099-01-01",
        'quarantine torch.flex for attention when has(sm) and sm == 120 because "wrong sums, #1234" until 2099-01-01',
    ),
    "LZ603": Page(
        "`lz lint` alone finds this: bugs are mended, and without a day nobody looks again. A quarantine that states a "
        "law may stand for ever, and says so in place.",
        'quarantine torch.flex because "wrong sums, #1234"',
        "# lint: allow endless_quarantine because it is a law of the hardware\n"
        'quarantine torch.flex for attention when has(sm) and sm < 75 because "no tensor cores"',
    ),
    "LZ604": Page(
        "`lz lint` alone finds this: readers take an unused define for part of the policy.",
        "define long_decode = phase == decode and kv_len >= 8Ki",
        "define long_decode = phase == decode and kv_len >= 8Ki\ndeny torch.* for attention when long_decode",
    ),
    "LZ605": Page(
        "`lz lint` alone finds this: the glob holds on machines that nobody thought of; `*A10*` also matches the A100.",
        'deny torch.flex when device_name like "*A10*"',
        'deny torch.flex when device_name like "* A10"',
    ),
    "LZ606": Page(
        "`lz lint` alone finds this: a kernel whose requirements exclude each other silently takes no part.",
        "backend acme { require device == cuda }\nkernel acme.decode for attention { require device == cpu }",
        "backend acme { require device == cuda }\nkernel acme.decode for attention { require sm >= 90 }",
    ),
    "LZ901": Page("Ignoring what is written would be worse than saying that nothing acts on it yet."),
}
