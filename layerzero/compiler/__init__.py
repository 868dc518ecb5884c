"""Program -> Matcher, through a form that is plain data."""

from layerzero.compiler.compile import compile_program

__all__ = ["compile_program"]
