"""How large a manifest may be, and the refusal when it is larger.

The limits protect against documents that are small on disk and enormous once aliases are followed. They are checked
while the text is read, so that a hostile document is refused before anything is built from it.
"""

MAX_BYTES = 1024 * 1024
MAX_NODES = 20_000
MAX_DEPTH = 64
MAX_ALIASES = 1_000
MAX_DOCUMENTS = 100
MAX_EXPANDED = 200_000
MAX_VALUE = 1024 * 1024
MAX_DEFAULTS = 16
MAX_TEMPLATE = 256 * 1024
MAX_GROWTH = 4 * 1024 * 1024
MAX_FILES = 200


def too_deep(depth: int) -> str:
    """Return what is wrong with a nesting of this depth, or ""."""
    return "" if depth <= MAX_DEPTH else f"nested deeper than {MAX_DEPTH} levels; write it flatter"


def too_wide(size: int) -> str:
    """Return what is wrong with a document of this many nodes once its aliases are followed, or ""."""
    if size <= MAX_EXPANDED:
        return ""
    return f"more than {MAX_EXPANDED} nodes once its aliases are followed; write fewer aliases of aliases"
