"""Experiments at run time: who was in which arm, how it went, and when a guard ends an arm.

requests   what a request does to its arms (`lz.request`, `lz.outcome`, kernel calls) -> observations
tally      observations -> counts and a distribution of latencies, in bounded memory
evidence   counts against a bound -> how strongly they speak against it, at any moment
guards     evidence over a whole run -> stop the arm, or not
service    the queue, the thread and the epochs: all of it for one engine
report     what `lz.experiment_status()` shows; sharing: the same for other processes
"""
