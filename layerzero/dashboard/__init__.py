"""Decision logs, metrics endpoints, reports on experiments, measurements -> pages for somebody on call.

    tail       a log that grows and turns over -> its new records, a bounded piece at a time
    tally      records -> counts by group and time, the last decisions, the epochs of each source; all bounded
    metrics    a metrics endpoint -> the numbers of another process
    board      threads that read all sources; what the pages ask for, as plain data
    attention  what wants to be looked at
    desk       a child process under limits; `answering` is what it does: proofs, swaps, the playground
    guard      who may ask, and what a page may load
    web        the HTTP side
    pages/     HTML, CSS and ES modules, served as they are

A record becomes three things and is then forgotten: a number added to its group (source, operation, kernel, arms) in
the totals and in three rings of time; the first or last sight of an epoch of its source; and, for a while, itself, so
that its decision can be explained. Nothing grows with the log: groups, buckets of time, epochs, records (by number and
by bytes) and ids of regions each have a bound, past which the oldest go or a group counts as `(other)`. What was left
out is said on the page.

No decision is made here: proofs, reasons against a kernel, changes that a swap made and findings are those of
`lz explain`, `lz diff` and `lz check`, asked in the child.
"""
