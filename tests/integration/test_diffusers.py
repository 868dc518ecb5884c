"""Diffusion models give the same numbers through LayerZero as with diffusers' own attention."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers.models.attention_dispatch import attention_backend, dispatch_attention_fn  # noqa: E402

import layerzero as lz  # noqa: E402
from layerzero.errors import ArgumentError, NoKernelError  # noqa: E402
from layerzero.integrations import diffusers as lz_diffusers  # noqa: E402

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def tensors(*lengths: int, heads: int = 4, kv_heads: int = 4) -> tuple[Any, Any, Any]:
    generator = torch.Generator().manual_seed(0)
    q_len, kv_len = lengths
    q = torch.randn(2, q_len, heads, 16, generator=generator)
    k, v = (torch.randn(2, kv_len, kv_heads, 16, generator=generator) for _ in range(2))
    return q, k, v


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"scale": 0.3},
        {"attn_mask": torch.tensor([[True] * 7, [True] * 4 + [False] * 3])},
        {"attn_mask": torch.linspace(-1, 1, 14).view(2, 7)},
        {"attn_mask": torch.linspace(-1, 1, 35).view(5, 7)},
    ],
    ids=["plain", "causal", "scale", "keys of each sequence", "bias of each key", "additive mask"],
)
def test_a_call_means_what_it_means_to_diffusers(options: dict[str, Any]) -> None:
    q, k, v = tensors(5, 7)
    wanted = dispatch_attention_fn(q, k, v, **options)
    with lz.trace() as calls:
        got = dispatch_attention_fn(q, k, v, **options, backend="layerzero")
    torch.testing.assert_close(got, wanted, **CLOSE)
    assert [call.operation for call in calls] == ["attention"]


def test_heads_in_groups() -> None:
    q, k, v = tensors(5, 7, kv_heads=2)
    wanted = dispatch_attention_fn(q, k, v, enable_gqa=True)
    torch.testing.assert_close(dispatch_attention_fn(q, k, v, enable_gqa=True, backend="layerzero"), wanted, **CLOSE)


def test_the_sum_of_the_scores_is_returned_where_it_is_asked_for() -> None:
    q, k, v = tensors(5, 7)
    out, lse = dispatch_attention_fn(q, k, v, attention_kwargs={"return_lse": True}, backend="layerzero")
    scores = torch.einsum("bqhd,bkhd->bhqk", q.double(), k.double()) / 4
    torch.testing.assert_close(lse.double(), scores.logsumexp(-1), **CLOSE)
    assert out.shape == q.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention_kwargs": {"window_size": 3}}, "does not take `window_size`"),
        ({"parallel_config": object()}, "`parallel_config`"),
        ({"is_causal": True, "attn_mask": torch.ones(5, 7).bool()}, "exclude each other"),
    ],
)
def test_what_it_cannot_say_is_refused_rather_than_dropped(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        dispatch_attention_fn(*tensors(5, 7), **options, backend="layerzero")


@pytest.fixture(scope="module")
def flux() -> Any:
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    model = FluxTransformer2DModel(
        in_channels=4,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=[4, 4, 8],
    )
    return model.eval()


def run_flux(model: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        return model(
            hidden_states=torch.randn(1, 16, 4, generator=generator),
            encoder_hidden_states=torch.randn(1, 6, 32, generator=generator),
            pooled_projections=torch.randn(1, 32, generator=generator),
            timestep=torch.tensor([0.5]),
            img_ids=torch.randint(0, 4, (16, 3), generator=generator),
            txt_ids=torch.zeros(6, 3),
        ).sample


def test_a_transformer_by_name(flux: Any) -> None:
    wanted = run_flux(flux)
    flux.set_attention_backend("layerzero")
    try:
        with lz.trace() as calls:
            torch.testing.assert_close(run_flux(flux), wanted, **CLOSE)
    finally:
        flux.reset_attention_backend()
    assert Counter(call.operation for call in calls) == {"attention": 3}


def test_a_pipeline_runs_every_step_by_the_policy(flux: Any) -> None:
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline

    torch.manual_seed(0)
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=2, latent_channels=1, sample_size=16).eval()
    vae.config.shift_factor = 0.0
    words = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    pipeline = FluxPipeline(FlowMatchEulerDiscreteScheduler(), vae, transformer=flux, **words)
    pipeline.set_progress_bar_config(disable=True)

    def run() -> Any:
        return pipeline(
            prompt_embeds=torch.ones(1, 6, 32),
            pooled_prompt_embeds=torch.ones(1, 32),
            height=16,
            width=16,
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(2),
            output_type="pt",
        ).images

    wanted = run()
    with attention_backend("layerzero"), lz.trace() as calls:
        torch.testing.assert_close(run(), wanted, **CLOSE)
    assert Counter(call.operation for call in calls) == {"attention": 2 * 3}  # steps, layers
    torch.testing.assert_close(run(), wanted, **CLOSE)
    strict = lz.Policy.from_text('policy "none" strict\ndeny * for attention')
    with attention_backend("layerzero"), lz.using(strict), pytest.raises(NoKernelError):
        run()


def test_a_model_that_calls_torch_itself_goes_through_lz_intercept() -> None:
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    sizes = {"block_out_channels": (8, 16), "norm_num_groups": 4, "attention_head_dim": 8, "layers_per_block": 1}
    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    model = UNet2DModel(sample_size=8, in_channels=3, out_channels=3, **sizes, **blocks).eval()
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        wanted = model(x, 10).sample
        with lz.intercept() as seen:
            torch.testing.assert_close(model(x, 10).sample, wanted, **CLOSE)
    assert seen.served["attention"] > 2
    assert not seen.left


def test_a_missing_package_is_named_with_the_extra_that_brings_it(root: Path) -> None:
    script = (
        "import sys; sys.modules['diffusers'] = None\n"
        "from layerzero.errors import MissingDependencyError\n"
        "try:\n    import layerzero.integrations.diffusers\n"
        "except MissingDependencyError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert "layerzero[diffusers]" in done.stdout


def test_importing_it_twice_adds_one_name() -> None:
    from diffusers.models.attention_dispatch import AttentionBackendName

    importlib.reload(lz_diffusers)
    assert [name.value for name in AttentionBackendName].count("layerzero") == 1
    assert AttentionBackendName("layerzero") is AttentionBackendName.LAYERZERO
