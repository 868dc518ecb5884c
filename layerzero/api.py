"""The public functions, typed. Each reads its arguments, asks the policy in force, and calls what it chose.

Tensors are `torch.Tensor`; torch is imported by the first call that needs it, not by this module. Wrong arguments
raise ArgumentError; a call that no kernel may serve raises NoKernelError, which carries the whole decision.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Literal, overload

from layerzero.backends.machine import ThisMachine
from layerzero.dispatch import bind as _bind
from layerzero.dispatch.call import Dispatcher
from layerzero.dispatch.decision_logs import DecisionLogs
from layerzero.dispatch.doctor import Doctor, diagnose
from layerzero.dispatch.inspection import Context, Inspector, KernelInfo, SelectedKernel
from layerzero.dispatch.plan import Plan, make_plan
from layerzero.dispatch.quick import QuickCalls
from layerzero.dispatch.readiness import issues_of
from layerzero.dispatch.registration import register
from layerzero.dispatch.trace import trace
from layerzero.dispatch.traced import CALLS
from layerzero.dispatch.warmup import Warmth, WarmupReport, bar_if_wanted
from layerzero.errors import ArgumentError
from layerzero.experiments.report import ExperimentsReport
from layerzero.experiments.requests import Request
from layerzero.experiments.service import Experiments
from layerzero.operations import (
    alibi as _alibi,
    attention as _attention,
    detokenize as _detokenize,
    gelu as _gelu,
    group_norm as _group_norm,
    layer_norm as _layer_norm,
    linear as _linear,
    paged_attention as _paged_attention,
    rms_norm as _rms_norm,
    rope as _rope,
    sample as _sample,
    sample_speculative as _sample_speculative,
    silu as _silu,
    swiglu as _swiglu,
    tokenize as _tokenize,
    tokenizers as _tokenizers,
)
from layerzero.operations.call import Call
from layerzero.operations.device import default_device, device_fields, present_devices
from layerzero.operations.validation import Validation, check_validation, set_validation
from layerzero.runtime import ambient
from layerzero.runtime.breakers import Breakers, BreakerSettings
from layerzero.runtime.cached import Cached
from layerzero.runtime.decision import Decision
from layerzero.runtime.decision_log import DecisionLog, Mode
from layerzero.runtime.engine import Engine, Status
from layerzero.runtime.explanation import Explanation
from layerzero.runtime.failures import Failure
from layerzero.runtime.live import Live, Watch, check_watching
from layerzero.runtime.log_files import Destination
from layerzero.runtime.policy import Policy
from layerzero.runtime.rules import Disabled, RuntimeRules
from layerzero.runtime.snapshot import Snapshot
from layerzero.semantics.proof import Reason
from layerzero.telemetry.feed import FEED, Deciding

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor
    from torch.distributed import ProcessGroup

    from layerzero.backends.weights import QuantisedWeight
    from layerzero.distributed import Ranks
    from layerzero.planning import JointPlan

_machine = ThisMachine(present_devices)
_engine = Engine(_machine, builder=Cached())
_breakers = Breakers(_engine)
_dispatcher = Dispatcher(_engine, _machine, _breakers)
_experiments = Experiments(_engine, _dispatcher)
_logs = DecisionLogs(_dispatcher)
FEED.connect(Deciding(_dispatcher, _engine, _breakers, lambda: _logs.dropped, _experiments.totals))
_inspector = Inspector(_dispatcher)
_warmth = Warmth(_dispatcher)
_rules = RuntimeRules(_engine)
_live = Live(_engine)
_call = _dispatcher.call
_public = QuickCalls(_dispatcher).public
CALLS.connect(_dispatcher)


def _serve(read: Callable[..., Call], *args: Any) -> Any:
    torch = sys.modules.get("torch")
    if torch is not None and torch.compiler.is_compiling():
        from layerzero.dispatch.compiled import serve

        return serve(read, args)
    return _call(read(*args))


# ---------------------------------------------------------------- calls


@_public(_attention.read)
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    alibi_slopes: Tensor | None = None,
    sinks: Tensor | None = None,
    enable_gqa: bool | None = None,
    layout: Literal["bshd", "bhsd"] = "bshd",
    phase: Literal["prefill", "decode"] | None = None,
    return_lse: bool = False,
) -> Any:
    """softmax(scale * q k^T + mask) v. A row that may attend to nothing is zero.

    Args:
        q: [batch, q_len, q_heads, head_dim], or as `layout` says.
        k: [batch, kv_len, kv_heads, head_dim]; kv_heads divides q_heads (grouped-query attention).
        v: [batch, kv_len, kv_heads, v_head_dim].
        attn_mask: Broadcasts to [batch, q_heads, q_len, kv_len]; bool (true attends) or added to the scores.
        is_causal: Aligned to the bottom right: the last query sees every key.
        dropout_p: Probability that an attention weight is zeroed.
        scale: Factor of the scores; None is 1 / sqrt(head_dim).
        window: A query sees itself and the window - 1 keys before it.
        softcap: Scores become softcap * tanh(score / softcap).
        alibi_slopes: fp32 [q_heads] or [batch, q_heads].
        sinks: [q_heads], a logit per head that takes part in the softmax's sum alone.
        enable_gqa: Implied by the shapes; a False that contradicts them is an error.
        layout: "bshd" or "bhsd" (batch, heads, seq, head_dim); never guessed.
        phase: "prefill" or "decode"; implied by the shapes.
        return_lse: Also return the log-sum-exp of the scores, fp32 [batch, q_heads, q_len].

    Returns:
        The output in the layout of q with v's head size, or (output, lse).
    """
    return _serve(
        _attention.read,
        q,
        k,
        v,
        attn_mask,
        is_causal,
        dropout_p,
        scale,
        window,
        softcap,
        alibi_slopes,
        sinks,
        enable_gqa,
        layout,
        phase,
        return_lse,
    )


@_public(_paged_attention.read, look=_paged_attention.look)
def paged_attention(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    page_table: Tensor,
    seq_lens: Tensor | None = None,
    is_causal: bool = True,
    cu_seqlens_q: Tensor | None = None,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Attention over keys and values that lie in pages.

    Args:
        q: [batch, q_len, q_heads, head_dim]; with `cu_seqlens_q` packed: [total, q_heads, head_dim].
        k_cache: [pages, page_size, kv_heads, head_dim].
        v_cache: [pages, page_size, kv_heads, v_head_dim].
        page_table: int32 [batch, max_pages]: the pages of each sequence, in order.
        seq_lens: int32 [batch], keys per sequence; None means that every page of the table is full.
        is_causal: Aligned to each sequence's last key.
        cu_seqlens_q: int32 [batch + 1], where each sequence's queries begin in q.
        scale: As in `attention`, like window, softcap and sinks.
        window: See scale.
        softcap: See scale.
        sinks: See scale.

    Returns:
        The output, shaped as q with v's head size.
    """
    read = _paged_attention.read
    return _serve(  # type: ignore[no-any-return]
        read, q, k_cache, v_cache, page_table, seq_lens, is_causal, cu_seqlens_q, scale, window, softcap, sinks
    )


