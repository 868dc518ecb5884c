"""Tiny models with random weights: architectures of transformers, each there for something that the others lack."""

from __future__ import annotations

from typing import Any

import torch
import transformers

_SHAPE = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Qwen2": {},
    # A norm on queries and keys.
    "Qwen3": {"head_dim": 16},
    # A window on every layer, and on every other one with a soft cap and norms that store the distance from one.
    "Mistral": {"sliding_window": 6},
    "Gemma2": {"head_dim": 16, "sliding_window": 6, "attn_logit_softcapping": 5.0},
    # Gate and up from one projection.
    "Phi3": {"sliding_window": 6},
    # Rotary embedding on half of a head, in neighbouring pairs.
    "Glm": {"head_dim": 16, "partial_rotary_factor": 0.5},
    # Tables that repeat each column, a layer norm.
    "Cohere": {},
    # Attention sinks, experts, tables with one column per pair.
    "GptOss": {
        "head_dim": 16,
        "sliding_window": 6,
        "num_local_experts": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    # A window that its layers do not pass on: only the mask has it.
    "Qwen2Moe": {
        "num_experts": 4,
        "use_sliding_window": True,
        "sliding_window": 6,
        "max_window_layers": 0,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
    },
}


def tiny(name: str, implementation: str = "eager", dtype: torch.dtype = torch.float32) -> Any:
    """A model of an architecture; the same weights every time, none of them at a value that hides a mistake."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**{**_SHAPE, **ARCHITECTURES[name]})
    model = getattr(transformers, f"{name}ForCausalLM")._from_config(config, attn_implementation=implementation)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            # Norms start at one or zero everywhere, biases and sinks at zero.
            torch.nn.init.normal_(parameter, mean=float(parameter.detach().mean()), std=0.2)
    return model.to(dtype).eval()
