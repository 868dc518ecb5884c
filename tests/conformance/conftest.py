"""Lets the files here import each other: the definitions in fp64, and the kernels with their facts."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
