"""What a YAML policy may not exceed; past a limit reading ends in `LZ003`."""

from __future__ import annotations

MAX_BYTES = 1024 * 1024  # about 10 000 rules
MAX_DEPTH = 8  # of lists and mappings inside each other; the deepest that has a meaning is 5
MAX_ENTRIES = 200_000  # keys and values
