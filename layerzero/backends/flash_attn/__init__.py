"""FlashAttention 2, 3 and 4: three packages, each imported by its own module."""
