"""Sets of contexts: where a condition is true, false or unknown, whether that is anywhere, and an example.

    sets        values of one dimension: intervals of ints, doubles, versions; finite and cofinite sets
    terms       dimensions: fields, arithmetic terms, signs of differences, globs, packages, experiments
    formula     `dimension in set` with and, or
    translate   a condition -> the formula that is true exactly where the condition is true (false, unknown)
    space       the contexts of one operation: ranges, needed fields, defaults
    narrow      what a fact about a term says about its fields
    search      a formula -> boxes, a witness, or the proof that there is none
    region      a formula in a space, with the operations that analyses use
    simplify    a region -> a condition that people read and the parser takes

Every question has three answers: yes with a witness that the interpreter confirms, no with a proof, or undecided
with the reason. Nothing here guesses.
"""
