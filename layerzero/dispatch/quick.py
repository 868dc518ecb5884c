"""`lz.attention(q, k, v, is_causal=...)` -> its adapter, by the native entry: no context is read, no Decision is made.

The entry serves what it can see to be plain: dense tensors without options, no `lz.context`, pin, `lz.using` or trace
around the call, no sink, and no kernel that failed lately. All other calls, and all first ones, go the plain way; the
answers are the same. See `layerzero/native/attention.cpp`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from layerzero import native
from layerzero.check.program import Scope
from layerzero.dispatch.call import Dispatcher
from layerzero.dispatch.trace import RECORDS
from layerzero.operations import attention
from layerzero.runtime import ambient
from layerzero.runtime.decision import Decision
from layerzero.runtime.snapshot import Snapshot
from layerzero.semantics.proof import Outcome

if TYPE_CHECKING:
    from torch import Tensor

    from layerzero.backends.machine import Adapter

log = logging.getLogger("layerzero")

MISS = object()
"""What the entry returns for a call that it does not serve."""
_SCOPE = Scope(attention.OPERATION)


def _compiling() -> bool:
    """Until the first call has looked for torch."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.compiler.is_compiling())


class QuickAttention:
    """The quick way of one dispatcher.

    Attributes:
        attend: Takes every parameter of `lz.attention` by position; None where there is no quick way.
        tracing: Whether a compiler traces the call, and wants to see Python.
    """

    __slots__ = ("_dispatcher", "attend", "tracing")

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self.attend: Callable[..., Any] | None = None if native.matcher is None else self._begin
        self.tracing: Callable[[], bool] = _compiling

    def _begin(self, *arguments: Any) -> Any:
        """The first call: torch is there now, if it is at all."""
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(arguments[0], torch.Tensor):
            self.tracing = torch.compiler.is_dynamo_compiling
            self.attend = self._entry(torch)
        return MISS

    def _entry(self, torch: Any) -> Callable[..., Any] | None:
        capsule = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
        if native.matcher is None or capsule is None:
            return None
        dispatcher, engine = self._dispatcher, self._dispatcher.engine
        pinned, using = engine.scopes
        try:
            entry: Callable[..., Any] = native.matcher.Attention(
                *(vars(engine), vars(dispatcher), vars(dispatcher.breakers)),
                *(pinned, using, ambient.HERE, ambient.NOTHING, RECORDS),
                *(torch.Tensor, torch.nn.Parameter, capsule, torch._C.TensorBase.requires_grad),
                *(torch._C.is_grad_enabled, torch._C._get_deterministic_algorithms),
                getattr(torch._C, "_cuda_isCurrentStreamCapturing", None),
                *(self._learn, self._adapter, self._rescue, self._succeeded, MISS),
            )
        except (AttributeError, ValueError) as error:  # a torch that looks different inside
            log.info("lz.attention has no quick way here: %s", error)
            return None
        return entry

    # ------------------------------------------------------------ what the entry asks

    def _learn(
        self, snapshot: Snapshot, q: Tensor, k: Tensor, v: Tensor, is_causal: bool
    ) -> tuple[object, tuple[str, ...]] | None:
        """The values of a call packed, as an example of those on its device, and the fields whose defaults follow from
        others. None where the values of a call can enrol it in an experiment."""
        context = attention.read(q, k, v, is_causal=is_causal).context
        if any(one.key in context for one in snapshot.vocabulary.experiments.values()):
            return None
        matcher = snapshot.matcher(context)
        function: Any = matcher.function(attention.OPERATION)
        form = matcher.form.operations[attention.OPERATION]
        derived = tuple(
            load.name
            for load in form.loads
            if load.name not in context and load.default is not None and form.terms[load.default][0] != "const"
        )
        return function.pack(context, {}, snapshot), derived

    def _adapter(self, snapshot: Snapshot, outcome: Outcome) -> Adapter | None:
        if outcome.kernel is None:
            return None
        if outcome.degraded:
            self._dispatcher.warn_degraded(Decision(snapshot, _SCOPE, {}, {}, outcome))
        return self._dispatcher.function(snapshot, outcome.kernel)

    def _rescue(self, snapshot: Snapshot, q: Tensor, k: Tensor, v: Tensor, is_causal: bool, error: Exception) -> Any:
        """Go on after the chosen kernel raised."""
        request = attention.read(q, k, v, is_causal=is_causal)
        return self._dispatcher.go_on(snapshot.decide(_SCOPE, request.context), request, error)

    def _succeeded(self, snapshot: Snapshot, q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> None:
        context = attention.read(q, k, v, is_causal=is_causal).context
        kernel = snapshot.decide(_SCOPE, context).kernel
        if kernel is not None:
            self._dispatcher.breakers.succeeded(kernel, str(context["device"]))
