"""Where desired and observed state lives: one contract, several backends.

Who belongs here: backends, what they share (tables, state, transaction, watch), the conformance suite a backend has to
pass, and backup. Nothing here decides anything about apps.
"""
