"""Compose files in, loaded models and specs out: load, interpolate, merge, normalise, convert, render.

Knows no server.
"""
