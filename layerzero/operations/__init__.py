"""One module per operation: its call arguments -> context fields, and what a public call means. See README.md.

Nothing here imports torch before a call does.
"""
