"""The import order of docs/architecture.md, and the line that it defends: no torch up to the run time."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter import cli

WITHOUT_TORCH = (
    "errors",
    "resources",
    "native",
    "syntax",
    "notations",
    "check",
    "semantics",
    "regions",
    "analysis",
    "compiler",
    "runtime",
    "experiments",
    "fleet",
    "planning",
    "cli",
    "dashboard",
)

# Runs in a fresh interpreter where torch and what comes with it cannot be imported.
IMPORT_ALL = """
import importlib, pkgutil, sys
for name in ("torch", "numpy", "transformers"):
    sys.modules[name] = None
module = importlib.import_module(sys.argv[1])
for found in pkgutil.walk_packages(getattr(module, "__path__", []), module.__name__ + "."):
    importlib.import_module(found.name)
print(module.__name__)
"""


def test_the_import_order_holds(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.lint_imports(config_filename=str(root / "pyproject.toml"), no_cache=True)
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False  # the linter configures logging, which switches off the loggers that are there
    assert code == 0, capsys.readouterr().out


def test_every_package_has_its_place_in_the_picture(root: Path) -> None:
    picture = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    parts = [path for path in (root / "layerzero").iterdir() if (path / "__init__.py").is_file()]
    assert parts
    assert [part.name for part in parts if f"`{part.name}`" not in picture] == []


@pytest.mark.parametrize("name", ["layerzero", *(f"layerzero.{part}" for part in WITHOUT_TORCH)])
def test_modules_up_to_the_run_time_import_where_there_is_no_torch(name: str, root: Path) -> None:
    # `import layerzero` alone: its subpackages above the run time may need torch.
    script = (
        IMPORT_ALL
        if name != "layerzero"
        else "import sys; sys.modules['torch'] = None; import layerzero as m; print(m.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", script, name], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == name
