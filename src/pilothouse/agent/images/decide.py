"""Which images of a node may be removed, in which order, and why the others stay. Pure.

Whoever is in doubt keeps an image: one too many costs room, one too few a rollback.
"""

import enum
from collections.abc import Collection, Mapping

from pilothouse.agent.pressure import Room, fullest
from pilothouse.agent.runtime.interface import StoredImage
from pilothouse.model.base import Value


class Scope(enum.Enum):
    """Whose images may be removed: those that tasks of Pilothouse used, all, or none."""

    OURS = "ours"
    ALL = "all"
    NONE = "none"


class Policy(Value, frozen=True, kw_only=True):
    """When images are removed.

    Attributes:
        begins, ends: Shares of the engine's disk, of its room or its inodes, at which removing begins and has done
            enough; well before new tasks are kept away (`pressure.DISK_BEGINS`).
        age_seconds: An image that came or was used so lately stays.
    """

    begins: float = 0.85
    ends: float = 0.80
    age_seconds: float = 120.0
    scope: Scope = Scope.OURS


class Use(Value, frozen=True, kw_only=True):
    """When a task used an image last: *order* counts uses on this node, *at* is wall-clock time for people."""

    order: int
    at: float


class Scene(Value, frozen=True, kw_only=True):
    """All there is to know about the images of a node at one moment.

    Attributes:
        in_use: Ids that containers are made from, anybody's, in any phase.
        assigned: Ids, digests or references that assigned tasks have.
        needed: The same of what the manager says belongs here (releases that can be gone back to); None if no manager
            could be asked.
        asked: References that are being made present now.
        uses: Of images that tasks used, or that were pulled for some, by id.
        ages: Seconds since each image came or was last used, by id; what is missing is old.
    """

    images: tuple[StoredImage, ...]
    in_use: frozenset[str] = frozenset()
    assigned: frozenset[str] = frozenset()
    needed: frozenset[str] | None = frozenset()
    asked: frozenset[str] = frozenset()
    uses: Mapping[str, Use] = {}
    ages: Mapping[str, float] = {}


class Verdict(Value, frozen=True, kw_only=True):
    """What becomes of one image: *kept* says why it stays, "" if it may go."""

    image: StoredImage
    kept: str = ""


def sort_out(scene: Scene, policy: Policy) -> tuple[Verdict, ...]:
    """Return every image: first those that may go, in the order in which they do, then those that stay."""
    found = [Verdict(image=image, kept=_kept(image, scene, policy)) for image in scene.images]
    return tuple(sorted(found, key=lambda each: (bool(each.kept), *_rank(each.image, scene.uses))))


def due(room: Room, policy: Policy) -> bool:
    """Whether removing should begin."""
    return fullest(room) >= policy.begins


def enough(room: Room, policy: Policy) -> bool:
    """Whether there is as much room again as there should be."""
    return fullest(room) < policy.ends


def left(verdicts: Collection[Verdict]) -> str:
    """Return in words why no image can be removed any more: how many stay, and why."""
    counts: dict[str, int] = {}
    for each in verdicts:
        if each.kept:
            counts[each.kept] = counts.get(each.kept, 0) + 1
    if not counts:
        return "there is no image on it"
    said = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return "; ".join(f"{number} {'image' if number == 1 else 'images'}: {why}" for why, number in said)


def _kept(image: StoredImage, scene: Scene, policy: Policy) -> str:
    reasons = {
        "images are not removed on this node": policy.scope is Scope.NONE,
        "a container is made from it": image.id in scene.in_use,
        "a task on this node uses it": _among(image, scene.assigned),
        "it is being asked for": _among(image, scene.asked),
        "a release needs it, or can be gone back to": scene.needed is not None and _among(image, scene.needed),
        "no task of Pilothouse used it": policy.scope is Scope.OURS and image.id not in scene.uses,
        f"it came or was used less than {policy.age_seconds:.0f} s ago": _is_young(image, scene, policy),
        "no manager can be asked whether a release needs it": scene.needed is None,
    }
    return next((why for why, true in reasons.items() if true), "")


def _is_young(image: StoredImage, scene: Scene, policy: Policy) -> bool:
    age = scene.ages.get(image.id)
    return age is not None and age < policy.age_seconds


def _among(image: StoredImage, wanted: Collection[str]) -> bool:
    return image.id in wanted or any(name in wanted for name in image.names)


def _rank(image: StoredImage, uses: Mapping[str, Use]) -> tuple[bool, int, float, str]:
    """Return what decides the order: those without a name first, then whichever was used least recently."""
    use = uses.get(image.id)
    return bool(image.names), use.order if use else 0, image.created_at, image.id
