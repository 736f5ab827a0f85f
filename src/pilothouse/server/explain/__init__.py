"""Why anything is as it is: pure functions of a snapshot, a name and the time. Who belongs here: one module per noun.

The first sentence names the cause that matters most; then the chain behind it, nearest first.
"""

from pilothouse.server.explain.door import explain as explain
