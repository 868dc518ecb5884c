"""Limits of loading, stated once; past each one there is a diagnostic, never a crash."""

MAX_IMPORT_DEPTH = 32
MAX_FILES = 2_000
