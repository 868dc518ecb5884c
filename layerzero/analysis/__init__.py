"""Questions about all contexts of a program: one file per check, whose docstring is the check's page.

`checks` lists them; `reach` says where a rule applies and to which kernels, `feasible` where a kernel may run, and
`replay` asks the interpreter whether a witness shows what is claimed.
"""

from layerzero.analysis.checks import CHECKS, Analysis, Check, analyse, study

__all__ = ["CHECKS", "Analysis", "Check", "analyse", "study"]
