"""Services to tasks: which tasks should exist, in which state, and why.

Who belongs here: pure deciders, and the one loop that carries out what they decide.
"""
