"""The loops that turn desired state into tasks: each reads the store, decides purely, writes only its own fields."""

from pilothouse.control.nodes.liveness import Presence as Presence
from pilothouse.control.term import loops as loops
from pilothouse.control.term import run_control as run_control
