"""The command `lz`: one file per command; each parses its arguments, calls one function and prints."""

from layerzero.cli.entry import main

__all__ = ["main"]
