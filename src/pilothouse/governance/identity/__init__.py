"""Principals: who is calling."""
