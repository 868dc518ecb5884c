"""Kernels, one module per backend: it calls, and holds no conditions; the limits are facts in `policies/kernels/`.

Nothing is imported here: `probe.load_adapter` imports a backend's module when one of its kernels is first chosen.
"""
