"""How large a manifest may be, and the refusal when it is larger.

The limits protect against documents that are small on disk and enormous once aliases are followed. They are checked
while the text is read, so that a hostile document is refused before anything is built from it.
"""

from dataclasses import dataclass

MAX_BYTES = 1024 * 1024
MAX_NODES = 20_000
MAX_DEPTH = 64
MAX_ALIASES = 1_000
MAX_EXPANDED = 200_000
MAX_VALUE = 1024 * 1024
MAX_DEFAULTS = 16
MAX_TEMPLATE = 256 * 1024
MAX_GROWTH = 4 * 1024 * 1024
MAX_FILES = 200


@dataclass(slots=True)
class Budget:
    """What one document has used so far."""

    nodes: int = 0
    aliases: int = 0

    def node(self) -> str:
        """Count a node; return what is wrong, or ""."""
        self.nodes += 1
        return "" if self.nodes <= MAX_NODES else f"more than {MAX_NODES} nodes; split the file with `include`"

    def alias(self) -> str:
        """Count an alias; return what is wrong, or ""."""
        self.aliases += 1
        return "" if self.aliases <= MAX_ALIASES else f"more than {MAX_ALIASES} aliases; write the values out"


def too_deep(depth: int) -> str:
    """Return what is wrong with a nesting of this depth, or ""."""
    return "" if depth <= MAX_DEPTH else f"nested deeper than {MAX_DEPTH} levels; write it flatter"


def too_wide(size: int) -> str:
    """Return what is wrong with a document of this many nodes once its aliases are followed, or ""."""
    if size <= MAX_EXPANDED:
        return ""
    return f"more than {MAX_EXPANDED} nodes once its aliases are followed; write fewer aliases of aliases"
