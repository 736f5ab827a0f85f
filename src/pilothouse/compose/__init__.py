"""Compose files in, loaded models and specs out: load, interpolate, merge, normalise, convert, render.

`load.load` is the way in. The key tables (`project_keys`, `service_keys`, `deploy_keys`) say everything there is to say
about each key; the stages walk values along them. Knows no server.
"""
