"""What crosses the wire between a manager and an agent that dialled in: one session, many conversations.

The frames are `pilothouse.link`'s; these are their bodies, as MessagePack. A field is only ever added, with a default,
so that one version of skew in either direction decodes (`forbid_unknown_fields` is off here, alone in the model).
"""

import enum

import msgspec

from pilothouse.errors import SkewError
from pilothouse.model.objects import Network, Task, Volume
from pilothouse.model.spec import CutOff
from pilothouse.model.wire import FileContent, ResourceReport, Split, TaskReport

PROTOCOL = 1
"""The protocol this version speaks; it also speaks the one before."""


def check_protocol(other: int, who: str) -> None:
    """Accept a protocol that is at most one away from this version's.

    Raises:
        SkewError: It is further away; *who* speaks it.
    """
    if abs(other - PROTOCOL) > 1:
        cure = "upgrade it" if other < PROTOCOL else "upgrade this one"
        raise SkewError(
            f"{who} speaks protocol {other}, this version of Pilothouse {PROTOCOL}, and they may be one apart: {cure}, "
            "one version at a time"
        )


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of everything that crosses."""


class Hello(Message, frozen=True, kw_only=True):
    """An agent's first words; who it is stands in its certificate.

    Attributes:
        protocol: The newest it speaks.
        version: Of Pilothouse, for people.
        incarnation: Random, new with every start of the agent: two at once mean a cloned machine.
        epoch: The last term it was served in; 0 if none.
        format: The newest format it reads and writes (`model.format`).
    """

    protocol: int
    version: str
    incarnation: str
    epoch: int = 0
    format: int = 1


class Welcome(Message, frozen=True, kw_only=True):
    """The manager's answer.

    Attributes:
        epoch: Of the term that serves; never smaller than one the agent has seen.
        managers: "HOST:PORT" of every manager's listener for agents; kept by the agent for the next time.
        leader: Go there instead, this manager does not lead; "" if it does.
        beat_seconds: How often to send a beat.
        lease_seconds: How long after the sending of the last answered beat exclusive tasks may run.
        format: The platform's; what a later one brought, nobody says in this session.
    """

    protocol: int
    epoch: int
    managers: tuple[str, ...] = ()
    leader: str = ""
    beat_seconds: float = 2.0
    lease_seconds: float = 8.0
    format: int = 1


class Beat(Message, frozen=True, kw_only=True):
    """A sign of life; *pressure* are sentences, why the node should get no more work, by kind."""

    sequence: int
    pressure: dict[str, str] = {}


class BeatAnswer(Message, frozen=True, kw_only=True):
    """That the manager received a beat.

    Attributes:
        sequence: The beat's.
        renew: The agent asks for a certificate now.
        now: The manager's wall clock as it answered; 0.0 if it does not say.
        format: As in `Welcome`.
    """

    sequence: int
    epoch: int
    beat_seconds: float = 2.0
    lease_seconds: float = 8.0
    renew: bool = False
    now: float = 0.0
    format: int = 1


class Changes(Message, frozen=True, kw_only=True):
    """How an assignment differs from the one before it; *base* is that one's number, 0 for a whole one.

    Attributes:
        number: Counts within the session, from 1.
        revision: Of the store.
        gone: Ids of tasks that left.
        networks, volumes, secrets, configs, splits, cut_offs: None if they did not change, else all of them; contents
            of files that the agent was given in this session are left out (`content` b""), only id and version named.
    """

    base: int
    number: int
    revision: int
    tasks: tuple[Task, ...] = ()
    gone: tuple[str, ...] = ()
    networks: tuple[Network, ...] | None = None
    volumes: tuple[Volume, ...] | None = None
    secrets: tuple[FileContent, ...] | None = None
    configs: tuple[FileContent, ...] | None = None
    splits: tuple[Split, ...] | None = None
    cut_offs: dict[str, CutOff] | None = None


class Report(Message, frozen=True, kw_only=True):
    """What an agent saw; answered once it is durable."""

    tasks: tuple[TaskReport, ...] = ()
    resources: tuple[ResourceReport, ...] = ()


class ImageQuestion(Message, frozen=True, kw_only=True):
    """`NodeServices.ensure_image`."""

    ref: str
    policy: str
    platform: str = ""


class Adoption(Message, frozen=True, kw_only=True):
    """`NodeServices.adopt`."""

    container_id: str
    task: Task


class Relayed(Message, frozen=True, kw_only=True):
    """A question to another node, asked by a manager that does not lead; *method* is one of `RELAYED`."""

    node_id: str
    method: str
    body: bytes = b""


class Renew(Message, frozen=True, kw_only=True):
    """A request for a new certificate; *request* is a PEM signing request by a new key."""

    request: str


class Renewed(Message, frozen=True, kw_only=True):
    """The new certificate and every authority to trust, as PEM."""

    certificate: str
    authorities: str


class Method(enum.Enum):
    """Every conversation there is: who may begin it, and the bodies it carries.

    Agent to manager: HELLO (Hello → Welcome), BEAT (Beat → BeatAnswer), DESCRIBE (NodeDescription → nothing), REPORT
    (`Report`), TRAFFIC (tuple of TrafficReport), RENEW (Renew → Renewed), ASSIGNMENTS (nothing → stream of Changes),
    NEEDED (nothing → tuple of image ids, digests and references).
    Manager to agent, once it was welcomed: IMAGE (`ImageQuestion` → stream of ImageProgress), LOGS (LogQuery → stream
    of LogLine), STATS (→ tuple of TaskUsage), FOREIGN (→ tuple of ForeignContainer), ADOPT (`Adoption` → nothing),
    IMAGES (→ NodeImages), PRUNE (→ Reclaimed).
    Manager to the manager that leads, in the session of its own machine's agent: RELAY (`Relayed` → the node's answer)
    and RELAY_STREAM (`Relayed` → the node's stream).
    """

    HELLO = "hello"
    BEAT = "beat"
    DESCRIBE = "describe"
    REPORT = "report"
    TRAFFIC = "traffic"
    RENEW = "renew"
    ASSIGNMENTS = "assignments"
    IMAGE = "image"
    LOGS = "logs"
    STATS = "stats"
    FOREIGN = "foreign"
    ADOPT = "adopt"
    NEEDED = "needed"
    IMAGES = "images"
    PRUNE = "prune"
    RELAY = "relay"
    RELAY_STREAM = "relay-stream"


# What one manager may have another ask of a node.
RELAYED = frozenset(each.value for each in (Method.STATS, Method.FOREIGN, Method.ADOPT, Method.IMAGES, Method.PRUNE))
RELAYED_STREAMS = frozenset({Method.IMAGE.value, Method.LOGS.value})
