"""What every test can rely on: one torch thread, no network, and `gpu` tests only where there is a GPU."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

# Before any test imports torch or transformers: test processes share the cores, and no test may reach for a network.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout's folder."""
    return ROOT


@pytest.fixture(autouse=True)
def registered_kernels_are_taken_back() -> Iterator[None]:
    """A kernel that a test registers for the process would serve the calls of the tests behind it."""
    yield
    api = sys.modules.get("layerzero.api")
    inputs = None if api is None else api._engine._inputs
    if api is not None and inputs is not None and inputs.loaded.material.catalogs:
        api._engine.change_material(lambda now: replace(now, catalogs=(), registered=frozenset()))
        api._machine.registered.clear()


def pytest_addoption(parser: pytest.Parser) -> None:
    # Declared here because pytest reads the options before it looks into tests/cases.
    parser.addoption("--update", action="store_true", help="rewrite what the cases in tests/cases expect")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    # torch costs a second to import, so it is asked only when some test is about a GPU.
    if marked and not _has_gpu():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


def _has_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()
