"""Public calls while `torch.compile` traces them: no graph break, whatever the policy.

A call whose sizes are fixed is decided while it is traced, and the graph holds the kernel's own operators; it is
guarded on the decision (traced.py). A call of other sizes, of a kernel that cannot be traced, or inside of
`lz.context`, is one opaque operator of the graph, `layerzero::call`, which decides when it runs.

Tensors are taken to begin at multiples of 16 bytes, as torch's own compiler takes them to.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import guard_scalar, has_static_value

from layerzero.check.program import Scope
from layerzero.dispatch.call import Dispatcher
from layerzero.dispatch.traced import CALLS
from layerzero.errors import ArgumentError
from layerzero.operations.call import Call
from layerzero.runtime.snapshot import Snapshot

Reader = Callable[..., Call]

_AUTOGRAD = [
    key for name, key in torch._C.DispatchKey.__members__.items() if name.startswith(("Autograd", "ADInplace"))
]
_TENSOR = "<tensor>"  # where a tensor stands among the arguments


def serve(read: Reader, args: tuple[Any, ...]) -> Any:
    """A public call, traced: `read` is the operation's own and `args` are all its arguments."""
    reader = f"{read.__module__}:{read.__name__}"
    # A number is a constant of the graph, also under `dynamic=True`.
    args = tuple([guard_scalar(a) if isinstance(a, int | float) else a for a in args])
    tensors = [a for a in args if isinstance(a, Tensor)]
    if CALLS.slots.traced and all(has_static_value(size) for t in tensors for size in t.shape):
        described = tuple([_described(a) if isinstance(a, Tensor) else (a,) for a in args])
        slot, refused = _slot(reader, described)
        if refused is not None:
            raise ArgumentError(refused)
        kernel = getattr(CALLS.slots, slot)
        if kernel is not None:
            return _decided(kernel, reader, *args)
    options = _spelled(tuple([(_TENSOR if isinstance(a, Tensor) else a) for a in args]))
    answers = torch.ops.layerzero.call(reader, options, tensors)
    return answers[0] if len(answers) == 1 else tuple(answers)


def _described(tensor: Tensor) -> tuple[Any, ...]:
    return ("tensor", tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad)


# ---------------------------------------------------------------- decided while tracing


@torch._dynamo.assume_constant_result  # type: ignore[untyped-decorator]
def _slot(reader: str, described: tuple[Any, ...]) -> tuple[str, str | None]:
    """The slot of a call of these shapes, or why there is no such call; run while a graph is traced, outside of it."""
    key = (reader, described, torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled())
    grad, deterministic = key[2:]

    def decide(snapshot: Snapshot) -> str | None:
        with torch.set_grad_enabled(grad):
            return _kernel_of(snapshot, reader, described, deterministic)

    try:
        return CALLS.name(key, decide), None
    except ArgumentError as error:
        return "", str(error)  # raised where the traced code can catch it


def _kernel_of(snapshot: Snapshot, reader: str, described: tuple[Any, ...], deterministic: bool) -> str | None:
    """The kernel for a call, None where the call is to be decided when it runs."""
    dispatcher = _dispatcher()
    with torch._subclasses.FakeTensorMode():
        args = [_example(*one) for one in described]
        call = _read(reader, args)
        values = {**call.context, "deterministic": deterministic}
        decision = snapshot.decide(Scope(call.operation), values)
        if decision.kernel is None or decision.degraded:
            return None
        kernel = decision.kernel
        try:
            # What cannot be traced on tensors without memory cannot be part of a graph.
            tensors = [a for a in args if isinstance(a, Tensor)]
            make_fx(lambda *given: _with(reader, args, given, dispatcher.function(snapshot, kernel)))(*tensors)
        except Exception:  # noqa: BLE001 - whatever a library raises, the answer is that it cannot be traced
            return None
    return kernel


def _example(kind: Any, *rest: Any) -> Any:
    if kind != "tensor" or not rest:
        return kind
    shape, stride, dtype, device, requires_grad = rest
    return torch.empty_strided(shape, stride, dtype=dtype, device=device, requires_grad=requires_grad)


def _with(reader: str, args: Sequence[Any], tensors: Sequence[Tensor], adapter: Callable[..., Any]) -> Any:
    left = iter(tensors)
    call = _read(reader, [next(left) if isinstance(a, Tensor) else a for a in args])
    return adapter(*call.args, **call.kwargs)


