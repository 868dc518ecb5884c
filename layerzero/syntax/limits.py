"""What a text may not exceed. Past a limit parsing ends in `LZ003`, within seconds and far below 2 GiB."""

from __future__ import annotations

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_NODES = 600_000  # about 20 000 rules in one file
MAX_NESTING = 100  # of brackets, and of expressions inside each other; later stages may recurse this deep
MAX_TOKEN_CHARACTERS = 64 * 1024
MAX_PATTERN_CHARACTERS = 1024  # of `like`: one of 64 KiB of stars takes seconds to compile
MAX_DIAGNOSTICS = 100  # of one file; the rest is counted, not listed
MAX_RECOVERIES = 100  # errors after which the rest of a file is not read
MAX_EFFORT = 4  # times the largest file that is read again in all, after errors inside large blocks

INT_MIN = -(2**63)
INT_MAX = 2**63 - 1
