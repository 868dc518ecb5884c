"""The shape of the two YAML files: which keys there are, which must be there, and what each may hold.

What the words mean (fields, operations, kernels) is the checker's, as for `.lzp`. The description of a field says what
is wanted, in the words of a message. A key without a value is an error, so no field takes None.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal as OneOf

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr
from pydantic_core import PydanticCustomError

Number = StrictInt | StrictFloat


def _not_blank(text: Any) -> Any:
    if isinstance(text, str) and not text.strip():
        raise PydanticCustomError("blank", "an empty text")
    return text


Words = Annotated[StrictStr, BeforeValidator(_not_blank)]


class Entry(BaseModel):
    """What every entry of a section has."""

    model_config = ConfigDict(extra="forbid", strict=True)

    operation: Words = Field(description='an operation as in "attention.causal", "attention.*" or "*"')


class Targeted(Entry):
    """Exactly one of `backend` and `backends` (rules.py sees to it)."""

    backend: Words = Field("", description='a backend, kernel or glob as in "flashinfer" or "torch.sdpa_*"')
    backends: list[Words] = Field([], min_length=1, description='a list of backends as in ["flashinfer", "flash_attn"]')
    condition: Words | dict[StrictStr, Any] = Field(
        "", description='a condition as in "sm >= 80 and batch_size >= 8", or field: value pairs'
    )


class Notes(BaseModel):
    """Clauses that any rule may have."""

    name: Words = Field("", description="an id, by which traces and tests call the rule")
    because: Words = Field("", description="a text: the reason, shown in traces")
    owner: Words = Field("", description="a text: who answers for the rule")
    until: Words = Field("", description="a day as in 2027-03-01, from which the rule no longer applies")


class Allow(Notes, Targeted):
    """`- operation: "attention.*"`, `backends: ["flashinfer", "flash_attn"]`"""


class Deny(Notes, Targeted):
    """`- operation: "attention.*"`, `backends: ["torch_sdpa"]`, `condition: "batch > 32"`"""


class Lock(Notes, Targeted):
    """`- operation: "attention.causal"`, `backend: "flashinfer"`, `condition: "sm >= 80"`"""

    priority: StrictInt = Field(0, description="an int: of several locks that apply the highest counts")
    otherwise: Words = Field(
        "", alias="else", description='"fail", "choose" or "fallback": what happens where the lock misses'
    )


class Boost(Notes, Targeted):
    """`- operation: "attention.*"`, `backend: "flashinfer"`, `boost_factor: 1.5`"""

    boost_factor: Number = Field(description="a number of at least 0 that the score is multiplied by")


class Test(BaseModel):
    """`- field: "batch_size"`, `operator: ">"`, `value: 32`"""

    model_config = ConfigDict(extra="forbid", strict=True)

    field: Words = Field(description='a field as in "batch_size"')
    operator: Words = Field(description='an operator as in ">"')
    value: StrictBool | Number | StrictStr | list[StrictBool | Number | StrictStr] = Field(
        description="a value, or a list of them for `in`"
    )


class Choice(Notes, Entry):
    """`- operation: "attention.*"`, `conditions: [...]`, `kernel: "flashinfer.prefill"`"""

    kernel: Words = Field(description='a kernel, backend or glob as in "flashinfer.prefill"')
    conditions: list[Any] = Field(  # each is a Test
        [], description="a list of tests, each with `field`, `operator` and `value`"
    )


POLICY_SECTIONS: dict[str, tuple[OneOf["lock", "allow", "deny", "boost"], type[Targeted]]] = {
    "locks": ("lock", Lock),
    "allows": ("allow", Allow),
    "denies": ("deny", Deny),
    "boosts": ("boost", Boost),
}
DISPATCH_SECTION = "rules"
HEADER = ("version", "name")
VERSIONS = ("1.0", "1")
