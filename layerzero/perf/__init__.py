"""Measuring kernels, keeping what was measured, and writing it down as rules that a person can read."""
