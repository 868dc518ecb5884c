"""Advice about policies that are right: one file per lint, whose docstring is the lint's page.

subject               what the lints of one run look at: the program, its trees, which texts are the reader's
suppressions          `# lint: allow NAME`, and those that nothing needs
lints                 all lints in one tuple, and the run
"""

from layerzero.analysis.lint.lints import LINTS, Lint, lint

__all__ = ["LINTS", "Lint", "lint"]
