"""vLLM -> a policy that chooses its attention backend, and says why. A plugin that vLLM loads by its entry point.

    LAYERZERO_VLLM_POLICY=serving.lzp vllm serve ...

Without the variable the plugin does nothing. With it each question of vLLM's selector (once per kind of layer, at the
start) is put to the policy, whose kernels are called `vllm.` and the backend's name in lower case, and whose fields are
those of vLLM's own `AttentionSelectorConfig`. vLLM then checks the answer against its own table: a backend that it
cannot use is an error that carries both sides' reasons. A backend that the user asked vLLM for goes before the policy.

`policies/examples/vllm.lzp` states the backends of vLLM 0.33, for a policy to import.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from layerzero.backends.probe import installed_version
from layerzero.dispatch.call import no_kernel
from layerzero.errors import ContextError, LayerZeroError, PolicyError
from layerzero.runtime.explanation import Explanation
from layerzero.runtime.policy import Policy
from layerzero.semantics.environment import Environment

log = logging.getLogger("layerzero")

VARIABLE = "LAYERZERO_VLLM_POLICY"
BACKEND = "vllm."
OPERATION = "attention"


def register() -> None:
    """vLLM's `vllm.general_plugins` call this in each of its processes, some of them more than once.

    Raises:
        FileNotFoundError: The variable names no file or folder.
        PolicyError: The policy has errors.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return
    from vllm.platforms import current_platform

    platform = type(current_platform)
    asked = getattr(platform.get_attn_backend_cls, "policy", None)
    if asked != path:
        policy = load(Path(path))
        log.info("vLLM's attention backends are chosen by %r", policy)
        platform.get_attn_backend_cls = _selector(current_platform, policy, path)


def load(path: Path) -> Policy:
    """The policy in a file, in the environment of this process: vLLM's own version counts.

    Raises:
        FileNotFoundError: There is no such path.
        PolicyError: It has errors, or no kernel is called `vllm.` and a backend's name.
    """
    version = installed_version("vllm")
    here = Environment(
        packages={} if version is None else {"vllm": version}, assume_packages=True, today=datetime.now(UTC).date()
    )
    policy = Policy.load(path, environment=here)
    if OPERATION not in policy.program.operations or not any(
        kernel.id.startswith(BACKEND) for kernel in policy.program.kernels_for(OPERATION)
    ):
        raise PolicyError(
            f"{path}: no kernel `{BACKEND}*` for `{OPERATION}`; import a table of vLLM's backends, such as a copy of "
            "policies/examples/vllm.lzp"
        )
    return policy


def choose(policy: Policy, config: Any, machine: Mapping[str, Any]) -> tuple[str, Explanation]:
    """The name of the backend for a layer, in capitals, and why.

    Args:
        policy: As `load` makes it.
        config: vLLM's `AttentionSelectorConfig`: a named tuple.
        machine: `sm`, `device_name` and `num_heads`, each where it is known; given where the policy has such a field.

    Raises:
        ContextError: The layer asks for something that the policy has no field for.
        NoKernelError: The policy has no backend for it; the exception carries the decision.
    """
    fields = policy.program.fields
    context = {name: value for name, value in machine.items() if name in fields}
    defaults = type(config)._field_defaults
    for name, value in config._asdict().items():
        if name in fields:
            context[name] = _plain(value)
        elif name not in defaults or value != defaults[name]:
            raise ContextError(f"vLLM asks for `{name} = {_plain(value)}`, and the policy has no `field {name}`")
    decision = policy.decide({"operation": OPERATION, **context})
    if decision.kernel is None:
        raise no_kernel(decision)
    return decision.kernel.removeprefix(BACKEND).upper(), decision.explain()


def _plain(value: Any) -> Any:
    """torch.bfloat16 -> "bfloat16", an enumeration's member -> its value."""
    if type(value).__module__ == "torch":
        return str(value).removeprefix("torch.")
    return getattr(value, "value", value)


def _selector(platform: Any, policy: Policy, path: str) -> Callable[..., str]:
    """What takes the place of the platform's `get_attn_backend_cls`."""
    own: Callable[..., str] = getattr(platform.get_attn_backend_cls, "own", platform.get_attn_backend_cls)

    def get_attn_backend_cls(selected_backend: Any, attn_selector_config: Any, num_heads: int | None = None) -> str:
        from vllm.v1.attention.backends.registry import AttentionBackendEnum

        if selected_backend is not None:
            log.info("the attention backend %s was asked for; the policy was not", selected_backend.name)
            return own(selected_backend, attn_selector_config, num_heads)
        name, why = choose(policy, attn_selector_config, _machine(platform, num_heads))
        log.info("attention backend %s by policy `%s`\n%s", name, policy.name, why.why)
        if name not in AttentionBackendEnum.__members__:
            raise LayerZeroError(
                f"the policy chose `{why.selected_kernel}`, and vLLM has no attention backend `{name}`"
            )
        try:
            return own(AttentionBackendEnum[name], attn_selector_config, num_heads)
        except ValueError as error:
            error.add_note(f"layerzero: the policy chose it\n{why}")
            raise

    get_attn_backend_cls.own = own  # type: ignore[attr-defined]
    get_attn_backend_cls.policy = path  # type: ignore[attr-defined]
    return staticmethod(get_attn_backend_cls)


def _machine(platform: Any, num_heads: int | None) -> dict[str, Any]:
    capability = platform.get_device_capability()
    found = {
        "sm": None if capability is None else capability.to_int(),
        "device_name": platform.get_device_name(),
        "num_heads": num_heads,
    }
    return {name: value for name, value in found.items() if value is not None}