@_public(_rms_norm.read)
def rms_norm(x: Tensor, weight: Tensor | None = None, eps: float = 1e-6, residual: Tensor | None = None) -> Any:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension, accumulated in fp32 or wider.

    Args:
        x: [..., hidden].
        weight: [hidden].
        eps: Added under the root.
        residual: Added to x first.

    Returns:
        The norm shaped as x; with a residual (norm, x + residual).
    """
    return _serve(_rms_norm.read, x, weight, eps, residual)


@_public(_layer_norm.read)
def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last dimension; x [..., hidden]."""
    return _serve(_layer_norm.read, x, weight, bias, eps)  # type: ignore[no-any-return]


@_public(_group_norm.read)
def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Layer norm over groups of channels: x [batch, channels, ...], weight and bias [channels]."""
    return _serve(_group_norm.read, x, num_groups, weight, bias, eps)  # type: ignore[no-any-return]


@_public(_rope.read)
def rope(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False) -> Tensor:
    """Rotary position embedding.

    Args:
        x: [batch, seq, heads, head_dim] or [seq, heads, head_dim].
        cos: [seq, width] or [batch, seq, width], for the very positions of x; a width of at most head_dim / 2 has a
            column per pair (fewer rotate a part of the head), head_dim a column per element.
        sin: Shaped as cos.
        interleaved: Pairs are neighbours (2i, 2i + 1) instead of halves (i, i + width).
    """
    return _serve(_rope.read, x, cos, sin, interleaved)  # type: ignore[no-any-return]


def alibi(
    num_heads: int,
    q_len: int,
    kv_len: int,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """The linear position bias [num_heads, q_len, kv_len]: -slope * |i + kv_len - q_len - j|; fp32 on the CPU unless
    `dtype` and `device` say otherwise."""
    return _serve(_alibi.read, num_heads, q_len, kv_len, dtype, device)  # type: ignore[no-any-return]


@_public(_swiglu.read, side_by_side=("gate", "up"))
def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up; both [..., hidden]."""
    return _serve(_swiglu.read, gate, up)  # type: ignore[no-any-return]


