"""Whether a spec makes sense: everything decoding cannot check, said with paths and with what to write instead.

Pure. What `validate` lets through does not make a loop, the agent or the engine's request builder fail.
"""

from pilothouse.model.validate.app import MAX_REPLICAS, MAX_TASKS, validate

__all__ = ["MAX_REPLICAS", "MAX_TASKS", "validate"]
