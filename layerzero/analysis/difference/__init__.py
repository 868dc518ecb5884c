"""Two programs, or two machines -> the regions of contexts that are decided otherwise.

substitute   a program with what is settled put into its conditions
sides        two sides that speak of the same contexts
suspects     where decisions can differ at all
changes      where they do, with before, after, the rules responsible and a context that shows it
"""

from layerzero.analysis.difference.changes import Change, Difference, Unexamined, difference
from layerzero.analysis.difference.sides import Side

__all__ = ["Change", "Difference", "Side", "Unexamined", "difference"]
