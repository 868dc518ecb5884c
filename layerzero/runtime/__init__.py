"""Snapshots, decisions and what surrounds them at run time. Without torch."""

from layerzero.runtime.logger import install

install()
