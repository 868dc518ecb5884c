"""Nodes -> Program: names resolved, types agreed, facts complete; or every diagnostic in one run."""

from layerzero.check.checker import Checked, check
from layerzero.check.loader import find_roots, load, load_sources, load_text, load_texts, program_from_text, require
from layerzero.check.names import Unit

__all__ = ["Checked", "Unit", "check", "find_roots", "load", "load_sources", "load_text", "load_texts"]
__all__ += ["program_from_text", "require"]
