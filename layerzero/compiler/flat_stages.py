"""What the stages ask about an operation -> 64-bit words for the extension; `layerzero/native/stages.cpp` reads them.

    kernels: number, priorities; strict; fallback: number, kernels
    rules: number, each layer, priority, otherwise, factor (a double's bits), targets: number, sets of kernels
    parts: number, each kind, rule, set of kernels

A set of kernels is one bit a kernel, in as many words as that takes.
"""

from __future__ import annotations

import struct
from array import array

from layerzero.compiler.lower import Lowered, LoweredRule, PartKind
from layerzero.compiler.slices import Each, at_once

KINDS: tuple[PartKind, ...] = ("kernel", "quarantine", "lock", "allow", "deny", "boost", "order")
OTHERWISE = ("fail", "choose", "fallback")
FAILURES = (None, "lock_failed", "no_kernel")


def flat_stages(lowered: Lowered, each: Each = at_once) -> bytes:
    """The arrays of one operation; `each` says how the loops run."""
    size = -(-len(lowered.kernels) // 64)
    words = array("q", [len(lowered.kernels), *map(_word, lowered.priorities), lowered.strict, len(lowered.fallback)])
    words.extend(lowered.fallback)
    words.append(len(lowered.rules))
    for rule in each(lowered.rules):
        words.extend((rule.layer, _word(rule.priority), _otherwise(rule), _bits_of(rule.factor), len(rule.positions)))
        for kernels in rule.positions:
            words.extend(_set(kernels, size))
    words.append(len(lowered.parts))
    numbers = {kind: number for number, kind in enumerate(KINDS)}
    for part in each(lowered.parts):
        words.extend((numbers[part.kind], part.rule))
        words.extend(_set(part.kernels, size))
    return words.tobytes()


def _word(value: int) -> int:
    return max(-(2**63), min(value, 2**63 - 1))


def _otherwise(rule: LoweredRule) -> int:
    return OTHERWISE.index(rule.otherwise) if rule.otherwise in OTHERWISE else 0


def _bits_of(factor: float) -> int:
    (found,) = struct.unpack("=q", struct.pack("=d", factor))
    return int(found)


def _set(kernels: int, size: int) -> array[int]:
    # A set may speak of kernels that were dropped; the operation's own are the lowest bits.
    return array("q", kernels.to_bytes(8 * size, "little"))
