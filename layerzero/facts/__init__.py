"""What catalogs state, held against the libraries that they describe: plan calls at every stated boundary, make them
in processes that may be lost, compare with the reference in fp64, and report.

    plan.py        program and machine -> probes, the most valuable first
    children.py    probes -> observations, each made in a child process (child.py, trial.py, compare.py)
    report.py      observations -> outcomes, as JSON and as a table
    verify.py      all of it, within a budget
"""
