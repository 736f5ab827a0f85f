"""What the store keeps of each kind: its name, how it is written as bytes, and which fields can be found by.

Must not know a backend. A kind missing here cannot be stored.
"""

import msgspec

from pilothouse.model.base import Object
from pilothouse.model.cluster import Authority, Cluster, Disruption, JoinToken, ManagerMember
from pilothouse.model.format import Format
from pilothouse.model.kinds import KINDS
from pilothouse.model.node import Node
from pilothouse.model.objects import App, AuditRecord, Config, Grant, Network, Secret, Service, Task, Volume
from pilothouse.model.release import FileVersion, Release, Traffic

NAMES: dict[type[Object], str] = {
    App: "app",
    Service: "service",
    Task: "task",
    Node: "node",
    Network: "network",
    Volume: "volume",
    Secret: "secret",
    Config: "config",
    Grant: "grant",
    AuditRecord: "audit",
    Release: "release",
    FileVersion: "file-version",
    Traffic: "traffic",
    Cluster: "cluster",
    Authority: "authority",
    JoinToken: "join-token",
    ManagerMember: "manager",
    Disruption: "disruption",
    Format: "format",
}
"""The name of each kind, as it stands in the store's file; never renamed without a migration."""

BY_NAME: dict[str, type[Object]] = {name: kind for kind, name in NAMES.items()}

INDEXED: dict[type[Object], tuple[str, ...]] = {
    App: (),
    Service: ("app",),
    Task: ("app", "service", "service_id", "node_id"),
    Node: (),
    Network: ("app", "removing"),
    Volume: ("app", "removing"),
    Secret: ("app",),
    Config: ("app",),
    Grant: ("app",),
    AuditRecord: ("object", "principal"),
    Release: ("app",),
    FileVersion: ("app",),
    Traffic: ("app",),
    Cluster: (),
    Authority: (),
    JoinToken: (),
    ManagerMember: (),
    Disruption: ("app",),
    Format: (),
}
"""The fields, and properties computed from fields, by which `find` costs as much as its answer is long."""

_ENCODER = msgspec.json.Encoder()
_DECODERS: dict[type[Object], msgspec.json.Decoder[Object]] = {kind: msgspec.json.Decoder(kind) for kind in KINDS}


def encode(obj: Object) -> bytes:
    """Return *obj* as JSON."""
    return _ENCODER.encode(obj)


def decode(kind: type[Object], data: bytes) -> Object:
    """Return the object that `encode` wrote.

    Raises:
        msgspec.DecodeError: *data* is not an object of *kind* as this version of Pilothouse knows it.
    """
    return _DECODERS[kind].decode(data)
