"""Sealing secrets so that a copy of the store tells nothing."""