@torch.compiler.allow_in_graph  # type: ignore[untyped-decorator]
def _decided(kernel: str, reader: str, *args: Any) -> Any:
    """The kernel's function; the compiler traces its operators."""
    dispatcher = _dispatcher()
    call = _read(reader, args)
    with torch._C.DisableTorchFunction():  # a mode around the graph (lz.intercept) saw the call already
        return dispatcher.function(dispatcher.engine.current(), kernel)(*call.args, **call.kwargs)


def _read(reader: str, args: Sequence[Any]) -> Call:
    module, _, name = reader.partition(":")
    call: Call = getattr(importlib.import_module(module), name)(*args)
    return call


def _dispatcher() -> Dispatcher:
    assert CALLS.dispatcher is not None
    return CALLS.dispatcher


# ---------------------------------------------------------------- decided when the graph runs


@torch._dynamo.assume_constant_result  # type: ignore[untyped-decorator]
def _spelled(constants: tuple[Any, ...]) -> str:
    return json.dumps([_plain(one) for one in constants])


def _plain(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    return str(value) if isinstance(value, torch.device) else value


def _arguments(options: str, tensors: Sequence[Tensor]) -> list[Any]:
    left = iter(tensors)
    given = (getattr(torch, one["dtype"]) if isinstance(one, dict) else one for one in json.loads(options))
    return [next(left) if one == _TENSOR else one for one in given]


def _listed(answer: Any) -> list[Tensor]:
    return list(answer) if isinstance(answer, tuple | list) else [answer]


@torch.library.custom_op("layerzero::call", mutates_args=())
def _at_run_time(reader: str, options: str, tensors: list[Tensor]) -> list[Tensor]:
    """Decide and call. What a graph holds of it is contiguous, and none of its inputs."""
    with torch._C.DisableTorchFunction():
        answers = _listed(_dispatcher().call(_read(reader, _arguments(options, tensors))))
    return [one.clone() if any(one is t for t in tensors) else one.contiguous() for one in answers]


@_at_run_time.register_fake
def _shapes(reader: str, options: str, tensors: list[Tensor]) -> list[Tensor]:
    args = _arguments(options, tensors)
    module = importlib.import_module(reader.partition(":")[0])
    like = getattr(module, "answers", None)
    if like is None:  # one answer, like the first tensor
        return [torch.empty_like(args[0], memory_format=torch.contiguous_format)]
    answers: list[Tensor] = like(*args)
    return answers


@torch.library.custom_op("layerzero::gradients", mutates_args=())
def _gradients(reader: str, options: str, tensors: list[Tensor], upstream: list[Tensor]) -> list[Tensor]:
    """Calls again, and goes back: a gradient for each tensor that asks for one."""
    own = [t.detach().requires_grad_(t.is_floating_point()) for t in tensors]
    # An operator runs below autograd, which is wanted once more here.
    excluded = torch._C._dispatch_tls_local_exclude_set()
    for key in _AUTOGRAD:
        excluded = excluded.remove(key)
    included = torch._C._dispatch_tls_local_include_set()
    with torch._C._ForceDispatchKeyGuard(included, excluded), torch.enable_grad():
        answers = _listed(_dispatcher().call(_read(reader, _arguments(options, own))))
    asking = [t for t in own if t.is_floating_point()]
    both = [(answer, grad) for answer, grad in zip(answers, upstream, strict=True) if answer.requires_grad]
    grads = torch.autograd.grad([a for a, _ in both], asking, [g for _, g in both], allow_unused=True)
    found = cast("Sequence[Tensor | None]", grads)
    return [torch.zeros_like(t) if g is None else g.clone() for t, g in zip(asking, found, strict=True)]


@_gradients.register_fake
def _gradient_shapes(reader: str, options: str, tensors: list[Tensor], upstream: list[Tensor]) -> list[Tensor]:
    return [torch.empty_like(t) for t in tensors if t.is_floating_point()]


def _keep(ctx: Any, inputs: tuple[str, str, list[Tensor]], output: list[Tensor]) -> None:
    ctx.reader, ctx.options, tensors = inputs
    ctx.save_for_backward(*tensors)


def _back(ctx: Any, upstream: list[Tensor]) -> tuple[None, None, list[Tensor | None]]:
    tensors = list(ctx.saved_tensors)
    found = iter(torch.ops.layerzero.gradients(ctx.reader, ctx.options, tensors, upstream))
    return None, None, [next(found) if t.is_floating_point() else None for t in tensors]


_at_run_time.register_autograd(_back, setup_context=_keep)
