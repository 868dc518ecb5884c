"""Catalogs that installed packages announce: found by metadata, trusted, never imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CATALOG = """
backend acme { package acme-kernels >=1.4 }
kernel acme.silu for silu { priority 60 adapter "acme_kernels.lz:silu" }
"""
PROGRAM = """
import sys
from layerzero.check import program_from_text
kernel = program_from_text("").kernels["acme.silu"]
print(kernel.adapter, kernel.packages[0].alternatives[0].name, "acme_kernels" in sys.modules)
"""


def test_a_catalog_is_found_through_its_entry_point_without_importing_the_package(tmp_path: Path) -> None:
    package, metadata = tmp_path / "acme_kernels", tmp_path / "acme_kernels-1.4.dist-info"
    package.mkdir()
    metadata.mkdir()
    (package / "__init__.py").write_text("raise ImportError('must not be imported to be read')")
    (package / "catalog.lzp").write_text(CATALOG)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-kernels\nVersion: 1.4\n")
    (metadata / "entry_points.txt").write_text("[layerzero.catalogs]\nacme = acme_kernels\n")
    out = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={"PYTHONPATH": str(tmp_path), "PATH": ""}, capture_output=True, text=True
    )
    assert out.stdout.split() == ["acme_kernels.lz:silu", "acme-kernels", "False"], out.stderr
