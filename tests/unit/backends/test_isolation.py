"""Packages that are broken at import, really installed: each is a reason with its exact text, and calls go on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from wheels import install, wheel

from layerzero.backends.isolation import tried_apart

BROKEN = {
    "segfaulting": "import ctypes\nprint('about to read from nowhere')\nctypes.string_at(0)\n",
    "leaving": "import os\nos._exit(3)\n",
    "exiting": "raise SystemExit('no licence here')\n",
    "incompatible": "raise ImportError('undefined symbol: _ZN3c105ErrorC2E')\n",
    "emptied": "",
    "sound": "def silu(x):\n    return x * x.sigmoid()\n",
}
REASONS = {
    "segfaulting": "`segfaulting_kernels` does not import: it ended the process (SIGSEGV)",
    "leaving": "`leaving_kernels` does not import: it ended the process (exit status 3)",
    "exiting": "`exiting_kernels` does not import: SystemExit: no licence here",
    "incompatible": "`incompatible_kernels` does not import: ImportError: undefined symbol: _ZN3c105ErrorC2E",
    "emptied": "`emptied_kernels` has no `silu`",
    "sound": None,
}


def catalog(name: str) -> str:
    return f"""
backend {name} {{ package {name}-kernels >=1, <2 }}
kernel {name}.silu for silu {{
  "a kernel of a package that may be broken"
  priority 90
  supports strided, inner_strided, misaligned, backward, deterministic, empty
  adapter "{name}_kernels:silu"
}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of them, each announcing its catalog."""
    made, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    versions = dict.fromkeys(BROKEN, "1.0") | {"old": "0.9"}
    files = {
        name: wheel(
            made,
            f"{name}-kernels",
            version,
            {f"{name}_kernels.py": BROKEN.get(name, ""), f"{name}_facts/catalog.lzp": catalog(name)},
            f"[layerzero.catalogs]\n{name} = {name}_facts\n",
        )
        for name, version in versions.items()
    }
    install(target, list(files.values()))
    for name in versions:
        (target / f"{name}_facts" / "__init__.py").write_text("")
    return target


def run(site: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_adapter_has_its_reason(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(site))
    paths = {name: f"{name}_kernels:silu" for name in BROKEN}
    answers = tried_apart(list(paths.values()))
    assert {name: answers[path] for name, path in paths.items()} == REASONS
    assert not {f"{name}_kernels" for name in BROKEN} & set(sys.modules)


def test_one_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hanging_kernels.py").write_text("import time\ntime.sleep(600)\n")
    (tmp_path / "later_kernels.py").write_text("def silu(x): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    started = time.monotonic()
    answers = tried_apart(["hanging_kernels:silu", "hanging_kernels:gelu", "later_kernels:silu"], seconds=3.0)
    assert time.monotonic() - started < 60
    reason = "`hanging_kernels` does not import: it did not come to an end within 3 s"
    assert answers == {"hanging_kernels:silu": reason, "hanging_kernels:gelu": reason, "later_kernels:silu": None}


def test_calls_go_on_and_the_trace_tells(site: Path) -> None:
    code = """
import sys
import layerzero as lz
assert not [name for name in sys.modules if name.endswith("_kernels")], "import layerzero imports packages of kernels"
import torch
x = torch.randn(3, 4)
assert torch.allclose(lz.silu(x), torch.nn.functional.silu(x))
report = lz.explain(x, operation="silu")
print(report.selected_kernel)
for kernel, reasons in sorted(report.rejection_reasons.items()):
    print(kernel, "|", "; ".join(f"{one.text} {one.got} {one.because}" for one in reasons))
"""
    chosen, *rejected = run(site, code).splitlines()
    assert chosen == "sound.silu"
    told = dict(line.split(" | ", 1) for line in rejected)
    for name, reason in REASONS.items():
        assert reason is None or reason in told[f"{name}.silu"]
    assert "old-kernels >=1, <2" in told["old.silu"] and "0.9" in told["old.silu"]
