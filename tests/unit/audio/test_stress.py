"""The ring in C++: every sample in order under ThreadSanitizer, which finds the race that a weaker ring would have."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler here")


def built(source: Path, program: Path, *flags: str) -> Path:
    subprocess.run(["c++", "-std=c++17", "-pthread", *flags, str(source), "-o", str(program)], check=True)
    return program


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)


@pytest.fixture
def sanitized(tmp_path: Path) -> list[str]:
    """Flags of a sanitizer that works here."""
    (tmp_path / "empty.cpp").write_text("int main() {}\n")
    flags = ["-O1", "-g", "-fsanitize=thread"]
    try:
        done = run(built(tmp_path / "empty.cpp", tmp_path / "empty", *flags))
    except subprocess.CalledProcessError:
        pytest.skip("this compiler has no ThreadSanitizer")
    if done.returncode != 0:
        pytest.skip(f"ThreadSanitizer does not run here: {done.stderr[:100]}")
    return flags


@pytest.mark.slow
def test_no_race_and_every_sample_in_order(root: Path, tmp_path: Path, sanitized: list[str]) -> None:
    program = built(root / "layerzero" / "native" / "audio_stress.cpp", tmp_path / "stress", *sanitized)
    for capacity in (1, 8, 4096):
        done = run(program, 200_000, capacity)
        assert done.returncode == 0 and "200000 samples in order" in done.stdout, done.stderr


@pytest.mark.slow
def test_the_sanitizer_finds_the_race_of_a_ring_without_release(
    root: Path, tmp_path: Path, sanitized: list[str]
) -> None:
    native = root / "layerzero" / "native"
    ring = (native / "audio_ring.hpp").read_text()
    assert ring.count("memory_order_release") == 2
    (tmp_path / "audio_ring.hpp").write_text(ring.replace("memory_order_release", "memory_order_relaxed"))
    shutil.copy(native / "audio_stress.cpp", tmp_path)
    done = run(built(tmp_path / "audio_stress.cpp", tmp_path / "stress", *sanitized), 100_000, 8)
    assert done.returncode != 0 and "data race" in done.stderr


@pytest.mark.stress
@pytest.mark.parametrize("how", ["threads", "processes"])
def test_a_hundred_million_samples_in_order(how: str, root: Path, tmp_path: Path) -> None:
    program = built(root / "layerzero" / "native" / "audio_stress.cpp", tmp_path / "stress", "-O2")
    done = run(program, 100_000_000, 4096, how)
    assert done.returncode == 0 and "100000000 samples in order" in done.stdout, done.stderr