@_public(_gelu.read)
def gelu(x: Tensor, approximate: Literal["none", "tanh"] = "none") -> Tensor:
    """x * Phi(x), exactly or by the tanh formula."""
    return _serve(_gelu.read, x, approximate)  # type: ignore[no-any-return]


@_public(_silu.read)
def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    return _serve(_silu.read, x)  # type: ignore[no-any-return]


@_public(_linear.read)
def linear(x: Tensor, weight: Tensor | QuantisedWeight, bias: Tensor | None = None) -> Tensor:
    """x weight^T + bias.

    Args:
        x: [..., in].
        weight: [out, in], or an `Int8Weight`, `Fp8Weight`, `GPTQWeight` or `AWQWeight`, as a checkpoint stores it.
        bias: [out], in the dtype of the answer.

    Returns:
        [..., out] in the dtype of x; fp8 inputs are answered in bf16.
    """
    return _serve(_linear.read, x, weight, bias)  # type: ignore[no-any-return]


@_public(_sample.read_topk)
def sample_topk(logits: Tensor, k: int = 50, temperature: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draw from the k likeliest tokens of each row: logits [vocab] or [batch, vocab] -> int64 [] or [batch]."""
    return _serve(_sample.read_topk, logits, k, temperature, generator)  # type: ignore[no-any-return]


@_public(_sample.read_topp)
def sample_topp(logits: Tensor, p: float = 0.9, temperature: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draw from the fewest tokens whose probabilities reach p; shapes as `sample_topk`."""
    return _serve(_sample.read_topp, logits, p, temperature, generator)  # type: ignore[no-any-return]


@_public(_sample.read_greedy)
def sample_greedy(logits: Tensor) -> Tensor:
    """The likeliest token of each row; shapes as `sample_topk`."""
    return _serve(_sample.read_greedy, logits)  # type: ignore[no-any-return]


def sample_speculative(
    draft_tokens: Tensor,
    target_logits: Tensor,
    draft_logits: Tensor | None = None,
    parents: Sequence[int] | None = None,
    temperature: float = 1.0,
    generator: Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """What a target model keeps of the tokens that a draft proposed, and the token after them. The new tokens are
    distributed as if each had been drawn from the target alone.

    Args:
        draft_tokens: int64 [batch, n].
        target_logits: [batch, n + 1, vocab]: the target's, first after what was there before, then after each token of
            the draft.
        draft_logits: [batch, n, vocab] that each token was drawn from, tokens with one parent without replacement and
            in this order; None: the draft proposes without chance (its likeliest tokens, a lookup).
        parents: Of a draft that branches: for each token an earlier one that it follows, or -1 for the beginning; the
            same tree in every row. None: each token follows the one before it.
        temperature: Divides all logits; the draft was drawn with it, too.
        generator: Of the draws; torch's default unless given.

    Returns:
        The new tokens, int64 [batch, longest path + 1], and which tokens of the draft they were, [batch, longest
        path]; each row filled up with -1.
    """
    tree = None if parents is None else tuple(parents)
    read = _sample_speculative.read
    return _serve(  # type: ignore[no-any-return]
        read, draft_tokens, target_logits, draft_logits, tree, temperature, generator
    )


def tokenize(text: str | Sequence[str], tokenizer_id: str, special: bool = False) -> Any:
    """Text to token ids; nothing is added before or after.

    Args:
        text: A string, or several.
        tokenizer_id: Registered with `register_tokenizer`, a path, or a name in a folder of LAYERZERO_TOKENIZERS.
        special: Special tokens in the text (`<|endoftext|>`) count as such, instead of as text.

    Returns:
        A list of ids, or one for each text.
    """
    found = _call(_tokenize.read(text, tokenizer_id, special))
    return found[0] if isinstance(text, str) else found


def detokenize(ids: Sequence[int] | Sequence[Sequence[int]] | Tensor, tokenizer_id: str) -> Any:
    """Token ids to text, special tokens written out; the ids of one text, or a list for each of several."""
    found = _call(_detokenize.read(ids, tokenizer_id))
    return found[0] if _detokenize.is_one(ids) else found


def register_tokenizer(
    tokenizer_id: str,
    path: str | Path,
    pattern: str | None = None,
    special_tokens: Mapping[str, int] | None = None,
) -> None:
    """Give local files a name for `tokenize` and `detokenize`; one of that name is replaced.

    Args:
        tokenizer_id: The name.
        path: A tokenizer.json, a SentencePiece .model, a .tiktoken file of ranks, or a folder with one of them.
        pattern: Of a .tiktoken file: the regular expression that cuts a text into words; else read from a .json beside
            it, with the special tokens.
        special_tokens: Of a .tiktoken file: text -> id.

    Raises:
        ArgumentError: There is no tokenizer at the path.
    """
    _tokenizers.register(tokenizer_id, path, pattern, special_tokens)


# ---------------------------------------------------------------- selection and inspection


def select(operation: str, context: Mapping[str, Any] | None = None, **tensors: Any) -> SelectedKernel:
    """The kernel for an operation, ready to be called.

    Args:
        operation: An operation or view: "attention", "attention.causal".
        context: Fields of the call, as `lz.Context(...)` or a mapping; or else
        tensors: the arguments of the call, by keyword.

    Raises:
        ContextError: The context does not fit the operation.
        NoKernelError: No kernel may serve it.
    """
    return _inspector.select(_inspector.decide(operation, context, (), tensors))


def which(operation: str, *args: Any, context: Mapping[str, Any] | None = None, **kwargs: Any) -> str:
    """The id of the kernel that a call would run: `lz.which("attention.causal", q, k, v)`. Raises as `select`."""
    return _inspector.select(_inspector.decide(operation, context, args, kwargs)).id


def explain(*args: Any, operation: str, context: Mapping[str, Any] | None = None, **kwargs: Any) -> Explanation:
    """Why a call runs what it runs, and why nothing else: `print(lz.explain(q, k, v, operation="attention.causal"))`.

    A call that no kernel may serve is explained too. Raises ContextError as `select`.
    """
    return _inspector.decide(operation, context, args, kwargs).explain()


def dry_run(operation: str, context: Mapping[str, Any] | None = None, **tensors: Any) -> Decision:
    """The decision alone: nothing is loaded or called, and one without a kernel is returned, not raised."""
    return _inspector.decide(operation, context, (), tensors)


def validate(
    kernel: str, context: Mapping[str, Any] | None = None, operation: str | None = None, **tensors: Any
) -> tuple[bool, list[Reason]]:
    """Whether a kernel could serve a context at all, policy aside, and each reason against it.

    Args:
        kernel: `flash_attn.v3`.
        context: As in `select`; an "operation" in it counts.
        operation: Needed where the kernel serves several operations and the context names none.
        tensors: The arguments of the call instead of a context.

    Raises:
        UnknownNameError: There is no such kernel.
    """
    return _inspector.validate(kernel, context, operation, tensors)


def list_kernels(operation: str | None = None) -> list[KernelInfo]:
    """The kernels of an operation ("attention"), a view ("attention.decode"), all that a glob matches, or all."""
    return _inspector.list_kernels(operation)


# ---------------------------------------------------------------- ahead of the calls


def bind(operation: str, *args: Any, varies: Collection[str] | None = None, **kwargs: Any) -> Callable[..., Any]:
    """A callable for calls like an example: `attend = lz.bind("attention", q, k, v, is_causal=True)`.

    Device, dtypes, layout and options of the calls are promised to be the example's. Where nothing else can change the
    decision, this is the very function of the kernel: nothing stands between the caller and it. Else it is a callable
    that looks at what is left, and at nothing else. Both keep the policy that is in force now, leave no trace and
    count for no breaker; the kernel's function takes the arguments of its operation that it honours.

    Args:
        operation: "attention", or a view.
        args: The arguments of the call, with `kwargs`.
        varies: The fields that will differ from the example; () promises none. None are the sizes and strides of the
            tensors, gradients, and the fields of `lz.context`.
        kwargs: See args.

    Raises:
        ArgumentError: The example does not fit the operation.
        NoKernelError: No kernel may serve it.
    """
    return _bind.bind(_dispatcher, operation, args, kwargs, varies)


def compile(
    operation: str,
    shapes: Iterable[Sequence[int]],
    *,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    **fields: Any,
) -> Plan:
    """What the policy in force decides for calls to come: `plan.calls`, `plan.kernels`, `plan.save(path)`.

    `lz.readiness_check` asks for what is planned to be warm.

    Args:
        operation: "attention.causal".
        shapes: Of attention (batch, seq, heads, head_dim), seq being that of the keys in decoding; of norms and
            activations (..., hidden_size); docs/operations/warm-up.md has all.
        dtype: None is bf16, fp32 on a CPU.
        device: None is torch's default device, or else the first GPU.
        fields: What a shape does not say: `kv_heads=8, window=1024`.

    Raises:
        ArgumentError: A shape does not fit the operation.
        ContextError: A field does not fit.
    """
    where = default_device(device)
    kind = dtype if dtype is not None else "fp32" if where.type == "cpu" else "bf16"
    return _warmth.add(make_plan(_dispatcher, operation, shapes, device_fields(where), kind, fields))


def warmup(
    operation: str | None = None,
    shapes: Iterable[Sequence[int]] | None = None,
    *,
    plan: Plan | None = None,
    progress: bool | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    **fields: Any,
) -> WarmupReport:
    """Load every kernel of a plan, and call once those that compile at their first call, so that no request waits.

    The kernels of one backend are visited in turn, backends side by side. Gradients are on or off as for the caller.
    A kernel that fails is in the report and in the log.

    Args:
        operation: See `compile`, as for shapes, dtype, device and fields.
        shapes: See operation.
        plan: Instead of an operation and shapes; one of another policy is decided anew.
        progress: A bar on standard error; None is where that is a terminal.
        dtype: See operation.
        device: See operation.
        fields: See operation.

    Raises:
        ArgumentError: Both or neither of a plan and an operation with shapes; as `compile`.
    """
    if (plan is None) == (operation is None and shapes is None):
        raise ArgumentError("give either `plan=` or an operation and shapes")
    if plan is None:
        if operation is None or shapes is None:
            raise ArgumentError("a warm-up without `plan=` wants both an operation and shapes")
        plan = compile(operation, shapes, dtype=dtype, device=device, **fields)
    return _warmth.warm(plan, bar_if_wanted(progress))


def plan(
    layers: Iterable[Mapping[str, Any]],
    choose: Mapping[str, Iterable[Any]],
    *,
    per: Mapping[str, str] | None = None,
    device: torch.device | str | None = None,
) -> JointPlan:
    """Choose kernels for all layers of a model together, and what they have to share: the best total score.

        layers = [{"operation": "attention.decode", "layer": range(32), ...}, ...]
        plan = lz.plan(layers, {"page_size": [16, 64], "graph_capture": [True, False]}, per={"graph_capture": "phase"})
        plan.value("page_size"), plan.kernel(7, "decode"), print(plan.explain())

    Args:
        layers: A context for each layer and phase, as in `select`; `layer` is its number, or several that are alike.
        choose: Field -> the values between which there is a choice, the preferred first. All layers share one.
        per: Field of `choose` -> another field: those that agree in it share one, each group its own.
        device: Where a layer names none; None is torch's default device, or else the first GPU.

    Raises:
        ArgumentError: A field or value is wrong, or there is no layer.
        ContextError: A layer does not fit its operation.
        NoKernelError: No choice serves every layer; it says what each could do with.
        MissingDependencyError: So many choices want OR-tools, extra `planning`.
    """
    from layerzero.planning import plan_layers

    snapshot = _engine.current()
    fields = device_fields(default_device(device))
    here = {name: value for name, value in fields.items() if name in snapshot.vocabulary.types}
    return plan_layers(snapshot, layers, choose, per, here)


def readiness_check() -> tuple[bool, list[str]]:
    """Whether requests can be served at full speed, and what is missing: `ready, issues = lz.readiness_check()`.

    It loads and compiles nothing: what `lz.compile` or `lz.warmup` planned and what is cold of it under the policy in
    force is an issue, as is a planned call that no kernel serves.
    """
    issues = issues_of(_engine, _warmth)
    return not issues, issues


# ---------------------------------------------------------------- policy


@overload
def configure(*, validate: Validation) -> None: ...


@overload
def configure(
    policy: str | Path | Policy | None,
    *,
    watch: Watch = False,
    on_failure: Callable[[Failure], None] | None = None,
    keep_last_good: bool | str | Path | None = None,
    interval: float = 1.0,
    trust: str | Path | Sequence[str | Path] | None = None,
    node: str | None = None,
    validate: Validation | None = None,
) -> Policy: ...


def configure(
    policy: str | Path | Policy | EllipsisType | None = ...,
    *,
    watch: Watch = False,
    on_failure: Callable[[Failure], None] | None = None,
    keep_last_good: bool | str | Path | None = None,
    interval: float = 1.0,
    trust: str | Path | Sequence[str | Path] | None = None,
    node: str | None = None,
    validate: Validation | None = None,
) -> Policy | None:
    """Put a policy in force in this process, in place of the one before; rules of run-time calls stay on top.

    Args:
        policy: A `.lzp` file, YAML policy, folder or glob that holds one program, the address of a source of signed
            bundles (`https://`, `redis://`, `etcd://`, `file://`), or a loaded Policy; None is the shipped policy
            alone. Without it, and with `validate`, the policy in force stays.
        watch: Follow the files from now on, imports and catalogs included: a good version is put in force, a bad one
            leaves the last good one in force. "poll" does without the hints of the system.
        on_failure: Told of each distinct version that is refused, from the watching thread.
        keep_last_good: Keep the last good version on disk (True, or a folder), for a start at which the files are bad
            or absent. None keeps bundles, and no files.
        interval: Seconds between two looks at the files where no hint comes, or at a source that answers at once.
        trust: For a source: the public keys of which one has to have signed a bundle; files, or folders of `*.pub`.
        node: For a source: the name of this node, which a roll-out by share goes by (LAYERZERO_NODE, or the host's).
        validate: "values" also looks at page tables and lengths that lie on a device, for tests: it waits for the
            device; never while a CUDA graph is recorded. "arguments" ends that. On the CPU they are always looked at.

    Raises:
        ArgumentError: Neither a policy nor `validate` is given, or an argument is wrong.
        FileNotFoundError: There is no such file or folder.
        PolicyError: The policy has errors; the one before stays in force, and watched if it was.
        MissingDependencyError: Watching wants watchdog, extra `live`; a source wants the extra `fleet`.
    """
    if isinstance(policy, EllipsisType) and (validate is None or watch or on_failure or keep_last_good):
        raise ArgumentError("give a policy (None is the shipped one), or `validate` alone")
    if validate is not None:
        check_validation(validate)
    found = None
    if not isinstance(policy, EllipsisType):
        if isinstance(policy, str) and "://" in policy:
            found = _follow(policy, watch, on_failure, keep_last_good, interval, trust, node)
        elif trust is not None or node is not None:
            raise ArgumentError("arguments `trust` and `node` want the address of a source, as in https://host/prod")
        else:
            found = _live.configure(policy, watch, on_failure, keep_last_good or False, interval)
    if validate is not None:
        set_validation(validate)
    return found


def _follow(
    url: str,
    watch: Watch,
    on_failure: Callable[[Failure], None] | None,
    keep_last_good: bool | str | Path | None,
    interval: float,
    trust: str | Path | Sequence[str | Path] | None,
    node: str | None,
) -> Policy:
    from layerzero.fleet.joining import join

    check_watching(watch, on_failure, interval)
    follower = join(
        _engine,
        url,
        trust,
        node,
        keep_last_good,
        on_failure,
        interval,
        reports=bool(watch),
        failures=lambda: _breakers.failures,
    )
    return _live.follow(follower, bool(watch))


def context(**fields: Any) -> AbstractContextManager[ambient.Surroundings]:
    """Set fields for every decision made inside: `with lz.context(request_id="r-1", layer=3): ...`"""
    return ambient.context(fields)


def pin() -> AbstractContextManager[Snapshot]:
    """Keep the policy in force here for everything inside, whatever is swapped meanwhile."""
    return _engine.pin()


def using(policy: Policy) -> AbstractContextManager[None]:
    """Decide by another policy in this thread or task: `with lz.using(lz.Policy.load("next.lzp")): ...`"""
    return _engine.using(policy)


# ---------------------------------------------------------------- experiments


def request(**fields: Any) -> Request:
    """Serve one request: `with lz.request(request_id="r-1") as r: ...`

    Sets the fields as `lz.context` does, keeps the policy in force to its end, measures its latency, and counts it in
    the arms of the experiments that it is enrolled in; an exception that leaves it, or a kernel that raises in it, is
    an error. `r.outcome(...)` says more, `r.arms` are its arms.
    """
    return _experiments.request(fields)


def outcome(
    *,
    latency_ms: float | None = None,
    error: bool = False,
    nan: bool = False,
    metrics: Mapping[str, float] | None = None,
    **fields: Any,
) -> Mapping[str, str]:
    """Count how a request went that no `lz.request` surrounds: `lz.outcome(request_id="r-1", latency_ms=12.5)`.

    Args:
        latency_ms: How long it took; None where that is not known.
        error: Whether it failed.
        nan: Whether its result held NaN.
        metrics: Numbers of your own by name.
        fields: Key fields, which enrol by hashing as in `lz.context`; those of a surrounding `lz.context` count too.

    Returns:
        The arm of each experiment that it is in.

    Raises:
        ArgumentError: There is no field, or a number is none.
        ContextError: A field has the wrong type, or lies outside its range.
    """
    return _experiments.outcome(fields, latency_ms, error, nan, metrics)


def experiment_status() -> ExperimentsReport:
    """How the arms of the policy's experiments do: `print(lz.experiment_status())`. Every outcome so far has counted.

    Raises:
        MissingDependencyError: The intervals want scipy, extra `experiments`.
    """
    return _experiments.report()


def share_experiments(path: str | Path | None = None, every: float = 2.0) -> Path:
    """Let `lz experiment status` and `lz experiment resume` see this process: keep a JSON file up to date.

    Args:
        path: The file; None is one in a folder of the user's own, which the commands find by themselves.
        every: Seconds between two writes.

    Returns:
        The file.

    Raises:
        OSError: It cannot be written.
        MissingDependencyError: As `experiment_status`.
    """
    return _experiments.share(path, every)


def resume_arm(name: str) -> None:
    """Let an arm that a guard ended serve again, watched anew: `lz.resume_arm("faster_decode.acme")`.

    Raises:
        ArgumentError: No such arm is stopped.
    """
    _experiments.resume(name)


# ---------------------------------------------------------------- decision log


def log_decisions(
    destination: str | Path | Destination = "memory",
    mode: Mode = "distinct",
    *,
    rate: float = 0.01,
    capacity: int = 65_536,
    max_bytes: int | None = None,
    keep: int = 5,
    snapshots: str | Path | Literal["beside"] | None = "beside",
) -> DecisionLog:
    """Record what is decided, from here on: `log = lz.log_decisions("decisions.jsonl")`, and `log.close()` at the end.

    No call waits or fails for it: what cannot be written is dropped and counted (`.dropped`, `lz.status()`).

    Args:
        destination: "memory" (`.records`), a `.jsonl` or `.parquet` file, "opentelemetry", or a Destination.
        mode: "off"; "distinct": each region once per snapshot, its other calls counted; "sampled": a share of
            requests, or of calls outside of them; "every".
        rate: The share that "sampled" records.
        capacity: Calls that may wait to be written, and how many records "memory" keeps.
        max_bytes: Past it a new file is begun.
        keep: How many older JSON lines files stay.
        snapshots: Where the policies behind the records are exported, for `lz replay` and `runtime.replay.rebuild`:
            "beside" a file is FILE.snapshots; None exports none.

    Raises:
        ArgumentError: A wrong argument.
        MissingDependencyError: Parquet wants pyarrow (extra `log`), OpenTelemetry its API (extra `telemetry`).
    """
    if destination == "opentelemetry":
        from layerzero.telemetry.decision_logs import OpenTelemetryLog

        destination = OpenTelemetryLog()
    return _logs.open(destination, mode, rate, capacity, max_bytes, keep, snapshots)


# ---------------------------------------------------------------- rules of calls


def lock(operation: str, kernel: str) -> None:
    """Serve an operation or view with a kernel (or pattern) and nothing else: a lock of the top layer.

    Raises:
        PolicyError: An unknown name, with a suggestion.
    """
    _rules.lock(operation, kernel)


def unlock(operation: str) -> None:
    """Take back `lock` for an operation; ArgumentError where there is none."""
    _rules.unlock(operation)


def prefer(kernel: str, priority: int | float = 100, operation: str | None = None) -> None:
    """Boost kernels by the factor 1 + priority / 100, in one operation or wherever they serve."""
    _rules.prefer(kernel, priority, operation)


def disabled(kernel: str) -> Disabled:
    """Quarantine kernels until `enable`, or `with lz.disabled("torch_sdpa"): ...` for a block."""
    return _rules.disabled(kernel)


def enable(kernel: str) -> None:
    """Take back `disabled` for the same pattern; ArgumentError where there is none."""
    _rules.enable(kernel)


def status() -> Status:
    """The policy in force: name, digests, epoch, files, run-time rules, pins, arms that guards have ended, the last
    failure to load one, and how many records decision logs dropped."""
    _experiments.settle()
    return replace(_engine.status(), dropped_records=_logs.dropped)


def configure_breakers(failures: int = 3, cool_down: float = 30.0, nan_rate: float = 0.0) -> None:
    """When a kernel that fails is taken out of decisions, from now on; what is open stays open.

    Args:
        failures: In a row, per kernel and device.
        cool_down: Seconds until one call tries the kernel again.
        nan_rate: The share of calls whose result is searched for NaN, which waits for the device; NaN where the
            reference has none counts as a failure of the call. 0 searches none.

    Raises:
        ArgumentError: A number outside its range.
    """
    _dispatcher.configure_breakers(BreakerSettings(failures, cool_down, nan_rate))


def doctor() -> Doctor:
    """What was found on this machine and what of it is wrong: `.healthy`, `.findings`, `str()` for people.

    Installed packages of kernels are imported, which is how broken ones are found.
    """
    return diagnose(_machine, _engine)


def join_ranks(
    group: ProcessGroup | None = None,
    *,
    tp: int | None = None,
    pp: int | None = None,
    dp: int | None = None,
    ep: int | None = None,
    timeout: float = 30.0,
) -> Ranks:
    """Let the processes of a group change their policy together: every rank calls it, then `ranks.configure(...)`, and
    `ranks.step()` before each step of the loop. From here on the calls of this process have the fields given here, and
    `rank`.

    Args:
        group: Of torch.distributed; None is the default group. Ranks that serve one step together belong to one.
        tp: Field of every call: the size of tensor parallelism, as pp, dp and ep are of theirs.
        pp: See tp.
        dp: See tp.
        ep: See tp.
        timeout: Seconds for which one rank waits for the others to prepare and to answer.

    Raises:
        ArgumentError: torch.distributed is not initialised, or an argument is wrong.
        RanksError: The store of the group does not answer.
    """
    from layerzero.distributed import join

    sizes = {"tp": tp, "pp": pp, "dp": dp, "ep": ep}
    return join(_engine, _live, _warmth, group, sizes, timeout)


def register_kernel(function: Callable[..., Any], catalog: str) -> str:
    """Add a kernel of your own to the policy in force and those configured later.

    Args:
        function: Called with the arguments of its operation that it supports (docs/adding-a-backend.md).
        catalog: `.lzp` text that declares exactly one kernel, without `adapter`.

    Returns:
        The kernel's id.

    Raises:
        PolicyError: The text has errors, or declares no kernel or several.
    """
    return register(_engine, _machine, function, catalog)


__all__ = [
    "Context",
    "Decision",
    "KernelInfo",
    "Plan",
    "Policy",
    "SelectedKernel",
    "alibi",
    "attention",
    "bind",
    "compile",
    "configure",
    "configure_breakers",
    "context",
    "disabled",
    "doctor",
    "dry_run",
    "enable",
    "experiment_status",
    "explain",
    "gelu",
    "group_norm",
    "join_ranks",
    "layer_norm",
    "list_kernels",
    "lock",
    "log_decisions",
    "outcome",
    "paged_attention",
    "pin",
    "plan",
    "prefer",
    "readiness_check",
    "register_kernel",
    "request",
    "resume_arm",
    "rms_norm",
    "rope",
    "sample_greedy",
    "sample_speculative",
    "sample_topk",
    "sample_topp",
    "select",
    "share_experiments",
    "silu",
    "status",
    "swiglu",
    "trace",
    "unlock",
    "using",
    "validate",
    "warmup",
    "which",
]
