"""The layers of a model and what is chosen once for several of them -> a kernel for every layer, the best in total.

What layers share is a *field*: the page size of a KV cache, its layout or element type, whether a phase is recorded
into a CUDA graph. What each kernel can do with a value of it stands in its facts, what a value is worth in the policy
(a boost that reads the field), so nothing is declared for plans alone. The question says between which values there is
a choice, and what shares one: all layers, or those that agree in another field (`per`).

    choices.py   layers and values -> for each layer a table: values of what it shares -> the decision of the policy
    problem.py   tables of numbers -> the best assignment: all are tried, or where they are too many
    solver.py    ... a constraint solver finds the same one
    joint.py     the assignment -> a plan that answers, explains its compromises, and is written down as rules
"""

from layerzero.planning.choices import plan_layers
from layerzero.planning.joint import JointPlan

__all__ = ["JointPlan", "plan_layers"]
