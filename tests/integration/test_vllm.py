"""The plugin chooses vLLM's attention backend by a policy: against the released wheel's own code where it lies in
the cache, with only the device stood in for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

import pytest

from layerzero.errors import ContextError, NoKernelError, PolicyError
from layerzero.integrations import vllm as plugin

SERVING = """
import "vllm.lzp"
lock vllm.triton_attn for attention when sm == 90 and head_size == 64 as small_heads because "measured here"
deny vllm.flashinfer for attention when kv_cache_dtype == fp8 and sm in 100..109 because "our ticket 7"

kernel vllm.misspelt for attention.dense { "a backend that vLLM has not" require head_size == 80 }
lock {vllm.flashinfer, vllm.misspelt} for attention when head_size in {80, 96} as wrong
"""


class Config(NamedTuple):
    """What vLLM hands to its selector, as far as it matters here."""

    head_size: int
    dtype: str
    kv_cache_dtype: str | None = None
    has_sink: bool = False
    of_a_later_release: bool = False


@pytest.fixture
def policy_file(tmp_path: Path, root: Path) -> Path:
    table = (root / "policies" / "examples" / "vllm.lzp").read_text(encoding="utf-8")
    right, wrong = "require head_size in {64, 128, 256, 512}", "require head_size in {64, 96, 128, 256, 512}"
    assert right in table
    (tmp_path / "vllm.lzp").write_text(table.replace(right, wrong), encoding="utf-8")
    (tmp_path / "serving.lzp").write_text(SERVING, encoding="utf-8")
    return tmp_path / "serving.lzp"


def test_vllm_finds_the_plugin_by_its_entry_point() -> None:
    (found,) = [point for point in entry_points(group="vllm.general_plugins") if point.name == "layerzero"]
    assert found.load() is plugin.register


def test_without_the_variable_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(plugin.VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "vllm", None)  # importing it would be an error
    plugin.register()


def test_a_policy_chooses_and_says_why(policy_file: Path) -> None:
    policy = plugin.load(policy_file)
    name, why = plugin.choose(policy, Config(64, "bfloat16"), {"sm": 90, "device_name": "NVIDIA H100"})
    assert name == "TRITON_ATTN"
    assert "small_heads" in why.why
    assert plugin.choose(policy, Config(128, "bfloat16"), {"sm": 90})[0] == "FLASH_ATTN"
    assert plugin.choose(policy, Config(128, "bfloat16"), {"sm": 100})[0] == "FLASHINFER"
    assert plugin.choose(policy, Config(128, "bfloat16", "fp8"), {"sm": 100})[0] == "FLASH_ATTN"


def test_what_no_backend_can_do_is_an_error_with_the_reasons(policy_file: Path) -> None:
    policy = plugin.load(policy_file)
    with pytest.raises(NoKernelError, match="head_size >= 32"):
        plugin.choose(policy, Config(8, "float32", has_sink=True), {"sm": 90})


def test_a_wish_that_the_policy_has_no_field_for_is_not_left_out(policy_file: Path) -> None:
    policy = plugin.load(policy_file)
    with pytest.raises(ContextError, match="no `field of_a_later_release`"):
        plugin.choose(policy, Config(64, "bfloat16", of_a_later_release=True), {"sm": 90})


def test_a_policy_without_vllm_backends_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "other.lzp").write_text('policy "other"', encoding="utf-8")
    with pytest.raises(PolicyError, match="no kernel `vllm"):
        plugin.load(tmp_path / "other.lzp")


AGAINST_THE_WHEEL = """
import json, logging, sys
from types import SimpleNamespace as Plain
from benchmarks.selectors.vllm import ask

ask()
import torch
import vllm.config.vllm, vllm.platforms
from vllm.platforms.interface import DeviceCapability
from vllm.v1.attention.backends.registry import AttentionBackendEnum
from vllm.v1.attention.selector import _cached_get_attn_backend, get_attn_backend
from layerzero.integrations.vllm import register

logging.disable(logging.NOTSET)
logging.getLogger("layerzero").addHandler(logging.StreamHandler(sys.stderr))
logging.getLogger("layerzero").setLevel(logging.INFO)
device = vllm.platforms.current_platform
type(device).get_device_name = classmethod(lambda cls, device_id=0: "a device that is not there")
config = vllm.config.vllm._current_vllm_config
config.cache_config.user_specified_block_size = False
config.kv_transfer_config = config.speculative_config = None
config.attention_config.backend, config.attention_config.backend_per_kind = None, {}
register()
register()

def ask_vllm(sm, backend=None, **options):
    _cached_get_attn_backend.cache_clear()
    type(device).capability = DeviceCapability(sm // 10, sm % 10)
    config.attention_config.backend = None if backend is None else AttentionBackendEnum[backend]
    try:
        return get_attn_backend(**{"dtype": torch.bfloat16, "kv_cache_dtype": "auto", **options}).__name__
    except Exception as error:
        return "\\n".join([str(error), *getattr(error, "__notes__", [])])

print(json.dumps([
    ask_vllm(90, head_size=128),
    ask_vllm(90, head_size=64),
    ask_vllm(90, head_size=64, backend="FLASH_ATTN"),
    ask_vllm(100, head_size=128),
    ask_vllm(100, head_size=128, kv_cache_dtype="fp8"),
    ask_vllm(90, head_size=1, has_sink=True),
    ask_vllm(90, head_size=96),
    ask_vllm(90, head_size=80),
]))
"""


@pytest.mark.slow
def test_the_released_wheel_takes_the_policys_backend(policy_file: Path, root: Path) -> None:
    pytest.importorskip("torch")
    if not (root / ".cache" / "selectors" / "packages" / ".h11").exists():
        pytest.skip("the wheel is not there: `python benchmarks/selectors/run.py vllm --rows 1` downloads it (340 MB)")
    done = subprocess.run(
        [sys.executable, "-c", AGAINST_THE_WHEEL],
        cwd=root,
        env={**os.environ, plugin.VARIABLE: str(policy_file)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    *chosen, nobody, refused, misspelt = json.loads(done.stdout.splitlines()[-1])
    assert chosen == [
        "FlashAttentionBackend",  # vLLM's own order
        "TritonAttentionBackend",  # the policy's lock
        "FlashAttentionBackend",  # the user's wish goes before it
        "FlashInferBackend",
        "FlashAttentionBackend",  # what a deny leaves
    ]
    assert "head_size % 8 == 0" in nobody
    assert "Selected backend AttentionBackendEnum.FLASHINFER is not valid" in refused
    assert "locked by wrong" in refused
    assert "vLLM has no attention backend `MISSPELT`" in misspelt
    assert "locked by small_heads" in done.stderr
    assert "FLASH_ATTN was asked for; the policy was not" in done.stderr
