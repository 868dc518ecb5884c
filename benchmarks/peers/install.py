"""Names of peers -> a virtual environment of their own under .cache/peers, and what of them did not install.

The project's environment stays as it is: peers bring pydantic, cffi and the like, in versions of their own choice.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / ".cache" / "peers"
OWN = ("lark", "packaging")
"""What LayerZero itself needs; it is read from the checkout, with the native matcher where that was built."""
PEERS = (
    "zen-engine",
    "cedarpy",
    "cel-expr-python",
    "common-expression-language",
    "regopy",
    "rule-engine",
    "business-rules",
    "clipspy",
)


def python() -> Path:
    """The environment's interpreter; the environment is made where there is none.

    Raises:
        subprocess.CalledProcessError: What LayerZero needs did not install.
    """
    found = ENVIRONMENT / "bin" / "python"
    if not found.exists():
        print(f"making {ENVIRONMENT.relative_to(ROOT)} ...", flush=True)
        venv.create(ENVIRONMENT, with_pip=True)
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*_pip(found), *constraints, *OWN], check=True)
    return found


def install(packages: Sequence[str]) -> dict[str, str]:
    """Install each by itself, so that one that fails stops no other.

    Returns:
        Package -> pip's last word, of those that did not install.
    """
    failed = {}
    for package in packages:
        print(f"installing {package} ...", flush=True)
        done = subprocess.run([*_pip(ENVIRONMENT / "bin" / "python"), package], capture_output=True, text=True)
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.startswith(("ERROR", "error"))]
            failed[package] = said[-1] if said else f"pip ended with {done.returncode}"
    return failed


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions in the running interpreter's environment."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _pip(interpreter: Path) -> list[str]:
    return [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]


def is_inside() -> bool:
    """Whether this is the environment's interpreter."""
    return Path(sys.prefix).resolve() == ENVIRONMENT.resolve()
