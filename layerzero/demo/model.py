"""A small Llama with grouped heads and random weights, and text generation in which every step goes through `lz.*`."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from layerzero import api as lz
from layerzero.dispatch.trace import CallRecord

PROMPT = "the chosen kernel explains itself: "
LAYERS, HEADS, KV_HEADS, HEAD_DIM = 4, 8, 2, 32


@dataclass(frozen=True)
class Run:
    """What one generation did.

    Attributes:
        tokens: What was written, one byte each.
        logits: [written tokens, vocabulary]: the logits that each token was drawn from.
        prefill: The calls that read the prompt.
        decode: The calls that wrote.
        seconds: Of the whole generation, on the host.
    """

    tokens: list[int]
    logits: torch.Tensor
    prefill: list[CallRecord]
    decode: list[CallRecord]
    seconds: float


def small_llama(seed: int = 0) -> LlamaForCausalLM:
    """Random weights, so nothing is fetched; a token is a byte, so there is no vocabulary to fetch either."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=HEADS * HEAD_DIM,
        intermediate_size=688,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


@torch.inference_mode()
def generate(model: LlamaForCausalLM, prompt: str, count: int, seed: int = 0) -> Run:
    """Writes `count` tokens after the prompt: one prefill, then a decode step per token, with a key-value cache."""
    generator = torch.Generator().manual_seed(seed)
    started = time.perf_counter()
    with lz.trace() as prefill:
        step = model(torch.tensor([list(prompt.encode())]), use_cache=True)
    tokens: list[int] = []
    logits: list[torch.Tensor] = []
    with lz.trace() as decode:
        while True:
            last = step.logits[:, -1]
            logits.append(last)
            token = lz.sample_topk(last, k=40, temperature=0.8, generator=generator)
            tokens.append(int(token))
            if len(tokens) == count:
                break
            step = model(token.view(1, 1), past_key_values=step.past_key_values, use_cache=True)
    return Run(tokens, torch.cat(logits), prefill, decode, time.perf_counter() - started)


@torch.inference_mode()
def plain_logits(model: LlamaForCausalLM, prompt: str, tokens: list[int]) -> torch.Tensor:
    """What the model gives, without LayerZero, before each of these tokens: [tokens, vocabulary]."""
    start = len(prompt.encode())
    logits: torch.Tensor = model(torch.tensor([[*prompt.encode(), *tokens[:-1]]])).logits
    return logits[0, start - 1 :]
