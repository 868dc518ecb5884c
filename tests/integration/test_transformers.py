"""Models of transformers give the same numbers through LayerZero as without it, whatever the architecture asks for."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import layerzero as lz  # noqa: E402
from layerzero.errors import ArgumentError, NoKernelError, PolicyError  # noqa: E402
from layerzero.integrations import transformers as lz_transformers  # noqa: E402
from tests.integration.models import ARCHITECTURES, tiny  # noqa: E402

PAD = 5
# fp32 sums in another order, through two small layers.
CLOSE = {"rtol": 1e-4, "atol": 5e-5}


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Any]]:
    """The plain model, and one with the same weights that goes through LayerZero."""
    plain, model = tiny(request.param), tiny(request.param)
    with lz_transformers.apply(model):
        yield plain, model


@pytest.fixture
def in_force() -> Iterator[Callable[[str], None]]:
    """Puts the policy of a text in force, for one test."""
    yield lambda text: lz.configure(lz.Policy.from_text(text))
    lz.configure(lz.Policy.from_text(""))


def ids(batch: int = 1, length: int = 20) -> Any:
    return torch.randint(3, 97, (batch, length), generator=torch.Generator().manual_seed(1))


def attention_contexts(calls: list[Any]) -> list[dict[str, Any]]:
    return [dict(call.decision.values) for call in calls if call.operation == "attention"]


def test_prefill_gives_the_plain_logits(pair: tuple[Any, Any]) -> None:
    plain, model = pair
    torch.testing.assert_close(model(ids()).logits, plain(ids()).logits, **CLOSE)


def test_decoding_with_a_cache_gives_the_plain_logits(pair: tuple[Any, Any]) -> None:
    plain, model = pair
    steps = [0, 12, 13, 14, 18, 19, 20]  # a prefill, single tokens, and a part of several tokens after a cache
    got, wanted = (_in_steps(each, steps) for each in (model, plain))
    torch.testing.assert_close(got, wanted, **CLOSE)


def _in_steps(model: Any, steps: list[int]) -> Any:
    cache, parts = None, []
    for start, end in pairwise(steps):
        out = model(ids()[:, start:end], past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        parts.append(out.logits)
    return torch.cat(parts, dim=1)


def test_left_padding_gives_the_plain_logits(pair: tuple[Any, Any]) -> None:
    plain, model = pair
    tokens, mask = _padded()
    got, wanted = (each(tokens, attention_mask=mask).logits[mask.bool()] for each in (model, plain))
    torch.testing.assert_close(got, wanted, **CLOSE)


def _padded() -> tuple[Any, Any]:
    tokens, mask = ids(batch=2), torch.ones(2, 20, dtype=torch.long)
    tokens[0, :PAD], mask[0, :PAD] = 0, 0
    return tokens, mask


@pytest.mark.slow
@pytest.mark.parametrize("cache", [None, "static"])
def test_generate_writes_the_plain_tokens(pair: tuple[Any, Any], cache: str | None) -> None:
    plain, model = pair
    tokens, mask = _padded()
    arguments = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False, "cache_implementation": cache}
    assert torch.equal(model.generate(tokens, **arguments), plain.generate(tokens, **arguments))


PROMPTS = [ids(length=length)[0].tolist() for length in (5, 14, 8)]


def _batch(model: Any) -> list[Any]:
    """What continuous batching answers to the prompts; it runs in a thread of its own."""
    from transformers import ContinuousBatchingConfig

    small = ContinuousBatchingConfig(num_blocks=32, page_size=16, max_batch_tokens=64)
    found = model.generate_batch(
        PROMPTS, generation_config=_settings(), continuous_batching_config=small, progress_bar=False
    )
    return [found[key] for key in sorted(found)]


def _settings() -> Any:
    from transformers import GenerationConfig

    return GenerationConfig(max_new_tokens=6, do_sample=False, pad_token_id=0, eos_token_id=-1)


def _alone(model: Any, prompt: list[int]) -> list[int]:
    tokens: list[int] = model.generate(torch.tensor([prompt]), generation_config=_settings())[0, len(prompt) :].tolist()
    return tokens


@pytest.mark.parametrize("name", ["Llama", "Mistral", "Qwen3"])
def test_continuous_batching_writes_the_plain_tokens(name: str) -> None:
    with torch.inference_mode(False), torch.no_grad():  # its buffers are changed in more than one thread
        model = tiny(name)
        wanted = [_alone(model, prompt) for prompt in PROMPTS]
        with lz_transformers.apply(model, paged=True) as applied:
            assert [answer.generated_tokens for answer in _batch(model)] == wanted
            assert _alone(model, PROMPTS[1]) == wanted[1]
    assert applied.replaced["attention"] == 2
    assert not any("forward" in vars(module) for module in model.modules())


def test_continuous_batching_is_served_by_the_policy(in_force: Callable[[str], None]) -> None:
    in_force('policy "none" strict\ndeny * for attention')
    with torch.inference_mode(False), torch.no_grad():
        model = tiny("Llama")
        with lz_transformers.apply(model, paged=True):
            answers = _batch(model)
    assert all("no kernel" in answer.error for answer in answers)


def test_half_precision_stays_as_close_as_its_rounding() -> None:
    plain, model = tiny("Gemma2", dtype=torch.bfloat16), tiny("Gemma2", dtype=torch.bfloat16)
    with lz_transformers.apply(model):
        torch.testing.assert_close(model(ids()).logits, plain(ids()).logits, rtol=0.05, atol=0.05)


def test_every_operation_of_a_llama_goes_through_layerzero() -> None:
    model = tiny("Llama")
    with lz_transformers.apply(model) as applied, lz.trace() as calls:
        model(ids())
    assert applied.left == {}
    # Two layers: attention, both halves of the rotary embedding, two norms and the last one, the MLP.
    assert Counter(call.operation for call in calls) == {"attention": 2, "rope": 4, "rms_norm": 5, "swiglu": 2}


def test_the_attention_function_alone_can_be_named_when_a_model_is_made() -> None:
    model = tiny("Llama", implementation="layerzero")
    with lz.trace() as calls:
        got = model(ids()).logits
    assert Counter(call.operation for call in calls) == {"attention": 2}
    torch.testing.assert_close(got, tiny("Llama")(ids()).logits, **CLOSE)


def test_undo_leaves_no_trace_and_other_models_never_had_one() -> None:
    model, bystander = tiny("Llama"), tiny("Llama")
    wanted = model(ids()).logits
    with lz_transformers.apply(model) as applied:
        with lz.trace() as calls:
            bystander(ids())
        assert calls == []
    with lz.trace() as calls:
        again = model(ids()).logits
    assert calls == []
    assert torch.equal(again, wanted)
    assert model.config._attn_implementation == "eager"
    assert not any("forward" in vars(module) for module in model.modules())
    applied.undo()  # a second time: nothing left to do


def test_heads_are_not_repeated_and_plain_causality_is_no_mask() -> None:
    model = tiny("Llama")
    with lz_transformers.apply(model), lz.trace() as calls:
        cache = model(ids(), use_cache=True).past_key_values
        model(ids()[:, :1], past_key_values=cache)
        model(ids()[:, :4], past_key_values=cache)
    prefill, decode, part = attention_contexts(calls)[::2]
    for context, lengths in ((prefill, (20, 20)), (decode, (1, 21)), (part, (4, 25))):
        assert (context["q_heads"], context["kv_heads"]) == (4, 2)
        assert (context["q_len"], context["kv_len"]) == lengths
        assert context["causal"] is True
        assert context.get("mask_kind", "none") == "none"


def test_a_window_is_asked_for_as_a_window() -> None:
    model = tiny("Mistral")
    with lz_transformers.apply(model), lz.trace() as calls:
        model(ids())
        model(ids(length=6))  # as long as the window: it cannot bite
    long, short = attention_contexts(calls)[::2]
    assert (long["window"], long.get("mask_kind", "none")) == (6, "none")
    assert (short.get("window", 0), short.get("mask_kind", "none")) == (0, "none")


def test_soft_cap_and_sinks_reach_the_call() -> None:
    for name, field, value in (("Gemma2", "softcap", 5.0), ("GptOss", "has_sinks", True)):
        model = tiny(name)
        with lz_transformers.apply(model), lz.trace() as calls:
            model(ids())
        assert [context[field] for context in attention_contexts(calls)] == [value, value]


def test_padding_is_a_mask() -> None:
    model = tiny("Llama")
    tokens, mask = _padded()
    with lz_transformers.apply(model), lz.trace() as calls:
        model(tokens, attention_mask=mask)
    assert {context["mask_kind"] for context in attention_contexts(calls)} == {"bool"}


def test_a_mask_of_the_users_own_is_added_to_the_scores() -> None:
    plain, model = tiny("Llama"), tiny("Llama")
    own = torch.randn(1, 1, 20, 20, generator=torch.Generator().manual_seed(2)).tril()
    own = own.masked_fill(torch.ones(20, 20, dtype=torch.bool).triu(1), -10.0)
    wanted = plain(ids(), attention_mask=own).logits
    with lz_transformers.apply(model), lz.trace() as calls:
        torch.testing.assert_close(model(ids(), attention_mask=own).logits, wanted, **CLOSE)
    assert {context["mask_kind"] for context in attention_contexts(calls)} == {"additive"}


def test_a_module_that_only_looks_like_a_norm_keeps_its_own_formula() -> None:
    model = tiny("Llama")
    odd = model.model.norm
    odd.__class__ = type("OddRMSNorm", (type(odd),), {"forward": lambda self, x: 2 * self.weight * x})
    wanted = model(ids()).logits
    with lz_transformers.apply(model) as applied:
        assert list(applied.left) == ["model.norm"]
        assert "something else" in applied.left["model.norm"]
        torch.testing.assert_close(model(ids()).logits, wanted, **CLOSE)


def test_weights_of_attention_are_refused_rather_than_left_out() -> None:
    model = tiny("Llama", implementation="layerzero")
    with pytest.raises(ArgumentError, match="output_attentions"):
        model(ids(), output_attentions=True)


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(package: str, root: Path) -> None:
    script = (
        f"import sys; sys.modules['{package}'] = None\n"
        "from layerzero.errors import MissingDependencyError\n"
        "try:\n    import layerzero.integrations.transformers\n"
        "except MissingDependencyError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert "layerzero[transformers]" in done.stdout
    assert package in done.stdout


def test_what_is_not_a_model_is_named() -> None:
    with pytest.raises(ArgumentError, match="`model` must be a transformers.PreTrainedModel, not Linear"):
        lz_transformers.apply(torch.nn.Linear(2, 2))


def test_a_policy_chooses_for_the_model(in_force: Callable[[str], None]) -> None:
    model = tiny("Llama")
    in_force('policy "mine"\nlock reference.attention for attention.decode as pinned')
    with lz_transformers.apply(model), lz.trace() as calls:
        cache = model(ids(), use_cache=True).past_key_values
        model(ids()[:, :1], past_key_values=cache)
    kernels = [call.kernel for call in calls if call.operation == "attention"]
    assert kernels[2:] == ["reference.attention"] * 2
    assert "reference.attention" not in kernels[:2]


def test_a_policy_that_denies_everything_is_heard_of(in_force: Callable[[str], None]) -> None:
    model = tiny("Llama")
    in_force('policy "none" strict\ndeny *')
    with lz_transformers.apply(model), pytest.raises(NoKernelError, match="rms_norm"):
        model(ids())


def test_a_policy_with_an_error_leaves_the_one_before(in_force: Callable[[str], None], tmp_path: Path) -> None:
    in_force('policy "mine"')
    with pytest.raises(FileNotFoundError):
        lz.configure(tmp_path / "missing.lzp")
    (tmp_path / "typo.lzp").write_text('policy "typo"\ndeny nowhere for attention', encoding="utf-8")
    with pytest.raises(PolicyError, match="nowhere"):
        lz.configure(tmp_path / "typo.lzp")
    assert lz.status().policy == "mine"
