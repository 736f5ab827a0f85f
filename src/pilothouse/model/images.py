"""The images on a node: what each takes, why it stays, and what was removed to make room."""

from pilothouse.model.base import Value
from pilothouse.model.counts import count


class NodeImage(Value, frozen=True, kw_only=True):
    """One image on a node.

    Attributes:
        names: Its tags, then its digests.
        size_bytes: With the layers that it shares with others.
        used_at: When a task of Pilothouse used it last, wall-clock; None if none did.
        kept: Why it stays, in words; "" if it may be removed.
    """

    id: str
    names: tuple[str, ...] = ()
    size_bytes: int = 0
    used_at: float | None = None
    kept: str = ""


class Reclaimed(Value, frozen=True, kw_only=True):
    """What was removed from a node's disk at one time.

    Attributes:
        at: When, by the node's wall clock.
        reason: Why, in words.
        images: What was removed, by name, in that order; at most 20 are named.
        count: How many they were.
        logs: How many kept logs of dead tasks went too.
        freed_bytes: The room it made.
        left: Why no more can be removed, in words; "" if no more had to be.
    """

    at: float
    reason: str
    images: tuple[str, ...] = ()
    count: int = 0
    logs: int = 0
    freed_bytes: int = 0
    left: str = ""


def reclaimed_words(done: Reclaimed) -> str:
    """Return in one sentence what was removed, why, and what is left to do."""
    parts = [count(done.count, "image")] + ([f"{count(done.logs, 'kept log')} of dead tasks"] if done.logs else [])
    named = f" ({', '.join(done.images)}{', …' if done.count > len(done.images) else ''})" if done.images else ""
    freed = f"{done.freed_bytes / 2**20:.0f} MiB"
    more = f"; no more can be removed: {done.left}" if done.left else ""
    return f"{' and '.join(parts)}{named} removed, {freed} freed: {done.reason}{more}"


class NodeImages(Value, frozen=True, kw_only=True):
    """The images of one node, and how full the disk is that they are on.

    Attributes:
        path: Where the engine keeps its data; "" if it does not say.
        begins_percent, ends_percent: Images are removed from the one on, down to the other.
        images: First those that may be removed, in the order in which they would be.
        last: What was removed last, or None.
    """

    path: str = ""
    total_bytes: int = 0
    free_bytes: int = 0
    begins_percent: float = 0.0
    ends_percent: float = 0.0
    images: tuple[NodeImage, ...] = ()
    last: Reclaimed | None = None
